"""Ending sessions: in good order, at once, and for ever."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from bullpen.cli.exits import DONE, Refusal, usage
from bullpen.cli.many import each
from bullpen.cli.options import add_json, add_sessions, duration, seconds
from bullpen.cli.show import say, talk
from bullpen.cli.wire import Wire, session_path

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

NOTHING = "No matching sessions to {verb}"
_GRACE = 5.0
_OVER_ALREADY = "session-over"


def add_kill(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen kill`."""
    _add_selectors(parser)
    add_json(parser)


def kill(args: argparse.Namespace) -> int:
    """End agents at once. Place, branch and journal stay; `resume` brings a session back.

    A session that is over already counts as ended. A failure does not keep the others alive.
    """
    wire = Wire.here()

    def act(session: str) -> Any:
        return _ended(wire, session, "/kill", {})

    return _all_of(wire, args, act, verb="kill", done="Killed")


def add_stop(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen stop`."""
    _add_selectors(parser)
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        type=seconds,
        default=_GRACE,
        help=f"how long an agent may take before it is killed (default {_GRACE:g})",
    )
    add_json(parser)


def stop(args: argparse.Namespace) -> int:
    """End agents in good order, and return when they are gone. Otherwise as `kill`."""
    wire = Wire.here()

    def act(session: str) -> Any:
        return _ended(wire, session, "/stop", {"grace": args.grace})

    return _all_of(wire, args, act, verb="stop", done="Stopped")


def _add_selectors(parser: argparse.ArgumentParser) -> None:
    add_sessions(parser, optional=True)
    parser.add_argument("--all", action="store_true", help="every session that is not stopped")
    parser.add_argument(
        "--older-than",
        metavar="AGE",
        type=duration,
        help="those not used for this long, such as 30m, 72h or 7d",
    )


def _ended(wire: Wire, session: str, verb: str, body: dict[str, Any]) -> Any:
    # Ending what has ended changes nothing, so asking twice does no harm.
    try:
        return wire.call("POST", session_path(session, verb), body, repeat=True, timeout=None)
    except Refusal as refusal:
        if refusal.code != _OVER_ALREADY:
            raise
        return wire.get(session_path(session))


def _all_of(
    wire: Wire, args: argparse.Namespace, act: Callable[[str], Any], *, verb: str, done: str
) -> int:
    if (bool(args.sessions), args.all, args.older_than is not None).count(True) != 1:
        raise usage("give exactly one of ID…, --all or --older-than AGE")
    if args.sessions:
        counted = len(args.sessions) > 1
        return each(args.sessions, act, done=done, as_json=args.json, counted=counted)
    chosen = chosen_sessions(wire, older_than=args.older_than)
    if not chosen and not args.json:
        say(NOTHING.format(verb=verb))
        return DONE
    return each(chosen, act, done=done, as_json=args.json, counted=True)


def chosen_sessions(wire: Wire, *, older_than: float | None = None) -> list[str]:
    """Return the ids of the sessions that are not stopped, or of those not used for
    `older_than` seconds."""
    records = wire.get("/v1/sessions")["sessions"]
    if older_than is None:
        return [record["id"] for record in records]
    limit = time.time() - older_than
    return [record["id"] for record in records if record.get("used_at", 0.0) < limit]


def add_remove(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen remove`."""
    add_sessions(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="even with unsaved work, which is kept under refs/bullpen/rescue/ID",
    )
    add_json(parser)


def remove(args: argparse.Namespace) -> int:
    """Forget sessions that are over, with their worktrees. Refused for work that is neither
    committed nor merged; a directory that is no worktree of ours is never touched."""
    wire = Wire.here()

    def act(session: str) -> Any:
        path = session_path(session) + ("?force=1" if args.force else "")
        answer = wire.call("DELETE", path, timeout=None)
        if answer.get("rescue"):
            talk(f"{session}: unsaved work is kept as {answer['rescue']}")
        return answer

    return each(args.sessions, act, done="Removed", as_json=args.json)
