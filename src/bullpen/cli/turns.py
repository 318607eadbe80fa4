"""Giving a session a prompt."""

from __future__ import annotations

import argparse
import os

from bullpen.cli import exits
from bullpen.cli.message import message_of
from bullpen.cli.options import add_json, add_message, add_session, add_timeout
from bullpen.cli.show import say, say_agent_text, say_json, talk
from bullpen.cli.waiting import outcome_of, settled, tell_need
from bullpen.cli.wire import Wire, fresh_key, session_path

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any


def add_send(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen send`."""
    add_session(parser)
    add_message(parser)
    _add_manner(parser)
    parser.add_argument("--wait", action="store_true", help="wait for the turn and print its end")
    add_timeout(parser)
    add_json(parser)


def _add_manner(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--interrupt",
        action="store_true",
        help="end the running turn for this one; by default it is queued behind it",
    )
    how.add_argument(
        "--steer",
        action="store_true",
        help="add the words to the running turn, for agents that take them while they work",
    )
    parser.add_argument(
        "--key",
        metavar="KEY",
        help="idempotency key: sending again with the same key sends nothing twice",
    )


def send(args: argparse.Namespace) -> int:
    """Hand a prompt to a session, byte for byte, and return as soon as it is stored.

    It is queued behind running and queued turns unless `--interrupt` or `--steer` is given.
    """
    wire = Wire.here()
    answer = sent(wire, args)
    if not args.wait:
        if args.json:
            say_json(answer)
        else:
            say(f"Sent message to {args.session}")
        return exits.DONE
    waited, word = _turn_over(wire, args, answer["turn"])
    if args.json:
        say_json({**answer, "outcome": word, "timed_out": waited["timed_out"]})
    elif not waited["timed_out"]:
        say(word)
    return _ended(args, waited, word)


def add_ask(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen ask`."""
    add_session(parser)
    add_message(parser)
    _add_manner(parser)
    add_timeout(parser)
    add_json(parser)


def ask(args: argparse.Namespace) -> int:
    """Send a prompt, wait for its turn, print the last message of that turn and nothing else.

    The exit code says how the turn ended. When time runs out the agent goes on.
    """
    wire = Wire.here()
    answer = sent(wire, args)
    waited, word = _turn_over(wire, args, answer["turn"])
    reply = reply_of(wire, args.session, answer["turn"])
    if args.json:
        found = {"outcome": word, "timed_out": waited["timed_out"], "message": reply}
        say_json({**answer, **found})
    elif reply and not waited["timed_out"]:
        say_agent_text(reply)
    return _ended(args, waited, word)


def sent(wire: Wire, args: argparse.Namespace) -> dict[str, Any]:
    """Store the prompt `args` speaks of and return `{session, turn, state}`."""
    body: dict[str, Any] = {"text": message_of(args.message, args.file)}
    if args.interrupt:
        body["how"] = "interrupt"
    if args.steer:
        body["how"] = "steer"
    if sender := os.environ.get("BULLPEN_SESSION"):
        body["sender"] = sender
    path = session_path(args.session, "/turns")
    answer: dict[str, Any] = wire.call("POST", path, body, key=args.key or fresh_key())
    return answer


def reply_of(wire: Wire, session: str, turn: int) -> str | None:
    """Return the last message of `turn`, None when it has none."""
    messages = wire.get(session_path(session, "/messages"), count=1, turn=turn)["messages"]
    return messages[-1]["text"] if messages else None


def _turn_over(wire: Wire, args: argparse.Namespace, turn: int) -> tuple[dict[str, Any], str]:
    waited = settled(wire, [args.session], timeout=args.timeout, turns={args.session: turn})
    return waited, outcome_of(wire, waited["sessions"][args.session], turn)


def _ended(args: argparse.Namespace, waited: dict[str, Any], word: str) -> int:
    if not waited["timed_out"]:
        code = exits.of_outcome(word)
        if code != exits.DONE and not args.json:
            talk(f"{args.session}: {word}")
            tell_need(waited["sessions"][args.session])
        return code
    if not args.json:
        talk(f"error: timed out waiting for {args.session} after {args.timeout:g} s")
        talk(
            f"hint: the agent goes on; `bullpen wait {args.session}`, then "
            f"`bullpen last-message {args.session}` pick up the reply"
        )
    return exits.TIMEOUT
