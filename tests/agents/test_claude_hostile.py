"""The dialect of Claude Code against whatever may come."""

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullpen.model.fact import (
    Faulted,
    MessageStreamed,
    TurnEnded,
    Unrecognised,
    encode_fact,
)
from kit.claude import (
    NAMES,
    PROMPT,
    ends,
    hear,
    patient,
    read,
    result,
    running,
    speaker,
)

WORDS = st.sampled_from(
    [
        *("type", "subtype", "control_request", "control_response"),
        *("control_cancel_request", "request_id", "request", "response"),
        *("can_use_tool", "tool_name", "input", "AskUserQuestion"),
        *("questions", "options", "label", "permission_suggestions"),
        *("mode", "system", "init", "permissionMode"),
        *("stream_event", "event", "delta", "text_delta"),
        *("thinking_delta", "text", "thinking", "parent_tool_use_id"),
        *("assistant", "user", "message", "content"),
        *("tool_use", "tool_result", "id", "name"),
        *("TodoWrite", "todos", "MultiEdit", "edits"),
        *("file_path", "result", "is_error", "terminal_reason"),
        *("usage", "modelUsage", "model_usage_since_last_result", "costUSD"),
        *("total_cost_usd", "user_message_uuids", f"{PROMPT}1", f"{PROMPT}2"),
        *("command_lifecycle", "command_uuid", "state", "cancelled"),
        *("00000000-0000-4000-9000-000000010000", "interrupt-2", "open-1", "mode-2"),
        *("rate_limit_event", "rate_limit_info", "status", "rejected"),
        *("isReplay", "uuid", "error", "errors"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)
MESSAGES = st.fixed_dictionaries({"type": WORDS}).flatmap(
    lambda base: st.dictionaries(WORDS, VALUES, max_size=6).map(lambda more: more | base)
)


@given(st.lists(MESSAGES, max_size=8))
@patient
def test_whatever_it_says_nothing_is_raised_and_everything_can_be_stored(
    messages: list[dict[str, Any]],
):
    dialect = running()
    for message in messages:
        for fact in dialect.feed(json.dumps(message).encode()).facts:
            encode_fact(fact)
        twin = speaker()
        twin.restore(dialect.snapshot())
        assert twin.snapshot() == dialect.snapshot()
    dialect.ended()


@given(st.sampled_from(NAMES), st.integers(min_value=0), st.data())
@patient
def test_a_real_line_with_a_foreign_part_raises_nothing(name: str, seed: int, data: st.DataObject):
    lines = [line for line in read(name) if not line.startswith(b'{"order"')]
    message: dict[str, Any] = json.loads(lines[seed % len(lines)])
    within = message
    while True:
        key = data.draw(st.sampled_from(sorted(within)))
        inner: Any = within[key]
        if not isinstance(inner, dict) or not inner or data.draw(st.booleans()):
            within[key] = data.draw(VALUES)
            break
        within = cast("dict[str, Any]", inner)
    dialect = running()
    for fact in dialect.feed(json.dumps(message).encode()).facts:
        encode_fact(fact)
    dialect.snapshot()


@given(st.binary(max_size=200))
@patient
def test_whatever_bytes_come_nothing_is_raised(line: bytes):
    for fact in running().feed(line.replace(b"\n", b"")).facts:
        encode_fact(fact)


@given(st.sampled_from(NAMES), st.integers(min_value=0), st.data())
@patient
def test_a_torn_line_costs_that_line_alone(name: str, seed: int, data: st.DataObject):
    lines = [line for line in read(name) if b'"type":"result"' not in line]
    line = lines[seed % len(lines)]
    cut = data.draw(st.integers(min_value=0, max_value=len(line) - 1))
    dialect = running()
    dialect.feed(line[:cut])
    assert ends(hear(dialect, **result())) == [TurnEnded(turn=1, stop="end_turn")]


def test_half_a_character_is_mended_and_the_rest_is_kept():
    delta = b'{"type":"text_delta","text":"a\\ud83d"}'
    event = b'{"type":"content_block_delta","delta":' + delta + b"}"
    line = b'{"type":"stream_event","parent_tool_use_id":null,"event":' + event + b"}"
    assert running().feed(line).facts == [MessageStreamed(text="a\ufffd", message="")]


def test_a_turn_ends_even_with_a_result_that_is_nested_too_deep():
    deep = "[" * 500 + "]" * 500
    line = f'{{"type":"result","is_error":false,"result":"x","usage":{deep}}}'
    facts = running().feed(line.encode()).facts
    assert isinstance(facts[0], Faulted)
    assert ends(facts) == [TurnEnded(turn=1, stop="end_turn")]


def test_a_huge_line_is_read_whole():
    content = [{"type": "text", "text": "x" * 20_000_000}]
    [fact] = hear(running(), type="assistant", message={"id": "m", "content": content})
    assert isinstance(fact, MessageStreamed)
    assert len(fact.text) == 20_000_000


@pytest.mark.parametrize("line", [b"", b"  ", b"\r"])
def test_an_empty_line_means_nothing(line: bytes):
    assert running().feed(line).facts == []


def test_an_unknown_message_is_kept():
    [fact] = hear(running(), type="news", text="x")
    assert fact == Unrecognised(what="news", raw={"type": "news", "text": "x"})
