"""The line people type into at the bottom of `bullpen attach`: keys in, wishes out. No I/O."""

from __future__ import annotations

import codecs
import re

from bullpen.cli.show import columns_of, harmless

SEND = "send"
INTERRUPT = "interrupt"
LEAVE = "leave"
REDRAW = "redraw"
Wish = tuple[str, str]

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O])", re.DOTALL)
_PASTE_BEGIN, _PASTE_END = "\x1b[200~", "\x1b[201~"
_MOST_REMEMBERED = 200


class Composer:
    """Text being written, with a cursor, a history and the usual keys of a shell."""

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._pasted: list[str] | None = None
        self._history: list[str] = []
        self._place = 0
        self._keys = {
            "\r": self._enter,
            "\n": lambda: self._insert("\n"),
            "\x03": self._control_c,
            "\x04": self._control_d,
            "\x0c": lambda: (REDRAW, ""),
            "\x7f": lambda: self._cut(self.cursor - 1, self.cursor),
            "\x08": lambda: self._cut(self.cursor - 1, self.cursor),
            "\x01": lambda: self._go(0),
            "\x05": lambda: self._go(len(self.text)),
            "\x15": lambda: self._cut(0, self.cursor),
            "\x0b": lambda: self._cut(self.cursor, len(self.text)),
            "\x17": lambda: self._cut(self._word_left(), self.cursor),
            "\x10": lambda: self._remember(-1),
            "\x0e": lambda: self._remember(1),
            "\x1b\r": lambda: self._insert("\n"),
            "\x1b[D": lambda: self._go(self.cursor - 1),
            "\x1b[C": lambda: self._go(self.cursor + 1),
            "\x1b[A": lambda: self._remember(-1),
            "\x1b[B": lambda: self._remember(1),
            "\x1b[H": lambda: self._go(0),
            "\x1b[F": lambda: self._go(len(self.text)),
            "\x1b[1~": lambda: self._go(0),
            "\x1b[4~": lambda: self._go(len(self.text)),
            "\x1b[3~": lambda: self._cut(self.cursor, self.cursor + 1),
            "\x1bb": lambda: self._go(self._word_left()),
            "\x1bf": lambda: self._go(self._word_right()),
            "\x1b[1;5D": lambda: self._go(self._word_left()),
            "\x1b[1;5C": lambda: self._go(self._word_right()),
        }
        for letter in "ABCDHF":
            self._keys[f"\x1bO{letter}"] = self._keys[f"\x1b[{letter}"]

    def feed(self, raw: bytes) -> list[Wish]:
        """Take what the terminal sent, in pieces of any size, and return what it asks for.

        Enter sends; Ctrl-J, Alt-Enter and line breaks in pasted text begin a new line instead.
        """
        self._pending += self._decoder.decode(raw)
        wishes: list[Wish] = []
        while self._pending:
            key = self._next_key()
            if key is None:
                break
            wish = self._press(key)
            if wish is not None:
                wishes.append(wish)
        return wishes

    def line(self, width: int) -> tuple[str, int]:
        """Return what to show in `width` columns, and in which of them the cursor is."""
        shown = harmless(self.text.replace("\n", "⏎").replace("\t", " "))
        begin = 0
        while columns_of(shown[begin : self.cursor]) > width - 2:
            begin += 1
        head = shown[begin : self.cursor]
        return shown[begin:], columns_of(head)

    def _next_key(self) -> str | None:
        """Take one key off what is pending; None when its end has not come yet."""
        if not self._pending.startswith("\x1b"):
            key, self._pending = self._pending[0], self._pending[1:]
            return key
        found = _SEQUENCE.match(self._pending)
        if found is None:
            if len(self._pending) > 32:
                self._pending = self._pending[1:]
            return None
        self._pending = self._pending[found.end() :]
        return found.group()

    def _press(self, key: str) -> Wish | None:
        if key == _PASTE_BEGIN:
            self._pasted = []
        elif key == _PASTE_END:
            pasted, self._pasted = self._pasted or [], None
            self._insert("".join(pasted).replace("\r\n", "\n").replace("\r", "\n"))
        elif self._pasted is not None:
            self._pasted.append(key)
        elif key in self._keys:
            return self._keys[key]()
        elif key.isprintable() or key == "\t":
            self._insert(key)
        return None

    def _insert(self, text: str) -> None:
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)

    def _cut(self, begin: int, end: int) -> None:
        begin = max(0, begin)
        self.text = self.text[:begin] + self.text[end:]
        self.cursor = begin

    def _go(self, place: int) -> None:
        self.cursor = min(len(self.text), max(0, place))

    def _word_left(self) -> int:
        head = self.text[: self.cursor].rstrip()
        return max(head.rfind(" "), head.rfind("\n")) + 1

    def _word_right(self) -> int:
        found = re.compile(r"\s*\S+").match(self.text, self.cursor)
        return found.end() if found else len(self.text)

    def _remember(self, step: int) -> None:
        place = self._place + step
        if 0 <= place <= len(self._history):
            self._place = place
            self.text = self._history[place] if place < len(self._history) else ""
            self.cursor = len(self.text)

    def _enter(self) -> Wish | None:
        text = self.text
        self._clear()
        if not text.strip():
            return None
        self._history = [*self._history, text][-_MOST_REMEMBERED:]
        self._place = len(self._history)
        return SEND, text

    def _clear(self) -> None:
        self.text, self.cursor, self._place = "", 0, len(self._history)

    def _control_c(self) -> Wish | None:
        if self.text:
            self._clear()
            return None
        return INTERRUPT, ""

    def _control_d(self) -> Wish | None:
        if self.text:
            self._cut(self.cursor, self.cursor + 1)
            return None
        return LEAVE, ""
