"""The table of sessions."""

from __future__ import annotations

import argparse
import os
import sys
import time

from bullpen.cli.exits import DONE, usage
from bullpen.cli.options import absolute, add_json, pair, seconds
from bullpen.cli.show import age, clipped, say, say_json, table
from bullpen.cli.wire import Wire, with_query

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

TITLES = ("ID", "AGENT", "STATE", "SINCE", "TURNS", "BRANCH", "TITLE", "PATH")
STATES = (
    *("queued", "starting", "working", "asking", "waiting", "limited"),
    *("idle", "stopping", "stopped", "failed", "lost"),
)
NOTHING = "No active sessions"
_WATCH_PAUSE = 1.0
_CLEAR = "\033[H\033[2J"


def add_list_sessions(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen list`."""
    parser.add_argument("-a", "--all", action="store_true", help="stopped sessions too")
    parser.add_argument(
        "--state",
        metavar="STATE",
        choices=STATES,
        action="append",
        default=[],
        help="only in this state",
    )
    parser.add_argument("--agent", "--cli", metavar="AGENT", help="only with this agent")
    parser.add_argument("-p", "--path", metavar="DIR", help="only asked for in this directory")
    parser.add_argument("--parent", metavar="ID", help="only those working for this session")
    parser.add_argument(
        "--label", metavar="NAME=VALUE", type=pair, action="append", default=[], help="only marked"
    )
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        type=seconds,
        nargs="?",
        const=_WATCH_PAUSE,
        help="show it again every so many seconds until Ctrl-C",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print ids alone")
    add_json(parser)


def list_sessions(args: argparse.Namespace) -> int:
    """Print the sessions that are not stopped, oldest first; `--all` for every one."""
    wire = Wire.here()
    path = with_query("/v1/sessions", _filters(args))
    if args.watch is None:
        _show(wire, path, args)
        return DONE
    if args.json or not sys.stdout.isatty():
        raise usage("--watch is for terminals", hint="`bullpen events ID --follow` is for programs")
    while True:
        say(_CLEAR, end="")
        _show(wire, path, args)
        sys.stdout.flush()
        time.sleep(max(args.watch, 0.1))


def _filters(args: argparse.Namespace) -> dict[str, str | int | list[str]]:
    query: dict[str, str | int | list[str]] = {}
    if args.all or "stopped" in args.state:
        query["all"] = 1
    if args.state:
        query["state"] = args.state
    if args.agent:
        query["agent"] = args.agent
    if args.path:
        query["directory"] = absolute(args.path)
    if args.parent:
        query["parent"] = args.parent
    if args.label:
        query["label"] = [f"{name}={value}" for name, value in args.label]
    return query


def _show(wire: Wire, path: str, args: argparse.Namespace) -> None:
    records = wire.call("GET", path)["sessions"]
    if args.json:
        say_json(records)
    elif args.quiet:
        for record in records:
            say(record["id"])
    elif records:
        say(clipped(table(TITLES, [_row(record) for record in records])))
    else:
        say(NOTHING)


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        record["id"],
        record["agent"],
        record["state"],
        age(record.get("since", 0.0)),
        str(record.get("turns", 0)),
        record.get("branch") or "",
        record.get("title") or "",
        from_home(record.get("path") or record["directory"]),
    )


def from_home(path: str) -> str:
    """Return `path` with the user's home folder written as `~`."""
    home = os.environ.get("HOME", "")
    if home and path.startswith(home.rstrip("/") + "/"):
        return "~" + path[len(home.rstrip("/")) :]
    return path
