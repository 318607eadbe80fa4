"""Verbs about one session that need nothing but its record."""

from __future__ import annotations

import argparse

from bullpen.cli.exits import DONE
from bullpen.cli.many import each
from bullpen.cli.options import add_json, add_session, add_sessions
from bullpen.cli.show import one_line, say, say_json, talk
from bullpen.cli.wire import Wire, session_path

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

_STATUS = ("id", "state", "outcome", "since", "reason", "last_line")


def add_status(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen status`."""
    add_sessions(parser)
    add_json(parser)


def status(args: argparse.Namespace) -> int:
    """Print the state: the word alone for one session, `ID word` for several. Exit 0 whatever
    the state is."""
    wire = Wire.here()
    records = [wire.get(session_path(session)) for session in args.sessions]
    if args.json:
        shown = [_status(record) for record in records]
        say_json(shown[0] if len(shown) == 1 else shown)
    elif len(records) == 1:
        say(records[0]["state"])
    else:
        for record in records:
            say(f"{record['id']} {record['state']}")
    return DONE


def _status(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in _STATUS if name in record}


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen inspect`."""
    add_session(parser)
    add_json(parser)


def inspect(args: argparse.Namespace) -> int:
    """Print the whole record as JSON, with or without `--json`. Defaults are left out."""
    say_json(Wire.here().get(session_path(args.session)))
    return DONE


def add_interrupt(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen interrupt`."""
    add_sessions(parser)
    add_json(parser)


def interrupt(args: argparse.Namespace) -> int:
    """End the running turn of each session; the session goes on with the next one."""
    wire = Wire.here()

    def act(session: str) -> Any:
        return wire.call("POST", session_path(session, "/interrupt"), {}, repeat=False)

    return each(args.sessions, act, done="Interrupted", as_json=args.json)


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen resume`."""
    add_session(parser)
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="start a new conversation in the same place, when the old one cannot come back",
    )
    parser.add_argument("--prompt", metavar="TEXT", help="send this as soon as it is back")
    add_json(parser)


def resume(args: argparse.Namespace) -> int:
    """Bring a session back that is stopped, failed or lost; returns when the agent is ready."""
    body: dict[str, Any] = {"fresh": args.fresh}
    if args.prompt is not None:
        body["prompt"] = args.prompt
    path = session_path(args.session, "/resume")
    record = Wire.here().call("POST", path, body, timeout=None)
    if args.json:
        say_json(record)
    else:
        say(f"Resumed session {record['id']}")
        _say_why_queued(record)
    return DONE


def _say_why_queued(record: dict[str, Any]) -> None:
    if record["state"] == "queued":
        talk(f"queued: {one_line(record.get('reason', ''))}")


def add_rename(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen rename`."""
    add_session(parser)
    parser.add_argument("title", metavar="TITLE", help="the new title; empty takes it away")
    add_json(parser)


def rename(args: argparse.Namespace) -> int:
    """Give a session another title. Its id stays as it is for ever."""
    record = Wire.here().call("PATCH", session_path(args.session), {"title": args.title})
    if args.json:
        say_json(record)
    else:
        say(f"Renamed session {record['id']}")
    return DONE
