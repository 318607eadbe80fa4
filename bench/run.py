"""Measure Bullpen side by side with its peers: `python bench/run.py [--quick] [--only NAME]`.

Each slice of the work is done by one contender after the other before the next slice begins, so
that all of them meet the same machine. What is measured and how stands in docs/performance.md.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from arena import machine
from arena.acpx import Acpx
from arena.cao import Cao
from arena.contender import SLICES, Contender
from arena.dev_sessions import DevSessions
from arena.figures import Figure, Skipped, Trouble
from arena.host import Effort
from arena.ours_slices import Ours, verb_target
from arena.table import Table

CACHE = Path(__file__).parents[1] / ".bench"


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and return 1 when one of our own targets was missed."""
    options = _options(arguments)
    # Whoever ends us gets the same tidying up as whoever presses Ctrl-C.
    signal.signal(signal.SIGTERM, _leave)
    begun = time.monotonic()
    contenders, notes = _contenders(options.only)
    table = Table([one.name for one in contenders])
    table.notes += notes
    effort = Effort(is_quick=options.quick)
    for name in options.slice or SLICES:
        print(f"{name} (load {machine.load()})", flush=True)
        for contender in contenders:
            _measure(contender, name, table, effort)
    table.notes.append(f"load at the end: {machine.load()}")
    table.notes.append(f"measured in {(time.monotonic() - begun) / 60:.0f} min")
    print(f"\n{table.plain()}\n" + "\n".join(f"- {note}" for note in table.notes), flush=True)
    if options.markdown:
        options.markdown.write_text(
            table.markdown() + "\n" + "".join(f"- {note}\n" for note in table.notes)
        )
    missed = table.missed()
    for title in missed:
        print(f"target missed: {title}", file=sys.stderr)
    return 1 if missed else 0


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sixth of the samples")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="measure only this contender: bullpen, cao, acpx, dev-sessions; may be repeated",
    )
    parser.add_argument(
        "--slice",
        action="append",
        choices=SLICES,
        help="measure only this part; may be repeated",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    return parser.parse_args(arguments)


def _contenders(only: Sequence[str] | None) -> tuple[list[Contender], list[str]]:
    known: list[Contender] = [Ours(), Cao(CACHE), Acpx(CACHE), DevSessions()]
    wanted = {name.lower() for name in only or [one.name for one in known]}
    unknown = wanted - {one.name.lower() for one in known}
    if unknown:
        raise SystemExit(f"no contender is called {', '.join(sorted(unknown))}")
    ready: list[Contender] = []
    notes = [f"machine: {machine.described()}", f"load at the start: {machine.load()}"]
    print("\n".join(notes), flush=True)
    for contender in known:
        if contender.name.lower() not in wanted:
            continue
        try:
            notes.append(f"{contender.name}: {contender.prepare()}")
            ready.append(contender)
        except Skipped as reason:
            notes.append(f"{contender.name}: skipped, {reason}")
        print(notes[-1], flush=True)
    return ready, notes


def _measure(contender: Contender, name: str, table: Table, effort: Effort) -> None:
    measure = contender.slices.get(name)
    if measure is None:
        return
    try:
        figures = measure(effort)
    except (Trouble, OSError) as trouble:
        table.fail(contender.name, name, str(trouble))
        return
    table.put(contender.name, figures)
    python = figures.get("floor-verb", Figure("")).number
    if python is not None:
        target, told = verb_target(python)
        table.aim("verb", target)
        table.notes.append(f"target of the shell verb: {told}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
