"""The table: what is measured, against which target, and who came out how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from arena.figures import Figure

OURS = "Bullpen"
"""The column the targets are for."""


@dataclass(frozen=True)
class Row:
    """One thing that is measured."""

    name: str
    part: str
    """The slice that measures it."""
    title: str
    target: float | None = None
    """Ours must not exceed it, or with `is_floor` not stay below it."""
    shown: str = ""
    is_floor: bool = False

    def holds(self, figure: Figure) -> bool | None:
        """Return whether `figure` meets the target, None when there is nothing to meet."""
        if self.target is None or figure.number is None:
            return None
        return figure.number >= self.target if self.is_floor else figure.number <= self.target


ROWS = (
    Row("cold-new", "cold", "service start to first answer, empty folder"),
    Row("cold", "cold", "service start to first answer, folder in use"),
    Row("floor-verb", "verb", "`python -c pass`, for comparison"),
    Row("verb", "verb", "shell verb `status` of one session", None, "1.2 x python + 60 ms"),
    Row("floor-create", "create", "the demo agent alone: start to open conversation"),
    Row("create", "create", "create → ready, through HTTP", 0.150, "< 150 ms"),
    Row("create-shell", "create", "create → ready, through the shell"),
    Row("send", "turns", "send → agent has it, through HTTP", 0.005, "< 5 ms"),
    Row("send-shell", "shell", "send → agent has it, through the shell"),
    Row("told-50", "turns", "agent done → waiter told, idle, p50", 0.010, "< 10 ms"),
    Row("told-99", "turns", "agent done → waiter told, idle, p99", 0.050, "< 50 ms"),
    Row("told-shell", "shell", "agent done → waiting shell command ends, idle"),
    Row("busy-send", "busy", "send → agent has it, 20 sessions streaming"),
    Row("busy-50", "busy", "agent done → waiter told, 20 streaming, p50", 0.010, "< 10 ms"),
    Row("busy-99", "busy", "agent done → waiter told, 20 streaming, p99", 0.050, "< 50 ms"),
    Row("busy-shell", "busy", "agent done → waiting shell command ends, 20 streaming"),
    Row("busy-cpu", "busy", "CPU of the tool while 20 sessions stream"),
    Row("noisy-send", "noisy", "send → agent has it, beside one agent that floods"),
    Row("noisy-50", "noisy", "agent done → waiter told, beside a flood, p50"),
    Row("noisy-99", "noisy", "agent done → waiter told, beside a flood, p99", 0.050, "< 50 ms"),
    Row("floor-16", "storm", "16 demo agents started at once by nobody"),
    Row("storm-16", "storm", "16 sessions created at once, all ready"),
    Row("floor-64", "storm", "64 demo agents started at once by nobody"),
    Row("storm-64", "storm", "64 sessions created at once, all ready"),
    Row("memory", "live", "memory of the tool's own per live session", 3.0, "≤ 3 MB"),
    Row("idle", "live", "CPU of the tool with idle sessions", 5.0, "200 sessions: < 5 % of a core"),
    Row("ingest", "ingest", "text updates stored durably", 50_000, "≥ 50,000/s", is_floor=True),
    Row(
        "ingest-tool",
        "ingest",
        "tool-call updates, an event each",
        50_000,
        "≥ 50,000/s",
        is_floor=True,
    ),
)


class Table:
    """Cells by row and column."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self.notes: list[str] = []
        self._cells: dict[tuple[str, str], Figure] = {}
        self._targets: dict[str, float] = {}

    def put(self, column: str, figures: Mapping[str, Figure]) -> None:
        """Fill cells of one contender and print them as they come."""
        for name, figure in figures.items():
            row = next(one for one in ROWS if one.name == name)
            self._cells[name, column] = figure
            print(f"  {column:14} {row.title:52} {figure.text}", flush=True)

    def fail(self, column: str, part: str, why: str) -> None:
        """Show that a contender could not do a slice."""
        self.notes.append(f"{column}, {part}: {why}")
        print(f"  {self.notes[-1]}", flush=True)
        for row in ROWS:
            if row.part == part and not row.name.startswith("floor"):
                self._cells[row.name, column] = Figure("failed")

    def aim(self, name: str, target: float) -> None:
        """Set a target that depends on what was measured in this run."""
        self._targets[name] = target

    def missed(self) -> list[str]:
        """Return the titles of the rows in which our column misses its target."""
        return [row.title for row in self._rows() if self._verdict(row) is False]

    def markdown(self) -> str:
        """Return the table as Markdown, rows without any cell left out."""
        head = ["", "target", *self.columns]
        lines = [_joined(head), _joined(["---"] * len(head))]
        lines += [_joined(cells) for cells in self._lines()]
        return "\n".join(lines) + "\n"

    def plain(self) -> str:
        """Return the table for a terminal."""
        head = ["", "target", *self.columns]
        lines = [head, *self._lines()]
        widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
        told = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        told.insert(1, "─" * max(map(len, told)))
        return "\n".join(told) + "\n"

    def _rows(self) -> list[Row]:
        measured = {name for name, _ in self._cells}
        return [
            replace(row, target=self._targets.get(row.name, row.target))
            for row in ROWS
            if row.name in measured
        ]

    def _verdict(self, row: Row) -> bool | None:
        figure = self._cells.get((row.name, OURS))
        return None if figure is None else row.holds(figure)

    def _lines(self) -> list[list[str]]:
        lines: list[list[str]] = []
        for row in self._rows():
            cells = [self._cells.get((row.name, column)) for column in self.columns]
            texts = [cell.text if cell else "-" for cell in cells]
            verdict = self._verdict(row)
            if verdict is not None:
                texts[self.columns.index(OURS)] += " ✓" if verdict else " ✗"
            lines.append([row.title, row.shown, *texts])
        return lines


def _joined(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
