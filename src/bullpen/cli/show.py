"""How the command line looks: UTF-8 on stdout whatever the locale, plain tables, JSON documents.

What agents write is shown to people with its control characters made visible, so that no agent
drives a terminal; a pipe or file gets it byte for byte.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from unicodedata import combining, east_asian_width

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

_C0 = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_TURNING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]
_VISIBLE: dict[int, str] = {
    **_C0,
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    # Letters that turn the direction of writing make a line read as another one.
    **dict.fromkeys(_TURNING, "\ufffd"),
}


def harmless(text: str) -> str:
    """Return `text` with every control character but newline and tab made visible."""
    return text.translate(_VISIBLE)


def one_line(text: str) -> str:
    """Return `text` for a table cell: harmless, and without line breaks."""
    return harmless(" ".join(text.split()))


def say(text: str, *, end: str = "\n") -> None:
    """Print `text` and `end` on stdout as UTF-8. Lone surrogates become question marks."""
    stream = sys.stdout.buffer
    stream.write(f"{text}{end}".encode("utf-8", "replace"))


def say_agent_text(text: str) -> None:
    """Print what an agent wrote: harmless on a terminal, byte for byte elsewhere."""
    say(harmless(text) if sys.stdout.isatty() else text)


def talk(text: str) -> None:
    """Print one remark on stderr."""
    print(harmless(text), file=sys.stderr, flush=True)


def say_json(document: Any) -> None:
    """Print `document` as JSON for people and programs alike: two spaces, UTF-8."""
    say(json.dumps(document, indent=2, ensure_ascii=False))


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, rule: bool = False) -> str:
    """Return lines of columns two spaces apart, the last column ragged.

    Args:
        rule: Underline the titles with dashes.
    """
    cells = [list(titles), *[[one_line(cell) or "-" for cell in row] for row in rows]]
    widths = [max(columns_of(row[index]) for row in cells) for index in range(len(titles))]
    if rule:
        cells.insert(1, ["-" * width for width in widths])
    return "\n".join(_padded(row, widths) for row in cells)


def clipped(text: str) -> str:
    """Return `text` with each line cut at the terminal's edge; as it is when there is none."""
    try:
        width = os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return text
    return "\n".join(_cut(line, width) for line in text.split("\n"))


def columns_of(text: str) -> int:
    """Return how many terminal columns `text` takes; East Asian letters take two."""
    if text.isascii():
        return len(text)
    return sum(_width(letter) for letter in text)


def age(since: float, *, now: float | None = None) -> str:
    """Return how long ago `since` (epoch seconds) was: `5s`, `12m`, `3h`, `4d`; `-` for never."""
    if not since:
        return "-"
    passed = max(0, int((time.time() if now is None else now) - since))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if passed >= size:
            return f"{passed // size}{unit}"
    return f"{passed}s"


def size_of(length_bytes: float) -> str:
    """Return a number of bytes for people: `512 B`, `3.4 MB`."""
    value = float(length_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell + " " * (width - columns_of(cell)) for cell, width in zip(row, widths, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _cut(line: str, width: int) -> str:
    used = 0
    for index, letter in enumerate(line):
        used += _width(letter)
        if used > width:
            return line[:index]
    return line


def _width(letter: str) -> int:
    if combining(letter):
        return 0
    return 2 if east_asian_width(letter) in "WF" else 1
