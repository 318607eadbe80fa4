"""What agents wait for, over all sessions, and the answers to it."""

from __future__ import annotations

import argparse
import json
import time

from bullpen.cli.exits import DONE, Refusal
from bullpen.cli.options import add_json
from bullpen.cli.show import harmless, one_line, say, say_json, table
from bullpen.cli.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

_LONG_POLL = 30.0


def add_approvals(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen approvals`."""
    parser.epilog = "`bullpen approve ID`, `bullpen deny ID` and `bullpen answer ID` answer them"
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on, and print new ones as they come"
    )
    add_json(parser)


def approvals(args: argparse.Namespace) -> int:
    """List every permission and question that is open, in all sessions, oldest first.

    With `--follow --json`, one line of JSON each, as they come.
    """
    wire = Wire.here()
    found = wire.get("/v1/approvals")["approvals"]
    if args.follow:
        return _follow(wire, found, as_json=args.json)
    if args.json:
        say_json(found)
    elif not found:
        say("Nothing is asked")
    else:
        rows = [(one["id"], one["session"], _age(one), _about(one)) for one in found]
        say(table(("ID", "SESSION", "SINCE", "WHAT"), rows))
    return DONE


def _follow(wire: Wire, found: list[dict[str, Any]], *, as_json: bool) -> int:
    seen: set[str] = set()
    while True:
        for one in found:
            if one["id"] not in seen:
                _tell(one, as_json=as_json)
        seen = {one["id"] for one in found}
        known = ",".join(one["id"] for one in found)
        path = f"/v1/approvals?known={known}&wait={_LONG_POLL:g}"
        found = wire.call("GET", path, timeout=_LONG_POLL + 30)["approvals"]


def _tell(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(one, ensure_ascii=False))
    else:
        say(f"{one['id']}  {one['session']}  {_about(one)}")


def _about(one: dict[str, Any]) -> str:
    kind = one.get("tool_kind") or one["kind"]
    why = f"  ({one_line(one['why'])})" if one.get("why") else ""
    return f"{kind}: {one_line(one.get('title', ''))}{why}"


def _age(one: dict[str, Any]) -> str:
    seconds = max(0, int(time.time() - one["asked_at"]))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def add_approve(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen approve`."""
    _add_answer(parser, "and allow just this for the rest of the session, by a rule")


def add_deny(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen deny`."""
    _add_answer(parser, "and deny just this for the rest of the session, by a rule")


def _add_answer(parser: argparse.ArgumentParser, always: str) -> None:
    parser.add_argument(
        "approvals", metavar="ID", nargs="+", help="from `bullpen approvals`, or of a session"
    )
    parser.add_argument("--always", action="store_true", help=always)
    parser.add_argument(
        "--reason", metavar="TEXT", default="", help="why, for the record and the agent"
    )
    add_json(parser)


def approve(args: argparse.Namespace) -> int:
    """Allow what an agent asks, just this once unless `--always`."""
    return _answer(args, allow=True)


def deny(args: argparse.Namespace) -> int:
    """Refuse what an agent asks; the agent is told the reason where it listens to one."""
    return _answer(args, allow=False)


def _answer(args: argparse.Namespace, *, allow: bool) -> int:
    wire = Wire.here()
    records: list[Any] = []
    for name in args.approvals:
        body = {"allow": allow, "always": args.always, "reason": args.reason}
        approval = resolved(wire, name)
        records.append(wire.post(f"/v1/approvals/{approval}", body))
        if not args.json:
            say(f"{'Allowed' if allow else 'Denied'} {harmless(approval)}")
    if args.json:
        say_json(records[0] if len(records) == 1 else records)
    return DONE


def resolved(wire: Wire, name: str) -> str:
    """Return the approval that `name` means: its own id, or that of a session with one open.

    Raises:
        Refusal: nothing is open under that name, or more than one.
    """
    found = wire.get("/v1/approvals")["approvals"]
    if any(one["id"] == name for one in found):
        return name
    of_session = [one["id"] for one in found if one["session"] == name]
    if len(of_session) == 1:
        return of_session[0]
    if of_session:
        which = ", ".join(of_session)
        raise Refusal(
            "ask-ambiguous",
            f"session {name!r} asks {len(of_session)} things",
            hint=f"name one: {which}",
        )
    raise Refusal(
        "ask-not-found",
        f"nothing is asked under {name!r}",
        hint="`bullpen approvals` lists what is open; it may be answered already",
    )
