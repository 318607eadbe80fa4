"""Verbs about this host: its agents, its health, what old sessions hold on it."""

from __future__ import annotations

import argparse
import sys

from bullpen.cli.creating import MODES
from bullpen.cli.exits import DONE, ERROR
from bullpen.cli.options import add_json, duration
from bullpen.cli.show import clipped, one_line, say, say_json, size_of, table, talk
from bullpen.cli.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

_WEEK = 7 * 86400.0
_STATUS = {"found": "found", "not-found": "not found", "needs-login": "needs login"}


def add_agents(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen agents`."""
    parser.add_argument(
        "--versions", action="store_true", help="ask each agent found for its version"
    )
    parser.add_argument("--found", action="store_true", help="only those that are installed")
    add_json(parser)


def agents(args: argparse.Namespace) -> int:
    """List the agents of the catalog: found, not found, or in need of a login, and what to do."""
    answer = Wire.here().call(
        "GET", f"/v1/agents{'?versions=1' if args.versions else ''}", timeout=None
    )
    entries = answer["agents"]
    if args.found:
        entries = [entry for entry in entries if entry["status"] != "not-found"]
    if args.json:
        say_json({**answer, "agents": entries})
        return DONE
    say(clipped(table(("ID", "NAME", "STATUS", "VERSION", "MODES", "NEXT STEP"), _rows(entries))))
    for fault in answer.get("faults", ()):
        talk(f"error: {fault['message']}")
        if fault.get("hint"):
            talk(f"hint: {fault['hint']}")
    return DONE


def _rows(entries: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for entry in entries:
        status: str = entry["status"]
        hints = {"not-found": "install_hint", "needs-login": "login_hint"}
        hint = str(entry.get(hints.get(status, "")) or "")
        modes = " ".join(mode for mode in MODES if mode in (entry.get("modes") or ()))
        shown = _STATUS.get(status) or status
        rows.append((entry["id"], entry["name"], shown, entry.get("version") or "", modes, hint))
    return rows


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen doctor`."""
    parser.add_argument("--fix", action="store_true", help="mend what can be mended")
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="first read every session anew from its events, which are the truth",
    )
    add_json(parser)


def doctor(args: argparse.Namespace) -> int:
    """Look for what is wrong on this host. Exit 1 when an error is found (and not mended)."""
    wire = Wire.here()
    if args.rebuild:
        made = wire.call("POST", "/v1/doctor/rebuild", {}, timeout=None)
        talk(f"read {made['sessions']} sessions anew from their events")
    if args.fix:
        answer = wire.call("POST", "/v1/doctor/fix", {}, timeout=None)
    else:
        answer = wire.call("GET", "/v1/doctor", timeout=None)
    findings: list[dict[str, Any]] = answer["findings"]
    if args.json:
        say_json(answer)
    else:
        _say_findings(findings, fixed=args.fix)
    return ERROR if any(finding["level"] == "error" for finding in findings) else DONE


def _say_findings(findings: list[dict[str, Any]], *, fixed: bool) -> None:
    width = max((len(finding["check"]) for finding in findings), default=0)
    fixable = 0
    for finding in findings:
        level, check = finding["level"], finding["check"]
        say(f"{level:<7}  {check:<{width}}  {one_line(finding['message'])}".rstrip())
        if level != "ok" and finding.get("remedy"):
            say(f"{'':<7}  {'':<{width}}  → {one_line(finding['remedy'])}")
            fixable += bool(finding.get("fixable"))
    if fixable and not fixed:
        talk(f"hint: `bullpen doctor --fix` mends {fixable} of these")


def add_prune(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen prune`."""
    parser.add_argument(
        "--older-than",
        metavar="AGE",
        type=duration,
        default=_WEEK,
        help="only what was not used for this long, such as 30m, 72h or 7d (default 7d)",
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="show it and free nothing")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask on a terminal")
    add_json(parser)


def prune(args: argparse.Namespace) -> int:
    """Free what sessions that are over still hold, after showing it.

    On a terminal it asks first. Work that is neither committed nor merged is never freed; the
    list says what is kept and why.
    """
    wire = Wire.here()
    if args.json:
        say_json(_pruned(wire, args.older_than, dry_run=args.dry_run))
        return DONE
    plan = _pruned(wire, args.older_than, dry_run=True)
    going = [item for item in plan["items"] if not item.get("kept")]
    _say_items(plan["items"])
    if args.dry_run or not going:
        say(f"{'Would free' if going else 'Nothing to free:'} {size_of(plan['freed_bytes'])}")
        return DONE
    if not args.yes and sys.stdin.isatty() and not _agreed(len(going)):
        say("Nothing was freed")
        return DONE
    say(f"Freed {size_of(_pruned(wire, args.older_than, dry_run=False)['freed_bytes'])}")
    return DONE


def _pruned(wire: Wire, older_than: float, *, dry_run: bool) -> dict[str, Any]:
    body = {"older_than": older_than, "dry_run": dry_run}
    # What is gone is not freed again.
    answer: dict[str, Any] = wire.call("POST", "/v1/prune", body, repeat=True, timeout=None)
    return answer


def _say_items(items: list[dict[str, Any]]) -> None:
    rows: list[tuple[str, ...]] = []
    for item in items:
        kept = item.get("kept")
        fate = f"kept: {kept}" if kept else item.get("why", "")
        size = size_of(item.get("bytes") or 0)
        place = item.get("path") or ""
        rows.append((item["kind"], item.get("session") or "", size, place, fate))
    if rows:
        say(table(("KIND", "SESSION", "SIZE", "PATH", "WHY"), rows))


def _agreed(number: int) -> bool:
    sys.stdout.flush()
    try:
        return input(f"Free these {number}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
