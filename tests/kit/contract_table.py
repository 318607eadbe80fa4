"""The contract table at the end of a run: agent by behaviour, and which agents could not be had.

The tests in `tests/contract` say in their reports which cell they are (see the fixture `cell`
there). With `BULLPEN_CONTRACT_PAGE` the table is written to that file as well.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from bullpen.testing.install import pins

CELL = "contract-cell"
"""Name of the report property: `[agent, behaviour, reason it cannot, or ""]`."""
MISSING = "MISSING AGENT "
"""How the reason of a skipped test begins when an agent cannot be had."""
_RANK = ("", "ok", "cannot", "skipped", "FAILED")


class Table:
    """What was seen: the worst of each cell counts."""

    def __init__(self) -> None:
        self.agents: list[str] = []
        self.cells: dict[str, dict[str, str]] = {}
        self.reasons: dict[str, set[str]] = {}

    def note(self, report: pytest.TestReport) -> None:
        """Take the report of one phase of one test."""
        for name, value in report.user_properties:
            if name == CELL and (report.when == "call" or not report.passed):
                agent, behaviour, reason = (str(part) for part in value)  # pyright: ignore
                self._put(agent, behaviour, _word(report, reason), reason)

    def _put(self, agent: str, behaviour: str, word: str, reason: str) -> None:
        if agent not in self.agents:
            self.agents.append(agent)
        if reason:
            self.reasons.setdefault(f"{agent}: {reason}", set()).add(behaviour)
        row = self.cells.setdefault(behaviour, {})
        row[agent] = max(row.get(agent, ""), word, key=_RANK.index)

    def lines(self) -> list[str]:
        """Return the table for a terminal."""
        wide = max(map(len, self.cells), default=0)
        columns = [max(len(agent), 7) for agent in self.agents]
        rows = [("", dict(zip(self.agents, self.agents, strict=True))), *self.cells.items()]
        made: list[str] = []
        for behaviour, row in rows:
            cells = zip(self.agents, columns, strict=True)
            words = [row.get(agent, "-").ljust(column) for agent, column in cells]
            made.append(f"{behaviour.ljust(wide)}  {'  '.join(words)}".rstrip())
        return made

    def page(self) -> str:
        """Return the table as a page of the reference."""
        known = pins()
        made = [
            "# The contract, as it was last seen\n",
            "Written by `make contract`: the real agents, each with a scripted model behind it, on",
            f"{os.uname().sysname} {os.uname().machine}. What an agent cannot do is asserted too:",
            "it is refused, or there is nothing of it.\n",
            f"| behaviour | {' | '.join(self.agents)} |",
            f"|---|{'---|' * len(self.agents)}",
        ]
        for behaviour, row in self.cells.items():
            words = [row.get(agent, "-") for agent in self.agents]
            made.append(f"| {behaviour} | {' | '.join(words)} |")
        made.append("\n## What cannot be, and why\n")
        for reason, behaviours in sorted(self.reasons.items()):
            made.append(f"* {reason} ({', '.join(sorted(behaviours))}).")
        made.append("\n## Versions\n")
        made += [
            f"* {agent}: `{', '.join(known[agent].packages)}`"
            for agent in self.agents
            if agent in known
        ]
        return "\n".join(made) + "\n"


def _word(report: pytest.TestReport, reason: str) -> str:
    if report.failed:
        return "FAILED"
    if report.skipped:
        return "skipped"
    return "cannot" if reason else "ok"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, and in red what could not be had."""
    reports = _reports(terminalreporter)
    table = Table()
    for report in reports:
        table.note(report)
    if table.cells:
        terminalreporter.section("contract: agent by behaviour")
        for line in table.lines():
            terminalreporter.line(line, red="FAILED" in line)
        page = os.environ.get("BULLPEN_CONTRACT_PAGE")
        if page:
            Path(page).write_text(table.page())
    missing = {why for report in reports if (why := _missing(report))}
    if missing:
        terminalreporter.section("AGENTS THAT COULD NOT BE HAD", red=True, bold=True)
        for why in sorted(missing):
            terminalreporter.line(f"not tested: {why}", red=True)


def _reports(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    kinds: Iterable[list[object]] = reporter.stats.values()
    found = [one for kind in kinds for one in kind if isinstance(one, pytest.TestReport)]
    # Workers finish in any order; the order of the file is the one to read.
    return sorted(found, key=lambda one: (one.location[1] or 0, one.nodeid))


def _missing(report: pytest.TestReport) -> str:
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return ""
    _, found, why = report.longrepr[2].partition(MISSING)
    return why if found else ""
