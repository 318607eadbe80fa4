"""Requests over the unix socket: every form of body, and a service that goes away."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bullpen.cli.exits import UNREACHABLE, Refusal
from bullpen.cli.wire import ServiceGone, Wire, session_path, with_query
from bullpen.model.home import Home

if TYPE_CHECKING:
    from tests.cli.conftest import Stub

FORBIDDEN = {"BULLPEN_NO_AUTOSTART": "1"}
STOPPING = {"code": "service-stopping", "message": "the service is stopping"}


def wire_to(stub: Stub) -> Wire:
    return Wire(stub.home, FORBIDDEN)


@pytest.mark.parametrize(
    "raw",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"a": "b"}',
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
        b'3\r\n{"a\r\n7;x=y\r\n": "b"}\r\n0\r\n\r\n',
        b'HTTP/1.0 200 OK\r\nX: y\r\n\r\n{"a": "b"}',
    ],
    ids=["by length", "by chunks", "to the end"],
)
def test_a_body_is_read_however_it_is_framed(stub: Stub, raw: bytes):
    stub.on("GET", "/v1/x", raw=raw)
    assert wire_to(stub).get("/v1/x") == {"a": "b"}


def test_twenty_megabytes_go_both_ways_unchanged(stub: Stub):
    text = "π'\"\\\n\0" * 3_000_000
    stub.on("POST", "/v1/x", {"text": text})
    assert wire_to(stub).post("/v1/x", {"text": text}) == {"text": text}
    assert json.loads(stub.asked[0].body) == {"text": text}


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{",
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{"a": "b"}\r\n',
    ],
    ids=["nothing", "half a header", "half a body", "no last chunk"],
)
def test_a_read_whose_answer_breaks_off_is_asked_again(stub: Stub, torn: bytes):
    stub.on("GET", "/v1/x", raw=torn)
    stub.on("GET", "/v1/x", {"a": "b"})
    assert wire_to(stub).get("/v1/x") == {"a": "b"}
    assert len(stub.asked) == 2


def test_a_deed_whose_answer_breaks_off_is_not_repeated_and_the_doubt_is_said(stub: Stub):
    stub.on("POST", "/v1/x", raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
    with pytest.raises(Refusal, match="ended before it answered") as caught:
        wire_to(stub).post("/v1/x")
    assert caught.value.exit_code == UNREACHABLE
    assert "nobody knows" in caught.value.hint
    assert len(stub.asked) == 1


def test_a_deed_with_a_key_is_repeated_with_the_same_key(stub: Stub):
    stub.on("POST", "/v1/x", raw=b"")
    stub.on("POST", "/v1/x", {"turn": 3})
    assert wire_to(stub).call("POST", "/v1/x", {"text": "hi"}, key="k 1") == {"turn": 3}
    assert [one.headers["idempotency-key"] for one in stub.asked] == ["k%201", "k%201"]
    assert [one.json for one in stub.asked] == [{"text": "hi"}] * 2


def test_a_service_on_its_way_down_is_asked_again_even_for_a_deed(stub: Stub):
    stub.on("POST", "/v1/x", {"error": STOPPING}, status=503)
    stub.on("POST", "/v1/x", {"ok": True})
    assert wire_to(stub).post("/v1/x") == {"ok": True}


def test_another_kind_of_unavailable_is_an_error(stub: Stub):
    stub.refuse("GET", "/v1/x", "overloaded", status=503)
    with pytest.raises(Refusal) as caught:
        wire_to(stub).get("/v1/x")
    assert caught.value.code == "overloaded"


def test_an_error_is_read_back_with_code_message_and_hint(stub: Stub):
    stub.refuse("GET", "/v1/x", "session-busy", "it is working", hint="stop it")
    with pytest.raises(Refusal) as caught:
        wire_to(stub).get("/v1/x")
    refusal = caught.value
    assert (refusal.code, refusal.message, refusal.hint) == (
        "session-busy",
        "it is working",
        "stop it",
    )


def test_an_error_that_is_not_of_our_form_still_says_something(stub: Stub):
    stub.on("GET", "/v1/x", raw=b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nOops!")
    with pytest.raises(Refusal, match="Oops!"):
        wire_to(stub).get("/v1/x")


def test_a_body_refused_before_it_was_read_gives_the_refusal_not_a_broken_pipe(stub: Stub):
    stub.refuse("POST", "/v1/x", "request-invalid", "too much", unread=True)
    with pytest.raises(Refusal) as caught:
        wire_to(stub).post("/v1/x", {"text": "x" * 8_000_000})
    assert caught.value.code in ("request-invalid", "service-unreachable")


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (b'\r\n{"seq": 1}\n{"se', b'q": 2}\n'),
        (
            b'Transfer-Encoding: chunked\r\n\r\n1a\r\n{"seq": 1}\n',
            b'{"seq": 2}    \n\r\n0\r\n\r\n',
        ),
    ],
    ids=["to the end", "inside a chunk"],
)
def test_lines_come_as_soon_as_they_are_written(stub: Stub, first: bytes, rest: bytes):
    gate = threading.Event()
    stub.on("GET", "/v1/x", raw=b"HTTP/1.1 200 OK\r\n" + first, gate=gate, after=rest)
    lines = wire_to(stub).lines("/v1/x")
    try:
        assert next(lines) == {"seq": 1}
    finally:
        gate.set()
    assert list(lines) == [{"seq": 2}]
    assert not stub.was_left_waiting


def test_a_torn_last_line_is_not_taken_for_a_line(stub: Stub):
    stub.on("GET", "/v1/x", raw=b'HTTP/1.1 200 OK\r\n\r\n{"seq": 1}\n{"seq": 2')
    lines = wire_to(stub).lines("/v1/x")
    assert next(lines) == {"seq": 1}
    with pytest.raises(ServiceGone):
        next(lines)


def test_where_no_service_may_be_started_its_absence_is_an_error_of_its_own(home: Home):
    with pytest.raises(Refusal, match="no service answers") as caught:
        Wire(home, FORBIDDEN).get("/v1/x")
    assert (caught.value.code, caught.value.exit_code) == ("service-unreachable", UNREACHABLE)


def test_a_socket_that_is_no_socket_is_an_error_and_nothing_is_started(tmp_path: Path):
    home = Home.of({"BULLPEN_HOME": str(tmp_path)})
    home.socket.mkdir()
    with pytest.raises(Refusal) as caught:
        Wire(home, {**FORBIDDEN}).get("/v1/x")
    assert caught.value.exit_code == UNREACHABLE


def test_what_stands_in_a_path_is_quoted(stub: Stub):
    stub.on("GET", "/v1/sessions/a%2F%C3%A9", {})
    wire_to(stub).get(session_path("a/é"))
    assert with_query("/v1/x", {"label": ["a=b c", "d"], "n": 1}) == (
        "/v1/x?label=a%3Db%20c&label=d&n=1"
    )
