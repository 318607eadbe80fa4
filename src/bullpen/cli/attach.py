"""`bullpen attach`: a live view of one session with a line to type into.

Three threads: one reads the event stream and finds the service again when it goes away, one
sends what was typed, and the main one owns the terminal. Leaving leaves the agent running.
"""

from __future__ import annotations

import argparse
import os
import queue
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from bullpen.cli.composer import INTERRUPT, LEAVE, SEND, Composer
from bullpen.cli.exits import DONE, Refusal, of_outcome
from bullpen.cli.options import add_session, natural
from bullpen.cli.progress import clock, fields_of
from bullpen.cli.screen import Screen, tame
from bullpen.cli.telling import Fact, Line, Telling
from bullpen.cli.terminal import sit_down
from bullpen.cli.wire import ServiceGone, Wire, fresh_key, session_path, with_query

_FRAME = 0.03
"""Seconds between two drawings while much is coming in; more often nobody could read."""
_TWICE = 2.0
"""Seconds within which a second Ctrl-C leaves."""
_BACKLOG = 10_000
_AGAIN = 0.2
_HELP = """\
what you type is sent when you press Enter, after the turns before it
  /interrupt         end the running turn (or Ctrl-C)
  /allow [always]    allow what the agent asks for      /deny [REASON]    refuse it
  /choose OPTION     pick one of its options            /answer TEXT      answer its question
  /resume            bring the session back             /stop             end the agent
  /quit              leave; the agent goes on (or Ctrl-C twice, or Ctrl-D)
  //TEXT             send TEXT with one slash in front
  Ctrl-J             begin a new line"""


def add_attach(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `attach`."""
    add_session(parser)
    parser.add_argument(
        "-n",
        "--events",
        metavar="N",
        type=natural,
        default=300,
        help="how many past events to begin with (default 300)",
    )
    parser.add_argument(
        "--read-only", action="store_true", help="only look, at the screen of a terminal session"
    )


def attach(args: argparse.Namespace) -> int:
    """Show a session live, and send it what is typed, until the user leaves.

    Where stdin or stdout is no terminal, the stream is printed and each line of stdin is sent;
    at the end of stdin it goes on until the session settles, and the exit code tells how.
    """
    room = Room(Wire.here(), args.session, past=args.events)
    if room.record.get("interface") == "terminal" and sys.stdout.isatty():
        sit_down(room.record, read_only=args.read_only)
    if sys.stdin.isatty() and sys.stdout.isatty():
        screen = Screen(sys.stdout, os.environ)
        if screen.is_live:
            return Terminal(room, screen).run()
    return Pipe(room, Screen(sys.stdout, os.environ)).run()


class Room:
    """The session on the other side of the wire: what comes from it, what is sent to it."""

    def __init__(self, wire: Wire, session: str, *, past: int) -> None:
        """Look the session up.

        Raises:
            Refusal: there is none, or there is no service.
        """
        self.session = session
        self._wire = wire
        self.record: Fact = wire.get(session_path(session))
        self.telling = Telling(self.record)
        self.items: queue.Queue[Fact] = queue.Queue(_BACKLOG)
        """Lines of the event stream, and notes of ours as `{"note": text, "style": style}`."""
        self._orders: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._after = max(0, int(self.record.get("seq", 0)) - past)
        self._woken = os.pipe()
        os.set_blocking(self._woken[0], False)
        os.set_blocking(self._woken[1], False)

    @property
    def wake_fd(self) -> int:
        """Readable when there is something in `items`."""
        return self._woken[0]

    @property
    def ring_fd(self) -> int:
        """A byte written here wakes the main thread."""
        return self._woken[1]

    def begin(self) -> None:
        """Start reading and sending."""
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._send, daemon=True).start()

    def put(self, item: Fact) -> None:
        """Hand `item` to the main thread; waits while that is far behind."""
        self.items.put(item)
        try:
            os.write(self.ring_fd, b"x")
        except BlockingIOError:
            # The pipe is full of bells; one more would not be heard better.
            return

    def note(self, text: str, style: str = "dim") -> None:
        """Say something of ours between the events."""
        self.put({"note": text, "style": style})

    def _read(self) -> None:
        told = False
        while True:
            query: dict[str, Any] = {"after": self._after, "follow": 1, "deltas": 1}
            path = with_query(session_path(self.session, "/events"), query)
            try:
                for item in self._wire.lines(path):
                    told = False
                    self._after = item.get("seq", self._after)
                    self.put(item)
            except ServiceGone:
                self.put({"lost": True})
            except Refusal as refusal:
                if refusal.code == "session-not-found":
                    self.put({"end": True})
                    return
                if not told:
                    self.note(refusal.message, "red")
                told = True
            time.sleep(_AGAIN)

    def _send(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                order()
            except Refusal as refusal:
                hint = f" ({refusal.hint})" if refusal.hint else ""
                self.note(refusal.message + hint, "red")

    def post(self, verb: str, body: Fact, *, key: str = "") -> None:
        """Send one request later, in order; a refusal becomes a note."""
        path = session_path(self.session, verb)
        self._orders.put(lambda: self._wire.call("POST", path, body, key=key, timeout=None))

    def drained(self) -> str:
        """Wait until all was sent and the session settled; return its outcome."""
        done = threading.Event()
        self._orders.put(done.set)
        done.wait()
        body = {"sessions": [self.session], "until": "all", "timeout": 600}
        while True:
            found = self._wire.call("POST", "/v1/wait", body, repeat=True, timeout=None)
            if not found["timed_out"]:
                break
        self.record = self._wire.get(session_path(self.session))
        return str(self.record.get("outcome", ""))

    def take(self, text: str) -> bool:
        """Do what a typed line says; False when it says to leave."""
        word, _, rest = text.strip().partition(" ")
        if not word.startswith("/") or word.startswith("//"):
            self.say(text[1:] if word.startswith("//") else text)
            return True
        if word in ("/quit", "/exit", "/detach"):
            return False
        order = _ORDERS.get(word)
        if order is not None:
            order(self, rest.strip())
        elif word[1:] in self.telling.commands:
            self.say(text)
        else:
            self.note(f"no command {word}; /help lists them, //{word[1:]} sends it", "yellow")
        return True

    def say(self, text: str) -> None:
        """Queue a prompt."""
        self.post("/turns", {"text": text, "how": "queue"}, key=fresh_key())

    def interrupt(self, _: str = "") -> None:
        """End the running turn."""
        self.post("/interrupt", {})

    def _ask(self, kind: str) -> Fact | None:
        # `kind` empty: whatever is open.
        found = [one for one in self.telling.asks.values() if kind in ("", one.get("kind"))]
        if not found:
            self.note("the agent asks for nothing", "yellow")
            return None
        return found[0]

    def allow(self, rest: str) -> None:
        """Allow what was asked for first."""
        ask = self._ask("permission")
        if ask:
            body = {"request": ask["request"], "allow": True, "always": rest == "always"}
            self.post("/answers", body)

    def deny(self, rest: str) -> None:
        """Refuse what was asked for first, be it leave or an answer."""
        ask = self._ask("")
        if ask:
            is_permission = ask.get("kind") == "permission"
            said: Fact = {"allow": False} if is_permission else {"action": "decline"}
            self.post("/answers", {"request": ask["request"], **said, "reason": rest})

    def choose(self, rest: str) -> None:
        """Answer with one of the agent's options."""
        ask = self._ask("permission")
        if ask:
            self.post("/answers", {"request": ask["request"], "choice": rest})

    def answer(self, rest: str) -> None:
        """Fill a form: its one field with the text, several as `name=value name=value`."""
        ask = self._ask("question")
        if ask is None:
            return
        fields = fields_of(ask)
        content = {fields[0]: rest} if len(fields) == 1 else _pairs(rest)
        body: Fact = {"request": ask["request"], "action": "accept"}
        self.post("/answers", body | ({"content": content} if fields else {}))

    def help(self, _: str) -> None:
        """Say what can be typed."""
        self.note(_HELP, "")


_ORDERS: dict[str, Callable[[Room, str], None]] = {
    "/interrupt": Room.interrupt,
    "/allow": Room.allow,
    "/deny": Room.deny,
    "/choose": Room.choose,
    "/answer": Room.answer,
    "/resume": lambda room, _: room.post("/resume", {}),
    "/stop": lambda room, _: room.post("/stop", {}),
    "/help": Room.help,
}


def _pairs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    last = ""
    for word in text.split(" "):
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            last = name
            found[name] = value
        elif last:
            found[last] += " " + word
    return found


class Terminal:
    """The view on a terminal: history scrolls above, status and composer stay at the bottom."""

    def __init__(self, room: Room, screen: Screen) -> None:
        self._room = room
        self._screen = screen
        self._composer = Composer()
        self._above: list[Line] = []
        self._pressed = float("-inf")
        self._away = False
        self._ends = False

    def run(self) -> int:
        """Show and send until the user leaves. The terminal is left as it was found."""
        with _raw(sys.stdin.fileno()), _bells(self._room.ring_fd):
            self._room.begin()
            self._room.note(f"attached to {self._room.session}; /help says what can be typed")
            try:
                while not self._ends:
                    self._step()
            finally:
                self._above += self._room.telling.flush()
                self._draw()
                self._screen.settle()
        state = self._room.telling.state
        print(
            f"left {self._room.session}, which is {state}; come back with "
            f"`bullpen attach {self._room.session}`"
        )
        return DONE

    def _step(self) -> None:
        self._draw()
        stdin = sys.stdin.fileno()
        ready, _, _ = select.select([stdin, self._room.wake_fd], [], [], 1.0)
        if stdin in ready:
            raw = os.read(stdin, 65536)
            for name, text in self._composer.feed(raw):
                self._obey(name, text)
            self._ends = self._ends or not raw
        if self._room.wake_fd in ready:
            os.read(self._room.wake_fd, 65536)
            self._listen()

    def _listen(self) -> None:
        until = time.monotonic() + _FRAME
        width = self._screen.size()[0] - 1
        while time.monotonic() < until:
            try:
                item = self._room.items.get_nowait()
            except queue.Empty:
                return
            self._hear(item, width)
        os.write(self._room.ring_fd, b"x")

    def _hear(self, item: Fact, width: int) -> None:
        if "note" not in item:
            self._away = "lost" in item
        self._ends = self._ends or "end" in item
        self._above += heard(self._room.telling, item, width)

    def _obey(self, name: str, text: str) -> None:
        if name == SEND:
            self._ends = not self._room.take(text) or self._ends
        elif name == LEAVE:
            self._ends = True
        elif name == INTERRUPT:
            self._control_c()
        else:
            self._screen.forget()

    def _control_c(self) -> None:
        moment = time.monotonic()
        if moment - self._pressed < _TWICE:
            self._ends = True
            return
        self._pressed = moment
        if self._room.telling.turn is None:
            self._room.note("press Ctrl-C again to leave; the agent goes on")
        else:
            self._room.interrupt()
            self._room.note("interrupting the turn; press Ctrl-C again to leave", "yellow")

    def _draw(self) -> None:
        columns, _ = self._screen.size()
        above, self._above = self._above, []
        text, cursor = self._composer.line(columns - 3)
        tail = self._room.telling.tail()
        region = [tail] if tail else []
        region += [(self._status(columns), "blue"), (f"> {text}", "")]
        self._screen.draw(region, above=above, cursor=(len(region) - 1, cursor + 2))

    def _status(self, columns: int) -> str:
        telling = self._room.telling
        state = "the service is away" if self._away else telling.state
        if not self._away and telling.since:
            state += f" {clock(time.time() - telling.since)}"
        parts = [self._room.session, str(self._room.record.get("agent", "")), state]
        if telling.used and telling.size:
            parts.append(f"{telling.used // 1000}k of {telling.size // 1000}k tokens")
        if telling.asks:
            parts.append(f"{len(telling.asks)} to answer")
        line = tame("── " + " · ".join(parts) + " ")
        return line + "─" * max(0, columns - 1 - len(line))


class Pipe:
    """The view where there is no terminal: lines out, lines in."""

    def __init__(self, room: Room, screen: Screen) -> None:
        self._room = room
        self._screen = screen

    def run(self) -> int:
        """Print and send until stdin ended and the session settled, or it is removed."""
        self._room.begin()
        threading.Thread(target=self._read_stdin, daemon=True).start()
        outcome, last = "", None
        while last is None or self._room.telling.seq < last:
            item = self._room.items.get()
            if "end" in item:
                break
            if "last" in item:
                outcome, last = item["outcome"], item["last"]
            for text, style in heard(self._room.telling, item, 1_000_000):
                self._screen.say(text, style)
        for text, style in self._room.telling.flush():
            self._screen.say(text, style)
        return of_outcome(outcome) if outcome else DONE

    def _read_stdin(self) -> None:
        for raw in sys.stdin.buffer:
            text = raw.decode("utf-8", "replace").rstrip("\r\n")
            if text.strip() and not self._room.take(text):
                self._room.put({"outcome": "", "last": 0})
                return
        outcome = self._room.drained()
        self._room.put({"outcome": outcome, "last": self._room.record.get("seq", 0)})


def heard(telling: Telling, item: Fact, width: int) -> list[Line]:
    """Return the lines that `item`, an event, a delta or a note, makes."""
    if "note" in item:
        lines = telling.flush()
        text = tame(item["note"], lines=True)
        return lines + [(line, item["style"]) for line in text.split("\n")]
    if "fact" in item or "delta" in item:
        return telling.hear(item, width)
    return []


@contextmanager
def _raw(fd: int) -> Generator[None]:
    """Have keys one by one, without echo and signals, and pasted text marked as such."""
    before = termios.tcgetattr(fd)
    mode = termios.tcgetattr(fd)
    mode[0] &= ~(termios.ICRNL | termios.IXON)
    mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, mode)
        sys.stdout.write("\x1b[?2004h")
        sys.stdout.flush()
        yield
    finally:
        sys.stdout.write("\x1b[?2004l\x1b[?25h")
        sys.stdout.flush()
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextmanager
def _bells(ring_fd: int) -> Generator[None]:
    """Wake the main loop at a resize, and come to an orderly end when asked to die."""

    def woken(number: int, frame: object) -> None:
        """Do nothing: the byte in the pipe is all that matters."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = {
        signal.SIGWINCH: signal.signal(signal.SIGWINCH, woken),
        signal.SIGTERM: signal.signal(signal.SIGTERM, leave),
        signal.SIGHUP: signal.signal(signal.SIGHUP, leave),
    }
    fd = signal.set_wakeup_fd(ring_fd, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
