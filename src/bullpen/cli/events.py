"""Events as JSON lines."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator

from bullpen.cli.exits import DONE, UNREACHABLE, Refusal
from bullpen.cli.options import add_session, natural
from bullpen.cli.show import say
from bullpen.cli.wire import ServiceGone, Wire, session_path, with_query

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

_PAGE = 1000
_SILENCE = 60.0
"""A live service sends a sign of life every 15 s."""
_PAUSE = 0.1


def add_events(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen events`."""
    add_session(parser)
    parser.add_argument(
        "-F", "--follow", action="store_true", help="go on with what happens, until Ctrl-C"
    )
    parser.add_argument(
        "--after", metavar="N", type=natural, default=0, help="only events numbered above N"
    )
    parser.add_argument(
        "--deltas",
        action="store_true",
        help="with --follow: text as it streams, before it is stored as an event",
    )
    parser.add_argument("--json", action="store_true", help="what it does anyway; errors too")


def events(args: argparse.Namespace) -> int:
    """Print one event per line as JSON, in order, each exactly once, also over restarts of the
    service."""
    wire = Wire.here()
    source = followed(wire, args.session, args.after, deltas=args.deltas)
    if not args.follow:
        source = stored(wire, args.session, args.after)
    for event in source:
        say(json.dumps(event, ensure_ascii=False, separators=(",", ":")))
        if args.follow:
            sys.stdout.flush()
    return DONE


def stored(wire: Wire, session: str, after: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the events there are above `after`, page by page."""
    while True:
        query = with_query(_path(session), {"after": after, "limit": _PAGE})
        page = 0
        try:
            for event in wire.lines(query):
                after, page = event["seq"], page + 1
                yield event
        except ServiceGone:
            continue
        if page < _PAGE:
            return


def followed(
    wire: Wire, session: str, after: int = 0, *, deltas: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the events above `after` and then those that come, for ever.

    A service that goes away is waited for, and started where that is allowed. With `deltas`
    also `{"session", "delta"}` lines, which are not repeated after a break.

    Raises:
        Refusal: the session does not exist, or no service can be started.
    """
    heard = False
    while True:
        query = with_query(_path(session), {"after": after, "follow": 1, "deltas": int(deltas)})
        try:
            for line in wire.lines(query, timeout=_SILENCE):
                heard, after = True, line.get("seq", after)
                yield from [] if "keepalive" in line else [line]
        except ServiceGone:
            heard = True
        except Refusal as refusal:
            if wire.may_start or not heard or refusal.exit_code != UNREACHABLE:
                raise
        time.sleep(_PAUSE)


def _path(session: str) -> str:
    return session_path(session, "/events")
