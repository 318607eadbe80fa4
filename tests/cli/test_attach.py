import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bullpen.cli.composer import INTERRUPT, LEAVE, SEND, Composer
from bullpen.cli.show import columns_of
from bullpen.cli.telling import Telling
from bullpen.model.home import Home
from bullpen.testing.fake_service import FakeService


@pytest.fixture
def world(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "BULLPEN_HOME": str(tmp_path / "home"),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "BULLPEN_NO_AUTOSTART": "1",
        "TERM": "xterm",
        "PYTHONUTF8": "1",
    }


@pytest.fixture
def service(world: dict[str, str]) -> Iterator[FakeService]:
    fake = FakeService(Home.of(world))
    fake.open()
    yield fake
    fake.close()


class Seat:
    """`bullpen attach` on a terminal of its own, and what shows there."""

    def __init__(self, world: dict[str, str], session: str) -> None:
        self.fd, theirs = pty.openpty()
        termios.tcsetwinsize(self.fd, (24, 80))
        self.before = termios.tcgetattr(theirs)
        argv = [sys.executable, "-m", "bullpen", "attach", session]
        self.child = subprocess.Popen(
            argv, env=world, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        self.theirs = theirs
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str) -> str:
        """Read until `text` shows; return what showed since the last time."""
        while text not in self.shown:
            self.shown += os.read(self.fd, 65536).decode("utf-8", "replace")
        head, _, self.shown = self.shown.partition(text)
        return head + text

    def end(self) -> int:
        """Wait for the command to end, and check that the terminal is as it was."""
        code = self.child.wait(10)
        after = termios.tcgetattr(self.theirs)
        assert after[:4] == self.before[:4]
        return code

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        os.close(self.fd)
        os.close(self.theirs)


@pytest.fixture
def sit(world: dict[str, str]) -> Iterator[Callable[[str], Seat]]:
    seats: list[Seat] = []

    def down(session: str) -> Seat:
        seats.append(Seat(world, session))
        return seats[-1]

    # A seat that waits for what never shows must fail, not hang.
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(30)
    yield down
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    for seat in seats:
        seat.close()


def make(service: FakeService, prompt: str = "") -> str:
    with service.changed:
        return str(service.create({"agent": "demo", "path": "/", "prompt": prompt})["id"])


def test_what_happened_shows_and_what_is_typed_is_sent(
    service: FakeService, sit: Callable[[str], Seat]
):
    seat = sit(make(service, "what was asked before"))
    seat.until("> what was asked before")
    seat.until("turn 1: end_turn")
    seat.until("idle")
    seat.type("größer\x1b[D\x7fX\r")
    seat.until("> größXr")
    seat.until("turn 2: end_turn")
    seat.type("/quit\r")
    seat.until("come back with")
    assert seat.end() == 0
    (asked,) = service.saw("POST", "/v1/sessions/fake-otter-1/turns")
    assert asked["text"] == "größXr"


def test_text_streams_and_is_not_told_twice(service: FakeService, sit: Callable[[str], Seat]):
    session = make(service, "hold")
    seat = sit(session)
    seat.until("> hold")
    service.stream(session, "first half,")
    seat.until("first half,")
    service.stream(session, " second\n")
    seat.until(" second")
    text = "first half, second\n"
    service.say(session, {"kind": "message-streamed", "text": text, "message": "m"})
    service.finish(session)
    shown = seat.until("end_turn")
    assert "first half" not in shown


def test_ctrl_c_interrupts_the_turn_once_and_leaves_at_the_second(
    service: FakeService, sit: Callable[[str], Seat]
):
    seat = sit(make(service, "hold"))
    seat.until("> hold")
    seat.type("\x03")
    seat.until("turn 1: cancelled")
    seat.type("\x03")
    assert seat.end() == 0
    assert len(service.saw("POST", "/v1/sessions/fake-otter-1/interrupt")) == 1
    assert service.sessions["fake-otter-1"]["state"] == "idle"


def test_a_permission_is_asked_for_and_given(service: FakeService, sit: Callable[[str], Seat]):
    seat = sit(make(service))
    seat.until("attached")
    seat.type("ask\r")
    seat.until("rm -rf build")
    seat.until("/allow")
    seat.type("/allow\r")
    seat.until("allowed by user")
    (answer,) = service.saw("POST", "/v1/sessions/fake-otter-1/answers")
    assert (answer["request"], answer["allow"]) == ("r1", True)


def test_a_question_is_answered_by_its_one_field(service: FakeService, sit: Callable[[str], Seat]):
    seat = sit(make(service, "question"))
    seat.until("/answer colour")
    seat.type("/answer deep blue\r")
    seat.until("by user")
    (answer,) = service.saw("POST", "/v1/sessions/fake-otter-1/answers")
    assert answer["content"] == {"colour": "deep blue"}


def test_a_restart_of_the_service_is_survived(service: FakeService, sit: Callable[[str], Seat]):
    session = make(service, "hold")
    seat = sit(session)
    seat.until("> hold")
    service.close()
    seat.until("no service answers")
    service.open()
    service.finish(session)
    shown = seat.until("turn 1: end_turn")
    assert "> hold" not in shown


def test_a_word_that_is_no_command_is_not_sent(service: FakeService, sit: Callable[[str], Seat]):
    seat = sit(make(service))
    seat.until("attached")
    seat.type("/alow\r")
    seat.until("no command /alow")
    seat.type("//alow\r")
    seat.until("> /alow")
    assert [one["text"] for one in service.saw("POST", "/v1/sessions/fake-otter-1/turns")] == [
        "/alow"
    ]


def test_nothing_an_agent_prints_drives_the_terminal(
    service: FakeService, sit: Callable[[str], Seat]
):
    session = make(service, "hold")
    seat = sit(session)
    seat.until("> hold")
    evil = "\x1b[2J\x1b]0;owned\x07\x9b31m\x0c"
    service.stream(session, f"one {evil}\n")
    service.say(session, {"kind": "tool-called", "call": "1", "title": f"two {evil}"})
    service.say(session, {"kind": "plan-shown", "entries": [{"content": f"three {evil}"}]})
    service.finish(session)
    shown = seat.until("end_turn")
    assert all(word in shown for word in ("one", "two", "three"))
    ours = r"\x1b\[(\?25[lh]|\?2004[lh]|[0-9;]*[mKJABC])"
    rest = re.sub(ours, "", shown)
    assert "\x1b[2J" not in shown
    assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]", rest)


def test_a_resize_and_a_signal_to_end_leave_the_terminal_as_it_was(
    service: FakeService, sit: Callable[[str], Seat]
):
    seat = sit(make(service))
    seat.until("─" * 20)
    termios.tcsetwinsize(seat.fd, (10, 30))
    os.kill(seat.child.pid, signal.SIGWINCH)
    seat.until("\x1b[K\r\n")
    os.kill(seat.child.pid, signal.SIGTERM)
    seat.until("\x1b[?2004l")
    assert seat.end() == 128 + signal.SIGTERM


def pipe(world: dict[str, str], session: str, text: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bullpen", "attach", session]
    return subprocess.run(argv, env=world, input=text, capture_output=True, text=True, timeout=30)


def test_without_a_terminal_lines_are_sent_and_the_stream_is_printed(
    service: FakeService, world: dict[str, str]
):
    done = pipe(world, make(service, "before"), "one\n\ntwo\n")
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith(("> ", "— "))]
    assert [line.split(":")[0] for line in told] == [
        "> before",
        "— turn 1",
        "> one",
        "— turn 2",
        "> two",
        "— turn 3",
    ]
    assert "\x1b" not in done.stdout


def test_without_a_terminal_the_exit_code_tells_how_the_session_settled(
    service: FakeService, world: dict[str, str]
):
    assert pipe(world, make(service), "fail\n").returncode == 3
    assert pipe(world, make(service), "ask\n").returncode == 4
    assert pipe(world, make(service), "/quit\n").returncode == 0


def test_an_unknown_session_is_an_error(service: FakeService, world: dict[str, str]):
    done = pipe(world, "nobody", "")
    assert done.returncode == 1
    assert "session not found" in done.stderr


# ---- the composer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        ("abc\r", "abc"),
        ("abc\x01X\x05Y\r", "XabcY"),
        ("one two\x17three\r", "one three"),
        ("abc\x15d\r", "d"),
        ("abc\x1b[D\x1b[D\x0b\r", "a"),
        ("ab\x1b[D\x1b[3~c\r", "ac"),
        ("a\nb\r", "a\nb"),
        ("a\x1b\rb\r", "a\nb"),
        ("\x1b[200~one\r\ntwo\x1b[201~\r", "one\ntwo"),
        ("a\x1b[99;5uz\x1bOD\x1bOCb\r", "azb"),
        ("äö\x7f\r", "ä"),
        ("日本\x1b[DX\r", "日X本"),
    ],
)
def test_keys_do_what_they_do_in_a_shell(keys: str, sent: str):
    assert Composer().feed(keys.encode()) == [(SEND, sent)]


def test_history_is_recalled_and_left_again():
    composer = Composer()
    composer.feed(b"one\rtwo\r")
    composer.feed(b"\x1b[A\x1b[A")
    assert composer.text == "one"
    composer.feed(b"\x1b[B\x1b[B")
    assert composer.text == ""


def test_ctrl_c_clears_a_text_before_it_interrupts_and_ctrl_d_leaves():
    composer = Composer()
    assert composer.feed(b"abc\x03") == []
    assert composer.feed(b"\x03\x04") == [(INTERRUPT, ""), (LEAVE, "")]


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_any_bytes_in_any_pieces_make_the_same_of_it(raw: bytes, cuts: list[int]):
    whole, pieces = Composer(), Composer()
    wanted = whole.feed(raw)
    places = [0, *sorted(cuts), len(raw)]
    found = [wish for begin, end in pairwise(places) for wish in pieces.feed(raw[begin:end])]
    assert (found, pieces.text, pieces.cursor) == (wanted, whole.text, whole.cursor)
    assert 0 <= whole.cursor <= len(whole.text)
    shown, column = whole.line(20)
    assert 0 <= column < 20
    assert shown.isprintable() or not shown


# ---- the telling ---------------------------------------------------------------------------

PIECES = st.lists(st.text("ab \n日", max_size=12), max_size=8)


@given(PIECES, st.integers(0, 8), st.integers(8, 40))
def test_streamed_and_stored_text_is_told_once_and_whole(
    pieces: list[str], stored: int, width: int
):
    telling = Telling({})
    lines: list[tuple[str, str]] = []

    def hear(item: dict[str, Any]) -> None:
        lines.extend(telling.hear(item, width))

    whole = "".join(pieces)
    for piece in pieces:
        delta = {"kind": "message-streamed", "text": piece, "message": "m"}
        hear({"session": "s", "delta": delta})
    head, tail = "".join(pieces[:stored]), "".join(pieces[stored:])
    for seq, text in enumerate((head, tail, "!"), 1):
        fact = {"kind": "message-streamed", "text": text, "message": "m"}
        hear({"session": "s", "seq": seq, "at": 0.0, "fact": fact})
    lines.extend(telling.flush())
    told = "".join(text for text, _ in lines)
    assert told.replace(" ", "") == (whole + "!").replace("\n", "").replace(" ", "")
    assert all(columns_of(text) <= width for text, _ in lines)


def test_text_of_which_pieces_were_missed_is_told_whole_once_more():
    telling = Telling({})
    telling.hear({"delta": {"kind": "message-streamed", "text": "abc", "message": ""}}, 80)
    telling.hear({"delta": {"kind": "message-streamed", "text": "f", "message": ""}}, 80)
    fact = {"kind": "message-streamed", "text": "abcdef"}
    lines = telling.hear({"seq": 1, "at": 0.0, "fact": fact}, 80)
    assert [*lines, *telling.flush()] == [("abcf", ""), ("abcdef", "")]


def test_words_that_were_added_to_a_turn_are_told():
    fact = {"kind": "turn-steered", "turn": 3, "text": "and that too", "sender": "lead"}
    lines = Telling({}).hear({"seq": 1, "at": 0.0, "fact": fact}, 80)
    assert lines == [("> [lead] and that too  (added to turn 3)", "bold")]


def test_an_event_that_comes_again_is_not_told_again():
    telling = Telling({})
    item = {"seq": 1, "at": 0.0, "fact": {"kind": "turn-queued", "turn": 1, "text": "x"}}
    assert telling.hear(item, 80)
    assert telling.hear(item, 80) == []


def test_long_output_is_cut_and_says_by_how_much():
    telling = Telling({})
    block = {"type": "content", "content": {"type": "text", "text": "line\n" * 100}}
    fact = {"kind": "tool-called", "call": "1", "title": "run", "status": "failed"}
    lines = telling.hear({"seq": 1, "at": 0.0, "fact": fact | {"content": [block]}}, 80)
    assert len(lines) < 15
    assert any("92 more lines" in text for text, _ in lines)
    assert lines[-1] == ("  ✗ run failed", "red")
