"""The dialect of pi over journals recorded from pi itself, orders and lines as they came."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bullpen.agents.dialect import (
    AnswerPermission,
    AnswerQuestion,
    AnyOrder,
    Interrupt,
    Launch,
    Open,
    OrderImpossible,
    Prompt,
    SetGoal,
    SetMode,
    SetModel,
    SetOption,
    Steer,
)
from bullpen.agents.pi import PiDialect, arguments
from bullpen.model.fact import (
    AgentFact,
    AskWithdrawn,
    ConversationOpened,
    Faulted,
    LimitReached,
    LoginRequired,
    MessageStreamed,
    OpeningFailed,
    OptionsChanged,
    OrderDone,
    OrderRefused,
    PermissionAsked,
    QuestionAsked,
    ThoughtStreamed,
    TitleChanged,
    TokensCounted,
    ToolCalled,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    Unrecognised,
    UsageReported,
    decode_fact,
    encode_fact,
)

JOURNALS = Path(__file__).parent / "journals" / "pi"
NAMES = sorted(file.stem for file in JOURNALS.glob("*.jsonl"))
MODES = {"interrupts": "bypass", "steer": "bypass"}
patient = settings(deadline=None, database=None)


def read(name: str) -> list[bytes]:
    return (JOURNALS / f"{name}.jsonl").read_bytes().splitlines()


def step(dialect: PiDialect, line: bytes) -> tuple[list[AgentFact], list[bytes]]:
    """Give an order or feed a line, whichever `line` is."""
    if line.startswith(b'{"order"'):
        order: Any = msgspec.json.decode(line, type=AnyOrder)
        return [], dialect.order(order)
    heard = dialect.feed(line)
    return heard.facts, heard.out


def play(name: str) -> list[AgentFact]:
    dialect = PiDialect(mode=MODES.get(name, "ask"))
    return [fact for line in read(name) for fact in step(dialect, line)[0]]


def of(facts: list[AgentFact], *kinds: type) -> list[AgentFact]:
    return [fact for fact in facts if isinstance(fact, kinds)]


def opened(*, mode: str | None = "ask") -> PiDialect:
    """A dialect whose conversation is open."""
    dialect = PiDialect(mode=mode)
    for line in read("text"):
        if b'"prompt:1"' in line:
            break
        if not line.startswith(b'{"order":"prompt"'):
            step(dialect, line)
    return dialect


def running() -> PiDialect:
    """A dialect whose first turn runs."""
    dialect = opened()
    dialect.order(Prompt(turn=1, text="go"))
    hear(dialect, id="prompt:1", type="response", command="prompt", success=True)
    hear(dialect, type="agent_start")
    return dialect


def hear(dialect: PiDialect, **message: Any) -> list[AgentFact]:
    return dialect.feed(json.dumps(message).encode()).facts


def written(dialect: PiDialect, **message: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in dialect.feed(json.dumps(message).encode()).out]


def answer(stop: str, **more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": [], "stopReason": stop, **more}
    return {"type": "message_end", "message": said}


# ---- what pi said --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_nothing_pi_said_is_foreign_to_us(name: str):
    assert of(play(name), Unrecognised, Faulted) == []


def test_text_is_streamed_and_the_turn_ends_with_its_cost():
    facts = play("text")
    [begun] = of(facts, ConversationOpened)
    assert isinstance(begun, ConversationOpened)
    assert begun.agent_session == "0d9c6f0e-6b0e-5c55-9d77-4f3f0a2b9c11"
    assert (begun.mode, begun.model) == ("ask", "fake/scripted-1")
    assert [choice.id for choice in begun.models][:2] == ["fake/scripted-1", "fake/scripted-2"]
    pieces = of(facts, MessageStreamed)
    assert "".join(one.text for one in pieces if isinstance(one, MessageStreamed)) == "hello there"
    counted = TokensCounted(
        turn=1,
        input_tokens=100,
        output_tokens=10,
        cached_read_tokens=0,
        cached_write_tokens=0,
        total_tokens=110,
        model="fake/scripted-1",
    )
    assert facts[-3:-1] == [counted, TurnEnded(turn=1, stop="end_turn")]
    assert facts[-1] == UsageReported(used_tokens=110, size_tokens=200000)


def test_leave_is_asked_with_the_deed_in_neutral_words():
    asked = of(play("permissions"), PermissionAsked)
    deeds = [one.deed for one in asked if isinstance(one, PermissionAsked)]
    write, bash = deeds
    assert write is not None
    assert bash is not None
    assert (write.kind, write.paths) == ("edit", ["/home/dev/place/a.txt"])
    assert (bash.kind, bash.command, bash.directory) == ("execute", "ls", "/home/dev/place")


def test_tools_have_kinds_and_changes_are_diffs():
    facts = play("permissions")
    kinds = [one.tool_kind for one in of(facts, ToolCalled) if isinstance(one, ToolCalled)]
    assert kinds == ["edit", "execute", "execute", "edit", "read"]
    edit = of(facts, ToolCalled)[3]
    assert isinstance(edit, ToolCalled)
    diff = {"type": "diff", "path": "a.txt", "oldText": "hello", "newText": "bye"}
    assert edit.content == [diff]
    ends = [one.status for one in of(facts, ToolChanged) if isinstance(one, ToolChanged)]
    assert [end for end in ends if end] == [
        "completed",
        "failed",
        "completed",
        "completed",
        "completed",
    ]


def test_each_interrupt_ends_its_turn_as_cancelled():
    facts = play("interrupts")
    ends = of(facts, TurnEnded, TurnFailed)
    assert ends == [TurnEnded(turn=number, stop="cancelled") for number in (1, 2, 3, 4)]
    ended = [one.status for one in of(facts, ToolChanged) if isinstance(one, ToolChanged)]
    assert [status for status in ended if status] == ["cancelled", "cancelled"]


def test_errors_of_the_model_fail_the_turn_with_their_status():
    ends = of(play("errors"), TurnFailed)
    assert [one.code for one in ends if isinstance(one, TurnFailed)] == ["http-400", "http-401"]


def test_a_turn_that_is_tried_again_is_over_once_and_a_limit_is_told_before():
    facts = play("retries")
    [limit] = of(facts, LimitReached)
    [failed] = of(facts, TurnFailed)
    assert isinstance(limit, LimitReached)
    assert limit.limit == "rate"
    assert facts.index(limit) < facts.index(failed)


def test_words_are_added_and_settings_answered():
    facts = play("steer")
    orders = [one.order for one in of(facts, OrderDone) if isinstance(one, OrderDone)]
    assert orders == ["steer", "set-model", "set-option"]
    assert of(facts, TurnEnded) == [TurnEnded(turn=n, stop="end_turn") for n in (1, 2)]


def test_a_conversation_comes_back_and_thoughts_are_told_apart():
    facts = play("resumed")
    [begun] = of(facts, ConversationOpened)
    assert isinstance(begun, ConversationOpened)
    assert begun.resumed
    thoughts = of(facts, ThoughtStreamed)
    assert "".join(one.text for one in thoughts if isinstance(one, ThoughtStreamed)) == "deep"
    [counted] = of(facts, TokensCounted)
    assert isinstance(counted, TokensCounted)
    assert counted.cost_usd is not None
    assert counted.cost_usd > 0


# ---- reading a journal again ---------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_at_any_line_goes_on_the_same(name: str):
    lines = read(name)
    mode = MODES.get(name, "ask")
    whole = PiDialect(mode=mode)
    for line in lines:
        twin = PiDialect(mode=mode)
        twin.restore(whole.snapshot())
        assert step(twin, line) == step(whole, line)
        assert twin.snapshot() == whole.snapshot()


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_can_be_stored(name: str):
    for fact in play(name):
        assert decode_fact(encode_fact(fact)) == fact


def test_a_snapshot_at_rest_is_small():
    assert len(opened().snapshot()) < 2000


def test_a_snapshot_of_another_dialect_is_refused():
    with pytest.raises(ValueError, match="made by"):
        PiDialect().restore(b'{"dialect":"acp","version":1,"state":{}}')


@pytest.mark.parametrize("name", NAMES)
def test_a_running_turn_is_found_again_without_its_words(name: str):
    """As a restarted service does it: orders of the open turn once more, then the journal."""
    turns: list[AgentFact] = []
    dialect = PiDialect(mode=MODES.get(name, "ask"))
    for line in read(name):
        if line.startswith(b'{"order":"prompt"'):
            number = json.loads(line)["turn"]
            fresh = PiDialect(mode=MODES.get(name, "ask"))
            fresh.restore(dialect.snapshot())
            fresh.order(Prompt(turn=number, text=""))
            dialect = fresh
            continue
        turns += of(step(dialect, line)[0], TurnEnded, TurnFailed)
    assert turns == of(play(name), TurnEnded, TurnFailed)


# ---- beyond the recordings -----------------------------------------------------------------


def test_pi_is_started_with_the_conversation_and_our_extension():
    launch = Launch(directory="/w", conversation="new", package="/p")
    assert arguments(launch) == ["--session-id", "new", "-e", "/p/agents/extensions/pi-bullpen.ts"]
    back = Launch(directory="/w", conversation="new", resume="old", package="/p")
    assert arguments(back)[:2] == ["--session-id", "old"]


def test_a_pi_without_our_extension_is_not_opened():
    dialect = PiDialect(mode="ask")
    dialect.order(Open(directory="/w"))
    answers: dict[str, dict[str, Any]] = {
        "state": {"sessionId": "s", "model": {"provider": "p", "id": "m"}},
        "models": {"models": []},
        "levels": {"levels": []},
    }
    for command, data in answers.items():
        hear(dialect, id=f"open:{command}", type="response", success=True, data=data)
    data = {"commands": [{"name": "other"}]}
    [failed] = hear(dialect, id="open:commands", type="response", success=True, data=data)
    assert isinstance(failed, OpeningFailed)
    assert failed.code == "extension-missing"


def test_a_mode_that_does_not_hold_refuses_the_opening():
    dialect = PiDialect(mode="plan")
    facts = [fact for line in read("text")[:8] for fact in step(dialect, line)[0]]
    [failed] = of(facts, OpeningFailed)
    assert isinstance(failed, OpeningFailed)
    assert failed.code == "mode-refused"


def test_a_pi_that_may_use_no_model_needs_a_login():
    dialect = PiDialect()
    dialect.order(Open(directory="/w"))
    hear(dialect, id="open:state", type="response", success=True, data={"sessionId": "s"})
    facts = hear(dialect, id="open:models", type="response", success=True, data={"models": []})
    assert isinstance(facts[0], LoginRequired)


def test_an_older_pi_ends_a_turn_with_its_last_run():
    dialect = opened()
    dialect._state.settles = False
    dialect.order(Prompt(turn=1, text="go"))
    hear(dialect, id="prompt:1", type="response", success=True)
    hear(dialect, type="agent_start")
    hear(dialect, **answer("error", errorMessage="overloaded"))
    assert hear(dialect, type="agent_end", messages=[], willRetry=True) == []
    hear(dialect, **answer("stop"))
    facts = hear(dialect, type="agent_end", messages=[], willRetry=False)
    assert facts[-1] == TurnEnded(turn=1, stop="end_turn")


def test_what_settles_before_the_prompt_was_taken_is_another_run():
    dialect = opened()
    hear(dialect, type="agent_start")
    dialect.order(Prompt(turn=1, text="go"))
    assert hear(dialect, type="agent_settled") == []
    hear(dialect, id="prompt:1", type="response", success=True)
    data = {"isStreaming": True}
    assert hear(dialect, id="probe:1", type="response", success=True, data=data) == []
    hear(dialect, **answer("stop"))
    assert hear(dialect, type="agent_settled")[-1] == TurnEnded(turn=1, stop="end_turn")


def test_an_interrupt_before_the_run_began_is_given_again_when_it_does():
    dialect = opened()
    dialect.order(Prompt(turn=1, text="go"))
    dialect.order(Interrupt(turn=1))
    hear(dialect, id="prompt:1", type="response", success=True)
    again = [line["type"] for line in written(dialect, type="agent_start")]
    assert again == ["clear_queue", "abort"]


def test_a_prompt_that_is_refused_fails_its_turn():
    dialect = opened()
    dialect.order(Prompt(turn=1, text="go"))
    facts = hear(dialect, id="prompt:1", type="response", success=False, error="No API key found")
    failed = TurnFailed(turn=1, code="model-error", message="No API key found")
    assert facts[-1] == failed


def test_a_run_without_an_answer_is_a_failure():
    facts = hear(running(), type="agent_settled")
    [failed] = of(facts, TurnFailed)
    assert isinstance(failed, TurnFailed)
    assert failed.code == "no-answer"


@pytest.mark.parametrize(
    ("stop", "end"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("aborted", "cancelled")],
)
def test_the_last_answer_decides_how_a_turn_ended(stop: str, end: str):
    dialect = running()
    hear(dialect, **answer("toolUse"))
    hear(dialect, **answer(stop))
    assert hear(dialect, type="agent_settled")[-1] == TurnEnded(turn=1, stop=end)


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("You have hit your ChatGPT usage limit (plus plan). Try again in ~37 min.", "usage"),
        ("Too many requests", "rate"),
        ("402 insufficient credits", "credit"),
        ("500 server error", None),
    ],
)
def test_limits_are_told_before_the_failure(said: str, limit: str | None):
    dialect = running()
    hear(dialect, **answer("error", errorMessage=said))
    facts = hear(dialect, type="agent_settled")
    found = [one.limit for one in of(facts, LimitReached) if isinstance(one, LimitReached)]
    assert found == ([limit] if limit else [])
    assert isinstance(facts[-1], TurnFailed)


def test_a_limit_that_says_when_it_ends_is_told_so():
    dialect = running()
    said = "You have hit your ChatGPT usage limit. Try again in ~37 min."
    hear(dialect, **answer("error", errorMessage=said))
    [limit] = of(hear(dialect, type="agent_settled"), LimitReached)
    assert isinstance(limit, LimitReached)
    assert limit.resets_in == 37 * 60


def test_a_message_that_was_not_streamed_is_told_whole():
    dialect = running()
    content = [{"type": "text", "text": "all at once"}]
    hear(dialect, type="message_start", message={"role": "assistant"})
    facts = hear(dialect, **answer("stop", content=content))
    assert [one.text for one in facts if isinstance(one, MessageStreamed)] == ["all at once"]


def test_words_that_come_after_the_turn_are_taken_back_and_refused():
    dialect = running()
    [line] = dialect.order(Steer(turn=1, text="more"))
    name = json.loads(line)["id"]
    hear(dialect, **answer("stop"))
    hear(dialect, type="agent_settled")
    [clear] = written(dialect, id=name, type="response", command="steer", success=True)
    assert clear["type"] == "clear_queue"
    taken = {"steering": ["more"], "followUp": []}
    [refused] = hear(dialect, id=clear["id"], type="response", success=True, data=taken)
    assert isinstance(refused, OrderRefused)
    assert (refused.order, refused.code) == ("steer", "too-late")


def test_words_for_no_turn_or_an_interrupted_one_are_impossible():
    with pytest.raises(OrderImpossible, match="not running"):
        opened().order(Steer(turn=1, text="more"))
    dialect = running()
    dialect.order(Interrupt(turn=1))
    with pytest.raises(OrderImpossible, match="interrupted"):
        dialect.order(Steer(turn=1, text="more"))


@pytest.mark.parametrize(
    "order",
    [
        SetMode(mode="yolo"),
        SetModel(model="nowhere"),
        SetOption(option="thinking", value="infinite"),
        SetOption(option="colour", value="red"),
        SetGoal(objective="x"),
        AnswerPermission(request="none", option="allow"),
        AnswerQuestion(request="none", action="accept"),
        Prompt(turn=2, text="bad \ud83d"),
    ],
)
def test_what_pi_cannot_do_is_impossible_and_not_silent(order: AnyOrder):
    with pytest.raises(OrderImpossible):
        opened().order(order)


def test_a_mode_pi_did_not_take_is_a_refused_order():
    dialect = opened()
    [line] = dialect.order(SetMode(mode="plan"))
    name = json.loads(line)["id"]
    [refused] = hear(dialect, id=name, type="response", command="prompt", success=True)
    assert isinstance(refused, OrderRefused)


@pytest.mark.parametrize(
    ("method", "more", "given", "wire"),
    [
        ("select", {"options": ["a", "b"]}, "b", {"value": "b"}),
        ("confirm", {"message": "sure?"}, True, {"confirmed": True}),
        ("confirm", {"message": "sure?"}, False, {"confirmed": False}),
        ("input", {"placeholder": "x"}, "text", {"value": "text"}),
        ("editor", {"prefill": "x"}, "long\ntext", {"value": "long\ntext"}),
    ],
)
def test_questions_of_other_extensions_reach_the_user(
    method: str, more: dict[str, Any], given: Any, wire: dict[str, Any]
):
    dialect = running()
    [asked] = hear(dialect, type="extension_ui_request", id="q", method=method, title="T", **more)
    assert isinstance(asked, QuestionAsked)
    assert asked.schema is not None
    assert asked.schema["required"] == ["answer"]
    said = AnswerQuestion(request="q", action="accept", content={"answer": given})
    [line] = dialect.order(said)
    assert json.loads(line) == {"type": "extension_ui_response", "id": "q", **wire}


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_a_question_may_be_left_open(action: str):
    dialect = running()
    hear(dialect, type="extension_ui_request", id="q", method="input", title="T")
    [line] = dialect.order(AnswerQuestion(request="q", action=action))
    assert json.loads(line)["cancelled"] is True


def test_a_question_of_an_interrupted_turn_is_cancelled_at_once():
    dialect = running()
    dialect.order(Interrupt(turn=1))
    request = {"type": "extension_ui_request", "id": "q", "method": "confirm", "title": "T"}
    assert written(dialect, **request) == [
        {"type": "extension_ui_response", "id": "q", "cancelled": True}
    ]


def test_a_title_that_only_looks_like_ours_is_a_question():
    dialect = running()
    title = "bullpen-permission nonsense"
    [asked] = hear(dialect, type="extension_ui_request", id="q", method="select", title=title)
    assert isinstance(asked, QuestionAsked)


@pytest.mark.parametrize("method", ["notify", "setStatus", "setWidget", "setTitle"])
def test_decoration_is_no_fact(method: str):
    assert hear(opened(), type="extension_ui_request", id="q", method=method, title="x") == []


def test_a_new_name_of_the_conversation_is_its_title():
    facts = hear(opened(), type="session_info_changed", name="Coupons")
    assert facts == [TitleChanged(title="Coupons")]


def test_the_level_of_thinking_is_an_option():
    [fact] = hear(opened(), type="thinking_level_changed", level="high")
    assert isinstance(fact, OptionsChanged)
    assert fact.options[0]["currentValue"] == "high"


def test_death_ends_what_was_open_once():
    dialect = running()
    hear(dialect, type="tool_execution_start", toolCallId="c", toolName="bash", args={})
    hear(dialect, type="extension_ui_request", id="q", method="confirm", title="T")
    dialect.order(SetModel(model="fake/scripted-2"))
    facts = dialect.ended()
    assert of(facts, AskWithdrawn) == [AskWithdrawn(request="q")]
    assert of(facts, ToolChanged) == [ToolChanged(call="c", status="failed")]
    assert [type(fact) for fact in facts[-2:]] == [TurnFailed, OrderRefused]
    assert dialect.ended() == []


# ---- hostile -------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *("type", "id", "response", "agent_start"),
        *("agent_end", "agent_settled", "message_start", "message_update"),
        *("message_end", "message", "role", "assistant"),
        *("assistantMessageEvent", "text_delta", "thinking_delta", "delta"),
        *("contentIndex", "usage", "cost", "total"),
        *("tool_execution_start", "tool_execution_end", "toolCallId", "toolName"),
        *("edit", "args", "edits", "path"),
        *("extension_ui_request", "method", "select", "title"),
        *("bullpen-permission {}", "prompt:1", "probe:1", "steer:1:1"),
        *("open:state", "late:1", "stats:", "success"),
        *("data", "error", "stopReason", "aborted"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)
MESSAGES = st.fixed_dictionaries({"type": WORDS}, optional={"id": WORDS, "data": VALUES}).flatmap(
    lambda base: st.dictionaries(WORDS, VALUES, max_size=6).map(lambda more: more | base)
)


@given(st.lists(MESSAGES, max_size=8))
@patient
def test_whatever_pi_says_nothing_is_raised_and_everything_can_be_stored(
    messages: list[dict[str, Any]],
):
    dialect = running()
    for message in messages:
        heard = dialect.feed(json.dumps(message).encode())
        for fact in heard.facts:
            encode_fact(fact)
        twin = PiDialect(mode="ask")
        twin.restore(dialect.snapshot())
        assert twin.snapshot() == dialect.snapshot()
    dialect.ended()


@given(st.binary(max_size=200))
@patient
def test_whatever_bytes_come_nothing_is_raised(line: bytes):
    for fact in running().feed(line.replace(b"\n", b"")).facts:
        encode_fact(fact)


@given(st.integers(min_value=0), st.data())
@patient
def test_a_torn_line_costs_that_line_alone(seed: int, data: st.DataObject):
    line = read("permissions")[seed % len(read("permissions"))]
    cut = data.draw(st.integers(min_value=0, max_value=len(line)))
    dialect = running()
    dialect.feed(line[:cut])
    hear(dialect, **answer("stop"))
    assert dialect.feed(b'{"type":"agent_settled"}').facts
