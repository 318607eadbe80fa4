"""The dialect of Codex over journals recorded from the program itself.

A journal holds our orders and the agent's lines in the order in which they came.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bullpen.agents.claude import ClaudeDialect
from bullpen.agents.codex import CodexDialect
from bullpen.agents.codex_items import plain, shell_line
from bullpen.agents.dialect import (
    AnswerPermission,
    AnswerQuestion,
    AnyOrder,
    Dialect,
    Interrupt,
    OrderImpossible,
    Prompt,
    SetMode,
    SetOption,
    Steer,
)
from bullpen.model.fact import (
    AgentFact,
    ConversationOpened,
    LimitReached,
    MessageStreamed,
    PermissionAsked,
    ThoughtStreamed,
    TokensCounted,
    ToolCalled,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    TurnTyped,
    Unrecognised,
    decode_fact,
    encode_fact,
)

FOLDER = Path(__file__).parent / "journals" / "codex"
NAMES = [file.stem for file in sorted(FOLDER.glob("*.jsonl"))]
ALL = pytest.mark.parametrize("name", NAMES)
patient = settings(deadline=None, database=None)


def read(name: str) -> list[bytes]:
    return (FOLDER / f"{name}.jsonl").read_bytes().splitlines()


def step(dialect: Dialect, line: bytes) -> list[AgentFact]:
    """Give an order or feed a line, whichever `line` is."""
    if line.startswith(b'{"order"'):
        order: Any = msgspec.json.decode(line, type=AnyOrder)
        dialect.order(order)
        return []
    return dialect.feed(line).facts


def played(name: str) -> list[AgentFact]:
    dialect = CodexDialect()
    return [fact for line in read(name) for fact in step(dialect, line)]


def of(facts: list[AgentFact], *kinds: type) -> list[Any]:
    return [fact for fact in facts if isinstance(fact, kinds)]


def ends(facts: list[AgentFact]) -> list[tuple[int, str]]:
    return [
        (fact.turn, fact.stop if isinstance(fact, TurnEnded) else f"failed {fact.code}")
        for fact in of(facts, TurnEnded, TurnFailed)
    ]


def opened() -> Dialect:
    """A dialect whose conversation is open."""
    dialect = CodexDialect()
    for line in read("text"):
        if line.startswith(b'{"order":"prompt"'):
            break
        step(dialect, line)
    return dialect


# ---- what the journals tell -----------------------------------------------------------------


@ALL
def test_every_fact_can_be_stored_and_nothing_is_unrecognised(name: str):
    facts = played(name)
    assert [decode_fact(encode_fact(fact)) for fact in facts] == facts
    assert of(facts, Unrecognised) == []


@ALL
def test_a_snapshot_at_any_line_gives_the_same_rest(name: str):
    lines = read(name)
    dialect = CodexDialect()
    whole = [step(dialect, line) for line in lines]
    at = CodexDialect()
    for number, line in enumerate(lines):
        fresh = CodexDialect()
        fresh.restore(at.snapshot())
        rest = [step(fresh, later) for later in lines[number:]]
        assert rest == whole[number:], number
        step(at, line)


def test_text_and_thoughts_come_once_and_whole():
    facts = played("text")
    assert "".join(fact.text for fact in of(facts, MessageStreamed)) == "all of it is said"
    thought = "".join(fact.text for fact in of(facts, ThoughtStreamed))
    assert thought == "hm"
    assert ends(facts) == [(1, "end_turn")]
    (opening,) = of(facts, ConversationOpened)
    assert opening.agent_session
    assert {"resume", "mcp", "steer"} <= set(opening.abilities)
    (counted,) = of(facts, TokensCounted)
    assert (counted.turn, counted.input_tokens, counted.output_tokens) == (1, 100, 10)


def test_leave_names_the_deed_and_ends_with_the_tool():
    facts = played("allowed")
    (asked,) = of(facts, PermissionAsked)
    assert asked.deed is not None
    assert (asked.deed.kind, asked.deed.directory) == ("execute", "/home/ada/shop")
    assert asked.deed.command.startswith("mkdir -p")
    kinds = [option.kind for option in asked.options]
    assert "allow_once" in kinds
    assert "reject_once" in kinds
    (called,) = of(facts, ToolCalled)
    assert asked.call == called.call
    assert [one.status for one in of(facts, ToolChanged)] == ["completed"]
    assert ends(facts) == [(1, "end_turn")]


def test_what_is_refused_fails_as_a_tool_and_the_turn_goes_on():
    facts = played("denied")
    assert [one.status for one in of(facts, ToolChanged)] == ["failed"]
    assert "".join(one.text for one in of(facts, MessageStreamed)) == "went on"
    assert ends(facts) == [(1, "end_turn")]


def test_interrupts_cancel_and_the_next_turn_is_as_any():
    facts = played("interrupts")
    assert ends(facts) == [(1, "cancelled"), (2, "cancelled"), (3, "end_turn")]


def test_errors_of_the_model_fail_the_turn_and_too_many_requests_are_a_limit():
    facts = played("errors")
    assert [turn for turn, _ in ends(facts)] == [1, 2, 3]
    assert all(what.startswith("failed ") for _, what in ends(facts))
    assert [(one.turn, one.limit) for one in of(facts, LimitReached)] == [(2, "rate")]
    at = [type(fact) for fact in facts]
    assert at.index(LimitReached) < len(at) - 1
    assert at[at.index(LimitReached) + 1] in (TurnFailed, ToolChanged)


def test_words_added_to_a_turn_do_not_end_it_twice():
    facts = played("steer")
    assert ends(facts) == [(1, "end_turn")]


def test_a_patch_inside_the_place_needs_no_leave_in_mode_edit():
    facts = played("patch")
    assert of(facts, PermissionAsked) == []
    (called,) = of(facts, ToolCalled)
    assert called.content == [
        {"type": "diff", "path": "/home/ada/shop/pp.txt", "newText": "hello\n"}
    ]
    assert ends(facts) == [(1, "end_turn")]


def test_a_turn_of_codexs_own_goal_is_a_foreign_one():
    facts = played("goal")
    assert [one.by for one in of(facts, TurnTyped)] == ["goal"]
    assert ends(facts) == [(0, "end_turn")]


# ---- orders ---------------------------------------------------------------------------------


def test_orders_at_the_wrong_moment_are_impossible():
    fresh = CodexDialect()
    for order in (Prompt(turn=1, text="x"), SetMode(mode="plan"), Steer(turn=1, text="x")):
        with pytest.raises(OrderImpossible):
            fresh.order(order)
    dialect = opened()
    dialect.order(Prompt(turn=1, text="x"))
    with pytest.raises(OrderImpossible):
        dialect.order(Prompt(turn=2, text="y"))
    assert dialect.order(Interrupt(turn=7)) == []
    for order in (
        AnswerPermission(request="none", option=None),
        AnswerQuestion(request="none", action="accept"),
        SetOption(option="o", value=True),
    ):
        with pytest.raises(OrderImpossible):
            dialect.order(order)
    with pytest.raises(OrderImpossible, match="Unicode"):
        opened().order(Prompt(turn=1, text="\ud800"))


def test_codex_takes_no_reason_of_a_refusal_so_it_stays_here():
    dialect = CodexDialect()
    for line in read("denied"):
        if line.startswith(b'{"order":"answer-permission"'):
            order: Any = msgspec.json.decode(line, type=AnyOrder)
            said = b"".join(dialect.order(order))
            break
        step(dialect, line)
    else:
        raise AssertionError("the journal has no answer")
    assert b"not now" not in said


def test_an_interrupt_answers_what_is_open():
    dialect = CodexDialect()
    for line in read("allowed"):
        if line.startswith(b'{"order":"answer-permission"'):
            break
        step(dialect, line)
    lines = dialect.order(Interrupt(turn=1))
    assert len(lines) == 2
    assert b"interrupt" in lines[0]
    assert b'"cancel"' in lines[1]


def test_the_agents_death_fails_the_running_turn_once():
    dialect = opened()
    dialect.order(Prompt(turn=1, text="x"))
    assert ends(dialect.ended()) == [(1, "failed agent-ended")]
    assert dialect.ended() == []


def test_a_snapshot_of_another_is_refused():
    for raw in (ClaudeDialect().snapshot(), b"", b"{}", b"\xff"):
        with pytest.raises(ValueError, match=r"made by|not a snapshot"):
            CodexDialect().restore(raw)


@pytest.mark.parametrize(
    "status", ["completed", "Completed", {"type": "completed"}, {"type": "Completed"}]
)
def test_each_shape_of_a_status_that_shipped_ends_the_turn(status: Any):
    dialect = opened()
    dialect.order(Prompt(turn=1, text="x"))
    thread = _thread(dialect)
    item = {"type": "agentMessage", "id": "m", "text": "hi"}
    for method, more in (
        ("turn/started", {"turn": {"id": "t", "status": "inProgress"}}),
        ("item/completed", {"item": item, "turnId": "t"}),
        ("turn/completed", {"turn": {"id": "t", "status": status}}),
    ):
        message = {"method": method, "params": {"threadId": thread, **more}}
        facts = dialect.feed(json.dumps(message).encode()).facts
    assert ends(facts) == [(1, "end_turn")]


def test_a_turn_without_a_word_or_a_deed_has_failed():
    dialect = opened()
    dialect.order(Prompt(turn=1, text="x"))
    thread = _thread(dialect)
    for method in ("turn/started", "turn/completed"):
        turn = {"id": "t", "status": "completed"}
        message = {"method": method, "params": {"threadId": thread, "turn": turn}}
        facts = dialect.feed(json.dumps(message).encode()).facts
    assert ends(facts) == [(1, "failed empty-turn")]


def _thread(dialect: Dialect) -> str:
    return json.loads(dialect.snapshot())["state"]["thread"]


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("/bin/bash -lc ls", "ls"),
        ("bash -c 'a b'", "a b"),
        ("/bin/bash -lc \"x 'y'\"", "x 'y'"),
        ("ls -la", "ls -la"),
        ("bash -lc 'unclosed", "bash -lc 'unclosed"),
        ("python -c 1", "python -c 1"),
    ],
)
def test_the_line_a_shell_is_told_is_the_command(command: str, line: str):
    assert shell_line(command) == line


def test_a_word_is_read_in_whatever_shape():
    assert {plain("in_progress"), plain("inProgress"), plain({"type": "in-progress"})} == {
        "inprogress"
    }
    assert plain(None) == ""


# ---- hostile --------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *("type", "id", "method", "params", "result", "error", "subtype", "message", "content"),
        *("request", "request_id", "response", "tool_name", "input", "can_use_tool", "success"),
        *("assistant", "user", "system", "stream_event", "control_request", "control_response"),
        *("event", "delta", "text", "uuid", "isReplay", "usage", "is_error", "open-1", "prompt-1"),
        *("threadId", "turn", "turnId", "status", "item", "itemId", "item/started", "turn/started"),
        *("item/completed", "turn/completed", "thread/tokenUsage/updated", "tokenUsage", "last"),
        *("item/commandExecution/requestApproval", "mcpServer/elicitation/request", "command"),
        *("commandExecution", "fileChange", "changes", "kind", "path", "diff", "questions"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)
MESSAGES = st.dictionaries(WORDS, VALUES, max_size=6)


@given(messages=st.lists(MESSAGES, max_size=6))
@patient
def test_whatever_the_agent_says_nothing_is_raised_and_everything_can_be_stored(
    messages: list[dict[str, Any]],
):
    dialect = opened()
    dialect.order(Prompt(turn=1, text="x"))
    for message in messages:
        for fact in dialect.feed(json.dumps(message).encode()).facts:
            assert decode_fact(encode_fact(fact)) == fact
    dialect.restore(dialect.snapshot())
    dialect.ended()


@given(line=st.binary(max_size=200))
@patient
def test_whatever_bytes_come_nothing_is_raised(line: bytes):
    opened().feed(line.replace(b"\n", b""))


@ALL
def test_torn_and_broken_lines_cost_themselves_alone(name: str):
    dialect = CodexDialect()
    for line in read(name):
        step(dialect, line)
        for broken in (line[: len(line) // 2], b"\xff" + line, b"[1]", b"{" * 5000, b""):
            if not broken.startswith(b'{"order"'):
                dialect.feed(broken)
