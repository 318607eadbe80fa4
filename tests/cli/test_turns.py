"""Sending, asking and waiting."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Command, Stub

NASTY = [
    "- a list\n- of two\n",
    "ends with a semicolon;",
    ";",
    "trailing newlines\n\n\n",
    "$(rm -rf /) `x` \"quoted\" 'single' \\ %s {} ${HOME}",
    "π 🦦 \u202e \u0301 \uff57\uff49de",
    "tab\tbell\x07escape\x1b[31m",
    "--json",
]
SENT = {"session": "a", "turn": 3, "state": "queued"}


def told(settled: list[str], pending: list[str], **records: dict[str, Any]) -> dict[str, Any]:
    whole = {name: {"id": name, "state": "idle", **record} for name, record in records.items()}
    return {"timed_out": bool(pending), "settled": settled, "pending": pending, "sessions": whole}


@pytest.mark.parametrize("text", NASTY)
def test_a_message_arrives_byte_for_byte_by_word_by_file_and_by_stdin(
    bullpen: Command, stub: Stub, tmp_path: Path, text: str
):
    stub.on("POST", "/v1/sessions/a/turns", SENT, status=202)
    (tmp_path / "brief.md").write_bytes(text.encode())
    words = [("--", text), ("-f", "brief.md"), ("--file", "-")]
    for extra in words:
        ended = bullpen("send", "a", *extra, stdin=text.encode())
        assert (ended.code, ended.out, ended.err) == (0, "Sent message to a\n", "")
    assert [one.json["text"] for one in stub.asked] == [text] * 3


def test_a_message_of_twenty_megabytes_arrives(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions/a/turns", SENT, status=202)
    text = "0123456789abcdef\n" * 1_200_000
    assert bullpen("send", "a", "-f", "-", stdin=text.encode()).code == 0
    assert stub.asked[0].json["text"] == text


def test_a_closed_standard_input_is_a_mistake_and_not_a_crash(bullpen: Command):
    shell = ["sh", "-c", 'exec "$@" <&-', "sh"]
    bullpen.argv = [*shell, *bullpen.argv]
    ended = bullpen("send", "a", "-f", "-")
    assert (ended.code, ended.err) == (2, "error: standard input is closed\n")


def test_each_send_has_a_key_of_its_own_and_a_given_one_is_kept(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions/a/turns", SENT, status=202)
    for extra in ((), (), ("--key", "mine")):
        bullpen("send", "a", "hi", *extra)
    keys = [one.headers["idempotency-key"] for one in stub.asked]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


def test_how_and_sender_are_passed_on(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions/a/turns", SENT, status=202)
    bullpen("send", "--interrupt", "a", "hi", env={"BULLPEN_SESSION": "lead"})
    assert stub.asked[0].json == {"text": "hi", "how": "interrupt", "sender": "lead"}


def test_words_may_be_added_to_the_running_turn(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions/a/turns", SENT, status=202)
    assert bullpen("send", "a", "hi", "--steer", "--key", "k").code == 0
    assert stub.asked[0].json == {"text": "hi", "how": "steer"}
    assert bullpen("send", "a", "hi", "--steer", "--interrupt").code == 2


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        ((), b"", "a message is required"),
        (("hi", "-f", "-"), b"x", "give either MESSAGE or --file, not both"),
        ((" \n",), b"", "the message is empty"),
        (("-f", "-"), b"\n", "the message is empty"),
    ],
)
def test_no_message_or_two_are_a_usage_error(
    bullpen: Command, words: tuple[str, ...], stdin: bytes, message: str
):
    ended = bullpen("send", "a", *words, stdin=stdin)
    assert ended.code == 2
    assert ended.err.startswith(f"error: {message}\n")


def test_a_file_that_is_not_there_is_an_error(bullpen: Command):
    ended = bullpen("send", "a", "-f", "nope.md")
    assert ended.code == 1
    assert ended.err == "error: cannot read 'nope.md': No such file or directory\n"


def test_text_that_is_not_utf8_is_refused_with_the_byte(bullpen: Command):
    by_file = bullpen("send", "a", "-f", "-", stdin=b"line\nw\xff")
    assert by_file.code == 1
    assert by_file.err.startswith(
        "error: standard input is not UTF-8: byte 0xff at offset 6 (line 2)\n"
    )
    assert bullpen("send", "a", b"w\xe9").err.startswith(
        "error: MESSAGE is not UTF-8: byte 0xe9 at offset 1 (line 1)\n"
    )


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("completed", 0), ("idle", 0), ("failed", 3), ("refused", 3), ("lost", 3), ("asking", 4)],
)
def test_wait_on_one_prints_the_outcome_alone(
    bullpen: Command, stub: Stub, outcome: str, code: int
):
    stub.on("POST", "/v1/wait", told(["a"], [], a={"outcome": outcome}))
    ended = bullpen("wait", "a", "-i", "0.5")
    assert (ended.code, ended.out) == (code, f"{outcome}\n")
    assert stub.asked[0].json["until"] == "all"


def test_wait_says_what_the_agent_asks_and_how_to_answer(bullpen: Command, stub: Stub):
    asks = [{"request": "r1", "kind": "permission", "title": "Run\x1b make"}]
    stub.on("POST", "/v1/wait", told(["a"], [], a={"outcome": "asking", "asks": asks}))
    assert bullpen("wait", "a").err == (
        "a asks for leave: Run␛ make\nhint: `bullpen answer a` shows the possible answers\n"
    )


def test_wait_on_several_prints_each_and_exits_with_the_worst(bullpen: Command, stub: Stub):
    records = {
        "a": {"outcome": "completed"},
        "b": {"outcome": "failed"},
        "c": {"outcome": "asking"},
    }
    stub.on("POST", "/v1/wait", told(["a", "b", "c"], [], **records))
    ended = bullpen("wait", "a", "b", "--all", "c")
    assert (ended.code, ended.out) == (3, "a completed\nb failed\nc asking\n")


def test_wait_any_prints_and_judges_only_those_that_are_settled(bullpen: Command, stub: Stub):
    answer = told(["b"], ["a"], a={"outcome": "working"}, b={"outcome": "completed"})
    stub.on("POST", "/v1/wait", {**answer, "timed_out": False})
    ended = bullpen("wait", "--any", "a", "b")
    assert (ended.code, ended.out) == (0, "b completed\n")
    assert stub.asked[0].json["until"] == "any"


def test_wait_that_times_out_is_exit_124_and_names_the_session(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/wait", told([], ["a"], a={"outcome": "working"}))
    ended = bullpen("wait", "-t", "0.05", "a")
    assert (ended.code, ended.out) == (124, "")
    assert ended.err.startswith("error: timed out waiting for a after 0.05 s\n")


def test_wait_as_json_is_one_document_also_when_time_ran_out(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/wait", told(["b"], ["a"], a={"outcome": "working"}, b={"outcome": "idle"}))
    ended = bullpen("wait", "-t", "0.05", "a", "b", "--json")
    assert ended.code == 124
    assert ended.json["outcomes"] == {"a": "working", "b": "idle"}
    assert ended.json["timed_out"] is True


def test_wait_for_a_turn_tells_of_that_turn_and_not_of_a_later_one(bullpen: Command, stub: Stub):
    record = {"outcome": "completed", "turn": {"number": 4, "state": "done", "stop": "end_turn"}}
    stub.on("POST", "/v1/wait", told(["a"], [], a=record))
    listed = [{"number": 2, "state": "done", "stop": "refusal"}, {"number": 3, "state": "done"}]
    stub.on("GET", "/v1/sessions/a/turns", {"turns": listed})
    ended = bullpen("wait", "a", "--turn", "2")
    assert (ended.code, ended.out) == (3, "refused\n")
    assert stub.asked[0].json["turns"] == {"a": 2}
    assert stub.only("GET", "/v1/sessions/a/turns").query["after"] == ["1"]


def test_wait_goes_on_over_a_restart_of_the_service(
    bullpen: Command, stub: Stub, until: Callable[[Callable[[], bool]], None]
):
    gate = threading.Event()
    stub.on("POST", "/v1/wait", raw=b"HTTP/1.1 200 OK\r\n", gate=gate)
    stopping = {"error": {"code": "service-stopping", "message": "stopping"}}
    stub.on("POST", "/v1/wait", stopping, status=503)
    stub.on("POST", "/v1/wait", told(["a"], [], a={"outcome": "completed"}))
    waiting = bullpen.begin("wait", "a", "-t", "20")
    until(lambda: len(stub.asked) == 1)
    gate.set()
    stub.stop()
    stub.start()
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out, err) == (0, b"completed\n", b"")
    assert len(stub.asked) == 3


def test_wait_for_a_session_that_does_not_exist_is_an_error(bullpen: Command, stub: Stub):
    stub.refuse("POST", "/v1/wait", "session-not-found", "session not found: 'a'", status=404)
    assert bullpen("wait", "a").code == 1


def test_ask_prints_the_last_message_of_its_own_turn_and_nothing_else(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions/a/turns", SENT, status=202)
    record = {"outcome": "working", "turn": {"number": 4, "state": "running"}}
    stub.on("POST", "/v1/wait", told(["a"], [], a=record))
    stub.on("GET", "/v1/sessions/a/turns", {"turns": [{"number": 3, "state": "done"}]})
    stub.on("GET", "/v1/sessions/a/messages", {"messages": [{"turn": 3, "text": "second\n"}]})
    ended = bullpen("ask", "a", "what?")
    assert (ended.code, ended.out, ended.err) == (0, "second\n\n", "")
    assert stub.only("POST", "/v1/wait").json["turns"] == {"a": 3}
    assert stub.only("GET", "/v1/sessions/a/messages").query == {"count": ["1"], "turn": ["3"]}


def test_ask_without_a_reply_prints_nothing(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions/a/turns", SENT, status=202)
    record = {"outcome": "completed", "turn": {"number": 3, "state": "done"}}
    stub.on("POST", "/v1/wait", told(["a"], [], a=record))
    stub.on("GET", "/v1/sessions/a/messages", {"messages": []})
    ended = bullpen("ask", "a", "what?")
    assert (ended.code, ended.out) == (0, "")


def test_ask_that_times_out_is_exit_124_and_says_how_to_go_on(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions/a/turns", SENT, status=202)
    record = {"outcome": "working", "turn": {"number": 3, "state": "running"}}
    stub.on("POST", "/v1/wait", told([], ["a"], a=record))
    stub.on("GET", "/v1/sessions/a/messages", {"messages": [{"turn": 3, "text": "not yet"}]})
    ended = bullpen("ask", "a", "what?", "-t", "0.05")
    assert (ended.code, ended.out) == (124, "")
    assert "`bullpen last-message a`" in ended.err
    told_json = bullpen("ask", "a", "what?", "-t", "0.05", "--json")
    assert told_json.json["timed_out"] is True
    assert told_json.json["message"] == "not yet"


def test_ask_whose_turn_fails_prints_what_was_said_and_exits_3(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions/a/turns", SENT, status=202)
    record = {
        "outcome": "failed",
        "state": "failed",
        "reason": "it died",
        "turn": {"number": 3, "state": "failed"},
    }
    stub.on("POST", "/v1/wait", told(["a"], [], a=record))
    stub.on("GET", "/v1/sessions/a/messages", {"messages": [{"turn": 3, "text": "half"}]})
    ended = bullpen("ask", "a", "what?")
    assert (ended.code, ended.out, ended.err) == (3, "half\n", "a: failed\na is failed: it died\n")


def test_send_and_wait_prints_the_outcome(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions/a/turns", SENT, status=202)
    record = {"outcome": "completed", "turn": {"number": 3, "state": "done", "stop": "max_tokens"}}
    stub.on("POST", "/v1/wait", told(["a"], [], a=record))
    ended = bullpen("send", "a", "hi", "--wait")
    assert (ended.code, ended.out) == (3, "truncated\n")
