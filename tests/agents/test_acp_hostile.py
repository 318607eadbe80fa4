import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bullpen.agents.acp import AcpDialect
from bullpen.agents.dialect import (
    AnswerPermission,
    AnyOrder,
    Interrupt,
    ListConversations,
    Open,
    OrderImpossible,
    Prompt,
)
from bullpen.model.agent import Quirks
from bullpen.model.fact import Faulted, MessageStreamed, TurnEnded, decode_fact, encode_fact

patient = settings(deadline=None, database=None)
START = [
    b'{"jsonrpc":"2.0","id":32,"result":{"protocolVersion":1,"agentCapabilities":'
    b'{"sessionCapabilities":{"list":{}}}}}',
    b'{"jsonrpc":"2.0","id":67,"result":{"sessionId":"s1"}}',
]


def opened() -> AcpDialect:
    dialect = AcpDialect()
    dialect.order(Open(directory="/w"))
    for line in START:
        dialect.feed(line)
    return dialect


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"npm warn deprecated", "not JSON"),
        (b'{"jsonrpc":"2.0","method":', "not JSON"),
        (b'{"a":1}{"b":2}', "not JSON"),
        (b'{"a":NaN}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":1}\x00', "NUL byte"),
        (b'[{"jsonrpc":"2.0","id":1}]', "no object"),
        (b"17", "no object"),
        (b"null", "no object"),
        (b'"text"', "no object"),
        (deep(100_000), "nested deeper"),
        (b'{"method":"x","params":' + deep(300) + b"}", "nested deeper"),
    ],
)
def test_bytes_that_are_no_message_are_recorded_as_a_fault(line: bytes, why: str):
    heard = opened().feed(line)
    assert len(heard.facts) >= 1
    fact = heard.facts[0]
    assert isinstance(fact, Faulted)
    assert why in fact.why
    assert len(fact.sample) <= 200
    assert fact.length_bytes == len(line)
    assert "\0" not in fact.sample


@pytest.mark.parametrize("line", [b"", b" ", b"\t\r"])
def test_an_empty_line_means_nothing(line: bytes):
    assert opened().feed(line).facts == []


def test_half_a_surrogate_pair_costs_one_character_and_not_the_message():
    update = (
        rb'{"method":"session/update","params":{"sessionId":"s1","update":{"sessionUpdate":'
        rb'"agent_message_chunk","content":{"type":"text","text":"ab\ud83d \u00e9\ud83d\ude00"}}}}'
    )
    assert opened().feed(update).facts == [MessageStreamed(text="ab\ufffd é😀")]


def test_a_turn_ends_even_when_its_answer_is_nested_too_deep():
    dialect = opened()
    dialect.order(Prompt(turn=1, text="go"))
    line = b'{"id":38,"result":{"stopReason":"end_turn","_meta":' + deep(500) + b"}}"
    assert dialect.feed(line).facts[-1] == TurnEnded(turn=1, stop="end_turn")


def test_a_request_that_is_nested_too_deep_is_answered():
    line = b'{"id":5,"method":"fs/x","params":{"a":' + deep(500) + b"}}"
    heard = opened().feed(line)
    assert json.loads(heard.out[0])["error"]["code"] == -32601


def test_an_agent_that_invents_ids_does_not_spoil_ours():
    dialect = opened()
    for number in (2**62, 2**62 + 3, -35, 31, 0, 2**70, 1e18):
        dialect.feed(json.dumps({"id": number, "result": {"sessionId": "s9"}}).encode())
    sent = json.loads(dialect.order(ListConversations())[0])
    assert sent["id"] < 2**20
    assert json.loads(dialect.order(Prompt(turn=1, text="x"))[0])["params"]["sessionId"] == "s1"


def test_a_flood_of_calls_does_not_grow_the_state_without_bound():
    dialect = opened()
    dialect.order(Prompt(turn=1, text="go"))
    for number in range(10_000):
        update = {"sessionUpdate": "tool_call", "toolCallId": f"c{number}", "title": "t"}
        params = {"sessionId": "s1", "update": update}
        dialect.feed(json.dumps({"method": "session/update", "params": params}).encode())
    assert len(dialect.snapshot()) < 200_000


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["s1", "text", "end_turn", "c1", "allow_once", "form", "url", "2.0"])
)
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KINDS = [
    "user_message_chunk",
    "agent_message_chunk",
    "agent_thought_chunk",
    "tool_call",
    "tool_call_update",
    "plan",
    "plan_update",
    "available_commands_update",
    "current_mode_update",
    "config_option_update",
    "session_info_update",
    "usage_update",
    "notice",
]
FIELDS = [
    "content",
    "messageId",
    "toolCallId",
    "title",
    "kind",
    "status",
    "locations",
    "rawInput",
    "rawOutput",
    "entries",
    "plan",
    "availableCommands",
    "currentModeId",
    "modeId",
    "configOptions",
    "_meta",
    "used",
    "size",
    "cost",
]
blocks: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image"]) | anything}, optional={"text": anything}
)
rows: st.SearchStrategy[Any] = st.lists(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            [
                "name",
                "id",
                "value",
                "content",
                "status",
                "optionId",
                "kind",
                "options",
                "category",
                "currentValue",
                "description",
                "sessionId",
            ],
            anything,
        ),
    )
    | anything,
    max_size=3,
)
fields: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(FIELDS), blocks | rows | anything, max_size=6
)
updates: st.SearchStrategy[Any] = st.tuples(fields, st.sampled_from(KINDS) | anything).map(
    lambda pair: {**pair[0], "sessionUpdate": pair[1]}
)
notifications: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {
        "method": st.just("session/update"),
        "params": st.fixed_dictionaries(
            {"update": updates | anything}, optional={"sessionId": st.just("s1") | anything}
        ),
    }
)
calls: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {
        "id": anything,
        "method": st.sampled_from(
            ["session/request_permission", "elicitation/create", "fs/read_text_file"]
        )
        | anything,
        "params": st.fixed_dictionaries(
            {},
            optional={
                "options": rows,
                "toolCall": fields | anything,
                "message": anything,
                "mode": anything,
                "requestedSchema": anything,
                "url": anything,
                "elicitationId": anything,
                "sessionId": anything,
            },
        )
        | anything,
    }
)
results: st.SearchStrategy[Any] = st.dictionaries(
    st.sampled_from(
        [
            "protocolVersion",
            "agentCapabilities",
            "authMethods",
            "sessionId",
            "modes",
            "models",
            "configOptions",
            "stopReason",
            "usage",
            "sessions",
            "nextCursor",
            "agentInfo",
        ]
    ),
    anything | rows | st.just(1),
    max_size=4,
)
bodies: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {}, optional={"result": results | anything, "error": anything}
)
errors: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"error": st.fixed_dictionaries({"code": anything, "data": anything})}
)
answers = st.tuples(st.integers(0, 300) | anything, bodies | errors).map(
    lambda pair: {**pair[1], "id": pair[0]}
)
odd_notifications: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["$/cancel_request", "elicitation/complete"]) | anything,
        "params": st.dictionaries(st.sampled_from(["requestId", "elicitationId"]), anything),
    }
)
messages: st.SearchStrategy[Any] = notifications | calls | answers | odd_notifications | anything
lines = messages.map(lambda message: json.dumps(message).encode()) | st.binary(max_size=40)
orders: st.SearchStrategy[AnyOrder] = st.one_of(
    st.builds(Prompt, turn=st.integers(1, 4), text=st.just("go")),
    st.builds(Interrupt, turn=st.integers(1, 4)),
    st.builds(AnswerPermission, request=st.sampled_from(["0", "1", "s:1"]), option=st.none()),
    st.just(ListConversations()),
    st.builds(Open, directory=st.just("/w"), resume=st.none() | st.just("s1")),
)
steps = st.lists(lines | orders, max_size=12)


def take(dialect: AcpDialect, step: bytes | AnyOrder) -> tuple[list[Any], list[bytes]]:
    if isinstance(step, bytes):
        heard = dialect.feed(step)
        return list(heard.facts), list(heard.out)
    try:
        return [], dialect.order(step)
    except OrderImpossible as error:
        return [str(error)], []


@patient
@given(steps)
def test_whatever_an_agent_says_gives_facts_that_can_be_stored_and_answers_that_are_lines(
    given_steps: list[bytes | AnyOrder],
):
    dialect = opened()
    for step in given_steps:
        facts, out = take(dialect, step)
        for fact in facts:
            if not isinstance(fact, str):
                assert encode_fact(decode_fact(encode_fact(fact))) == encode_fact(fact)
        for line in out:
            assert line.endswith(b"\n")
            assert line.count(b"\n") == 1
            assert isinstance(json.loads(line), dict)
    for fact in dialect.ended():
        decode_fact(encode_fact(fact))


@patient
@given(steps, st.integers(0, 12), st.booleans())
def test_a_restore_between_any_two_lines_changes_nothing(
    given_steps: list[bytes | AnyOrder],
    cut: int,
    late: bool,
):
    script: list[bytes | AnyOrder] = [Open(directory="/w"), *START, *given_steps]
    quirks = Quirks(late_history=late)
    whole, first, second = (AcpDialect(mode="plan", model="m", quirks=quirks) for _ in range(3))
    expected = [take(whole, step) for step in script]
    seen = [take(first, step) for step in script[:cut]]
    second.restore(first.snapshot())
    seen += [take(second, step) for step in script[cut:]]
    assert seen == expected
    assert second.snapshot() == whole.snapshot()
    assert second.ended() == whole.ended()


@patient
@given(st.lists(lines, max_size=12))
def test_the_same_journal_gives_the_same_facts(journal: list[bytes]):
    first, second = opened(), opened()
    assert [first.feed(line) for line in journal] == [second.feed(line) for line in journal]
