"""A stand-in for the `claude` program: a terminal screen, no model, no network.

It is put on the PATH under that name for tools that drive a terminal. It draws what they look
for: a banner, a prompt box between two rules, a spinner while it works, a bullet with the answer.
With `--session-id` it keeps a transcript where Claude Code does, for tools that read that.
Prompts may hold TAG and WORK as for `acp_agent.py`; STREAM is how often a second it draws its
spinner while it works, 10 when it is left out; with FLOOD it prints lines for so many seconds,
somewhat under a megabyte in each.
The environment names the file for marks: BENCH_MARKS.
"""

import json
import os
import re
import sys
import termios
import time
import tty
from pathlib import Path

_RULE = "─" * 80
_PROMPT = "\u276f "
_PASTE, _PASTED = b"\x1b[200~", b"\x1b[201~"


class Screen:
    """What stands on the terminal."""

    def __init__(self) -> None:
        self.lines = ["Welcome to Claude Code v2.1.250 (stand-in)", ""]

    def paint(self, extra: str = "") -> None:
        """Draw everything again, `extra` above the prompt box."""
        body = "\r\n".join(self.lines[-20:])
        _out(f"\x1b[2J\x1b[H{body}\r\n{extra}{_RULE}\r\n{_PROMPT}\r\n{_RULE}\r\n")


class Transcript:
    """The file some tools read instead of the screen; None writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def add(self, kind: str, text: str) -> None:
        """Append one entry."""
        if self._path is None:
            return
        entry: dict[str, object] = {"type": kind}
        if kind == "system":
            entry["subtype"] = text
        else:
            entry["message"] = {"role": kind, "content": [{"type": "text", "text": text}]}
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


class StandIn:
    """Reads keys, performs prompts."""

    def __init__(self, marks: str, transcript: Transcript) -> None:
        self._marks = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._screen = Screen()
        self._transcript = transcript
        self._typed = b""
        self._in_paste = False

    def serve(self) -> None:
        """Perform every prompt until the terminal goes away or /exit is typed."""
        _out("\x1b[?2004h")
        self._screen.paint()
        self._mark("ready", os.environ.get("CAO_TERMINAL_ID", ""), time.monotonic())
        keys = b""
        while data := os.read(0, 65_536):
            keys = self._press(keys + data)

    def _press(self, keys: bytes) -> bytes:
        """Take all keys that are whole; return the beginning of one that is not."""
        while keys:
            if keys.startswith((_PASTE, _PASTED)):
                self._in_paste = keys.startswith(_PASTE)
                keys = keys[len(_PASTE) :]
            elif len(keys) < len(_PASTE) and _PASTE.startswith(keys[:4]) and len(keys) < 4:
                return keys
            else:
                self._key(keys[:1])
                keys = keys[1:]
        return b""

    def _key(self, key: bytes) -> None:
        if key not in (b"\r", b"\n") or self._in_paste:
            self._typed += key
            return
        text, self._typed = self._typed.decode(errors="replace").strip(), b""
        if text in ("/exit", "/quit"):
            raise SystemExit
        if text:
            self._perform(text)
        self._screen.paint()

    def _perform(self, text: str) -> None:
        words = dict(re.findall(r"([A-Z]+)=(\S+)", text))
        tag = words.get("TAG", "")
        self._mark("recv", tag, time.monotonic())
        self._transcript.add("user", text)
        self._screen.lines.append(f"> {text[:60]}")
        self._flood(float(words.get("FLOOD", 0)))
        self._work(float(words.get("WORK", 0)), float(words.get("STREAM", 10)))
        self._screen.lines += [f"● OK {tag} done", "✻ Worked for 1s", ""]
        self._transcript.add("assistant", f"OK {tag}")
        done = time.monotonic()
        self._transcript.add("system", "turn_duration")
        self._screen.paint()
        self._mark("done", tag, done)

    def _flood(self, seconds: float) -> None:
        lines = f"a line of a flood of output {'x' * 72}\r\n" * 40
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            _out(lines)
            time.sleep(0.005)

    def _work(self, seconds: float, rate: float) -> None:
        begun = time.monotonic()
        while True:
            gone = time.monotonic() - begun
            self._screen.paint(f"✻ Thinking… ({gone:.0f}s · esc to interrupt)\r\n\r\n")
            if gone >= seconds:
                return
            time.sleep(min(1 / rate, seconds - gone))

    def _mark(self, what: str, tag: str, at: float) -> None:
        line = {"at": at, "what": what, "tag": tag, "pid": os.getpid()}
        os.write(self._marks, json.dumps(line).encode() + b"\n")


def _out(text: str) -> None:
    os.write(1, text.encode())


def _transcript_of(arguments: list[str]) -> Transcript:
    if "--session-id" not in arguments:
        return Transcript(None)
    name = arguments[arguments.index("--session-id") + 1]
    folder = re.sub(r"[^a-zA-Z0-9]", "-", os.path.realpath(Path.cwd()))
    return Transcript(Path.home() / ".claude" / "projects" / folder / f"{name}.jsonl")


def main(arguments: list[str]) -> None:
    """Be `claude` for a while."""
    if "--version" in arguments:
        print("2.1.250 (Claude Code)")
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        StandIn(os.environ["BENCH_MARKS"], _transcript_of(arguments)).serve()
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)


if __name__ == "__main__":
    main(sys.argv[1:])
