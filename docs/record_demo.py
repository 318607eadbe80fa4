"""Record `make demo` in a terminal of its own and draw it as an animated picture, docs/demo.svg.

Needs the package `pyte` (a terminal in Python), which nothing else here uses:

    uv run --with pyte docs/record_demo.py
"""

import fcntl
import html
import os
import pty
import re
import select
import struct
import termios
import time
from pathlib import Path

import pyte

COLUMNS, ROWS = 100, 30
CELL, LINE = 8.4, 18
STEP = 0.4
ROOT = Path(__file__).parents[1]
COLOURS = {
    "default": "#d8dee9", "black": "#4c566a", "red": "#ef7c84", "green": "#a3d38b",
    "brown": "#ebcb8b", "yellow": "#ebcb8b", "blue": "#81a1c1", "magenta": "#c09bd8",
    "cyan": "#88c0d0", "white": "#eceff4", "brightblack": "#7b88a1",
}  # fmt: skip


def record() -> list[tuple[float, list[str]]]:
    """Run the demo and return its screens, as rows of SVG, with the second they stood."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
        os.execvp("make", ["make", "demo"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    frames: list[tuple[float, list[str]]] = []
    began = time.monotonic()
    while True:
        ready, _, _ = select.select([terminal], [], [], STEP)
        try:
            data = os.read(terminal, 65536) if ready else b""
        except OSError:
            break
        if ready and not data:
            break
        stream.feed(data)
        rows = [draw(screen.buffer[row]) for row in range(ROWS)]
        now = time.monotonic() - began
        if not frames or (rows != frames[-1][1] and now - frames[-1][0] >= STEP):
            frames.append((now, rows))
    os.waitpid(pid, 0)
    frames.append((time.monotonic() - began, [draw(screen.buffer[row]) for row in range(ROWS)]))
    return frames


def draw(row: "pyte.screens.StaticDefaultDict") -> str:
    """Return one row of the screen as SVG text spans, runs of one colour together."""
    spans: list[list[str]] = []
    for column in range(COLUMNS):
        cell = row[column]
        colour = COLOURS.get(cell.fg, COLOURS["default"])
        style = colour + (";font-weight:bold" if cell.bold else "")
        if spans and spans[-1][0] == style:
            spans[-1][1] += cell.data
        else:
            spans.append([style, cell.data])
    if spans and not spans[-1][1].strip():
        spans.pop()
    drawn = "".join(
        f'<tspan style="fill:{style}">{html.escape(text)}</tspan>' for style, text in spans
    )
    return re.sub(r"/tmp/bullpen-demo-\w+", "/tmp/bullpen-demo", drawn)


def picture(frames: list[tuple[float, list[str]]]) -> str:
    """Return the frames as one animated SVG that starts over after a rest."""
    total = frames[-1][0] + 4
    width, height = COLUMNS * CELL + 32, ROWS * LINE + 56
    shown: list[str] = []
    for number, (start, rows) in enumerate(frames):
        end = frames[number + 1][0] if number + 1 < len(frames) else total
        begin, until = 100 * start / total, 100 * end / total
        first = "" if number == 0 else f"0%{{opacity:0}}{max(0, begin - 0.01):.2f}%{{opacity:0}}"
        steps = (
            f"{first}{begin:.2f}%{{opacity:1}}{max(begin, until - 0.01):.2f}%{{opacity:1}}"
            f"{until:.2f}%{{opacity:0}}100%{{opacity:0}}"
        )
        style = f".f{number}{{animation:f{number} {total:.1f}s infinite;opacity:0}}"
        shown.append(f"<style>@keyframes f{number}{{{steps}}}{style}</style>")
        lines = "".join(
            f'<text x="16" y="{48 + LINE * row}" xml:space="preserve">{text}</text>'
            for row, text in enumerate(rows)
            if text
        )
        shown.append(f'<g class="f{number}">{lines}</g>')
    dots = "".join(
        f'<circle cx="{18 + 18 * n}" cy="16" r="5.5" fill="{fill}"/>'
        for n, fill in enumerate(("#ef7c84", "#ebcb8b", "#a3d38b"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        f'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace" '
        f'font-size="14"><title>make demo</title>'
        f'<rect width="100%" height="100%" rx="8" fill="#2b303b"/>{dots}{"".join(shown)}</svg>\n'
    )


if __name__ == "__main__":
    (ROOT / "docs" / "demo.svg").write_text(picture(record()), encoding="utf-8")
