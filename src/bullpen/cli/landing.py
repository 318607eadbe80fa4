"""What a session changed, and landing it."""

from __future__ import annotations

import argparse
import sys

from bullpen.cli.exits import DONE
from bullpen.cli.options import add_json, add_session
from bullpen.cli.show import harmless, say, say_json
from bullpen.cli.wire import Wire, session_path

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any


def add_diff(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen diff`."""
    add_session(parser)
    parser.add_argument("--stat", action="store_true", help="numbers alone")
    add_json(parser)


def diff(args: argparse.Namespace) -> int:
    """Print what the session changed since its beginning, committed or not, as a patch.

    `--json` prints the numbers, and the patch with them unless `--stat` is given.
    """
    wire = Wire.here()
    if args.stat and not args.json:
        changes = wire.get(session_path(args.session, "/changes"))
        say(stat_of(changes))
        return DONE
    if args.json:
        document: dict[str, Any] = dict(wire.get(session_path(args.session, "/changes")))
        if not args.stat:
            patch = wire.fetch(session_path(args.session, "/diff"))
            document["diff"] = patch.decode("utf-8", "replace")
        say_json(document)
        return DONE
    patch = wire.fetch(session_path(args.session, "/diff"))
    if sys.stdout.isatty():
        say(harmless(patch.decode("utf-8", "replace")), end="")
    else:
        sys.stdout.buffer.write(patch)
    return DONE


def stat_of(changes: dict[str, Any]) -> str:
    """Return `3 files, +40 -2` of an answer of `/changes`."""
    files = changes.get("files", 0)
    number = files if isinstance(files, int) else len(files)
    added, removed = changes.get("insertions", 0), changes.get("deletions", 0)
    return f"{number} file{'' if number == 1 else 's'}, +{added} -{removed}"


def add_land(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen land`."""
    add_session(parser)
    parser.add_argument(
        "--target", metavar="BRANCH", help="merge into this branch (default: the one checked out)"
    )
    parser.add_argument("-m", "--message", metavar="TEXT", help="message of the merge commit")
    parser.add_argument(
        "--commit", action="store_true", help="first commit what the agent left uncommitted"
    )
    add_json(parser)


def land(args: argparse.Namespace) -> int:
    """Merge the session's branch. On a conflict nothing is changed and all work is kept."""
    body: dict[str, Any] = {"commit": args.commit}
    if args.target:
        body["target"] = args.target
    if args.message:
        body["message"] = args.message
    path = session_path(args.session, "/land")
    answer = Wire.here().call("POST", path, body, timeout=None)
    if args.json:
        say_json(answer)
    else:
        files = answer["files"]
        number = files if isinstance(files, int) else len(files)
        say(
            f"Landed session {args.session} on {answer['target']} as {answer['commit'][:12]} "
            f"({number} file{'' if number == 1 else 's'})"
        )
    return DONE
