"""What may reach a terminal, how wide it is there, and a region that is drawn again in place.

Nothing an agent, a file name or an error says may drive the terminal of whoever looks at it: text
from outside goes through `tame` first. Only this module writes escape sequences of our own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from bullpen.cli.show import columns_of, harmless

_COLOURS = re.compile(r"\x1b\[[0-9:;]*m|\x1b\]8;[^\x07\x1b]*(?:\x07|\x1b\\)")
# Colours and links say nothing once they are taken off. Every other sequence is left to be seen.
_BREAKS = re.compile("[\r\n\u2028\u2029]+")

STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
    "alarm": "1;33",
}


def tame(text: str, *, lines: bool = False) -> str:
    """Return `text` with everything that could drive a terminal made visible or taken off.

    Colours go; every other control character and mark that reorders text becomes visible. Tabs
    become spaces. With `lines`, line feeds stay and `\\r\\n` counts as one; without, the result is
    one line. Taming twice changes nothing more.
    """
    text = _COLOURS.sub("", text).replace("\t", "    ")
    text = text.replace("\r\n", "\n") if lines else _BREAKS.sub(" ", text)
    return harmless(text)


def clip(text: str, width: int) -> str:
    """Return as much of `text` as fits in `width` columns, with `…` where some is missing."""
    if columns_of(text) <= width:
        return text
    return _head(text, width - 1) + "…" if width > 0 else ""


def _head(text: str, width: int) -> str:
    used = 0
    for index, letter in enumerate(text):
        used += columns_of(letter)
        if used > width:
            return text[:index]
    return text


def pad(text: str, width: int) -> str:
    """Return `text` clipped or filled with spaces to exactly `width` columns."""
    text = clip(text, width)
    return text + " " * (width - columns_of(text))


def wrap(text: str, width: int) -> list[str]:
    """Return `text` as lines of at most `width` columns, broken at spaces where there are any.

    Nothing is lost but the spaces at which a line was broken. An empty text gives no line.
    """
    width = max(2, width)
    found: list[str] = []
    for line in text.split("\n") if text else []:
        rest = line
        while columns_of(rest) > width:
            head = _head(rest, width)
            space = head.rfind(" ")
            if space > width // 3:
                head, rest = head[:space], rest[space + 1 :]
            else:
                rest = rest[len(head) :]
            found.append(head)
        found.append(rest)
    return found


class Screen:
    """A stream people look at, with the size and the abilities of its terminal."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        self.stream = stream
        self.is_live = stream.isatty() and environment.get("TERM", "dumb") != "dumb"
        """Whether text can be drawn again in place."""
        self._is_coloured = self.is_live and not environment.get("NO_COLOR")
        self._drawn: list[int] = []
        self._cursor_row = 0

    def size(self) -> tuple[int, int]:
        """Return columns and rows as they are at this moment; 80 and 24 when nobody knows."""
        try:
            found = os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return found.columns or 80, found.lines or 24

    def styled(self, text: str, style: str) -> str:
        """Return `text` in a style of `STYLES`, where there are colours and it is not empty."""
        if not (self._is_coloured and style and text):
            return text
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m"

    def draw(
        self,
        region: Sequence[tuple[str, str]],
        *,
        above: Iterable[tuple[str, str]] = (),
        cursor: tuple[int, int] | None = None,
    ) -> None:
        """Put `region` in the place of the region drawn before, and `above` for good before it.

        Args:
            region: Tamed lines and their styles; each is clipped to one row of the screen.
            above: Tamed lines, at most one row each.
            cursor: Row and column within the region; None hides it.
        """
        columns, rows = self.size()
        region = [(clip(text, columns - 1), style) for text, style in region][-max(1, rows - 1) :]
        # Each row is cleared behind its text, and what is left below at the end: clearing first
        # flickers, and at the top of the screen tmux would keep every frame in its history.
        parts = ["\x1b[?25l\r", self._back(columns)]
        parts += [self.styled(text, style) + "\x1b[K\n" for text, style in above]
        parts.append("\n".join(self.styled(text, style) + "\x1b[K" for text, style in region))
        # Back to the first column: what the terminal echoes of Ctrl-C would otherwise begin a row.
        parts.append("\x1b[J\r")
        self._drawn = [columns_of(text) for text, _ in region]
        self._cursor_row = len(region) - 1
        if cursor is not None and region:
            row, column = min(cursor[0], len(region) - 1), min(cursor[1], columns - 1)
            up = len(region) - 1 - row
            parts.append(
                "\r" + (f"\x1b[{up}A" if up else "") + (f"\x1b[{column}C" if column else "")
            )
            parts.append("\x1b[?25h")
            self._cursor_row = row
        self._write("".join(parts))

    def _back(self, columns: int) -> str:
        """Return the way from the cursor up to the first row of the region. A terminal that was
        made narrower has broken our rows into several."""
        before = self._drawn[: self._cursor_row]
        up = sum(max(1, -(-width // max(1, columns))) for width in before)
        return f"\x1b[{up}A" if up else ""

    def settle(self, *, keep: bool = False) -> None:
        """Take the region off, or leave it for good with `keep`, and show the cursor again."""
        if keep and self._drawn:
            below = len(self._drawn) - 1 - self._cursor_row
            self._write((f"\x1b[{below}B" if below else "") + "\n\x1b[?25h")
        else:
            columns, _ = self.size()
            self._write("\r" + self._back(columns) + "\x1b[J\x1b[?25h")
        self._drawn, self._cursor_row = [], 0

    def forget(self) -> None:
        """Clear the whole screen; the next `draw` begins at its top."""
        self._write("\x1b[2J\x1b[H")
        self._drawn, self._cursor_row = [], 0

    def say(self, text: str, style: str = "") -> None:
        """Print a tamed line, without a region."""
        self._write(self.styled(text, style) + "\n")

    def _write(self, text: str) -> None:
        encoding = self.stream.encoding or "utf-8"
        # A terminal of another encoding shows a question mark; it must not end the verb.
        self.stream.write(text.encode(encoding, "replace").decode(encoding))
        self.stream.flush()
