"""What was said in a session."""

from __future__ import annotations

import argparse

from bullpen.cli.exits import DONE
from bullpen.cli.options import add_json, add_session, count
from bullpen.cli.show import say, say_agent_text, say_json
from bullpen.cli.wire import Wire, session_path

NOTHING = "No conversation history available"


def add_last_message(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen last-message`."""
    add_session(parser)
    parser.add_argument(
        "-n", "--count", metavar="N", type=count, default=1, help="the last N messages"
    )
    add_json(parser)


def last_message(args: argparse.Namespace) -> int:
    """Print the agent's last messages, oldest first, a blank line between; nothing when there
    are none. With `--json` an array of texts, in which blank lines stay what they are."""
    path = session_path(args.session, "/messages")
    messages = Wire.here().get(path, count=args.count)["messages"]
    texts = [message["text"] for message in messages]
    if args.json:
        say_json(texts)
    elif texts:
        say_agent_text("\n\n".join(texts))
    return DONE


def add_logs(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen logs`."""
    add_session(parser)
    add_json(parser)


def logs(args: argparse.Namespace) -> int:
    """Print every prompt and every message of the agent, in order."""
    entries = Wire.here().get(session_path(args.session, "/log"))["entries"]
    if args.json:
        say_json(entries)
    elif entries:
        parts = [f"[{entry['role'].upper()}]\n{entry['text']}" for entry in entries]
        say_agent_text("\n\n".join(parts))
    else:
        say(NOTHING)
    return DONE
