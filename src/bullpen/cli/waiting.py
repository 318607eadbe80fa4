"""Waiting until sessions are settled, across restarts of the service."""

from __future__ import annotations

import argparse
import time

from bullpen.cli import exits
from bullpen.cli.exits import Refusal
from bullpen.cli.options import add_json, add_sessions, add_timeout, count
from bullpen.cli.show import one_line, say, say_json, talk
from bullpen.cli.wire import Wire, session_path, with_query

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

_SLICE = 60.0
"""The longest single request; shorter than what a forgotten connection may cost us."""
_GRACE = 30.0
_PAUSE = 0.1
_STOPS = {
    "end_turn": "completed",
    "refusal": "refused",
    "cancelled": "cancelled",
    "max_tokens": "truncated",
    "max_turn_requests": "truncated",
}
_TURN_WORDS = {
    "queued": "queued",
    "running": "working",
    "cancelled": "cancelled",
    "failed": "failed",
    "withdrawn": "withdrawn",
}


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen wait`."""
    add_sessions(parser)
    parser.add_argument("--any", action="store_true", help="return when one is settled")
    parser.add_argument("--all", action="store_true", help="return when all are (the default)")
    parser.add_argument(
        "--turn", metavar="N", type=count, help="wait for this turn of the one session"
    )
    parser.add_argument(
        "--next-turn",
        action="store_true",
        help="wait for the turn that comes after those there are",
    )
    parser.add_argument(
        "--goal", action="store_true", help="wait until its goal is reached, or given up"
    )
    add_timeout(parser)
    parser.add_argument(
        "-i", "--interval", metavar="SECONDS", help="accepted and ignored: nothing is polled"
    )
    add_json(parser)


def wait(args: argparse.Namespace) -> int:
    """Wait until sessions are settled: no turn queued or running, or it needs the user, or over.

    Prints the outcome, as `ID outcome` when several sessions were named. The exit code stands
    for the worst outcome printed, see `exits.worst`. Goes on waiting over a restart of the
    service. Never changes anything, so it may be run again at any time.
    """
    if args.any and args.all:
        raise exits.usage("give either --any or --all, not both")
    if args.turn and len(args.sessions) > 1:
        raise exits.usage("--turn needs exactly one session")
    sessions = list(dict.fromkeys(args.sessions))
    turns = {sessions[0]: args.turn} if args.turn else {}
    wire = Wire.here()
    if args.goal:
        return goal_reached(wire, sessions, args)
    if args.next_turn:
        now = {name: wire.get(session_path(name)).get("turns", 0) for name in sessions}
        turns = {name: number + 1 for name, number in now.items()}
    answer = settled(
        wire, sessions, timeout=args.timeout, until="any" if args.any else "all", turns=turns
    )
    records = answer["sessions"]
    outcomes = {
        session: outcome_of(wire, records[session], turns.get(session)) for session in sessions
    }
    if args.json:
        say_json({**answer, "outcomes": outcomes})
    elif len(sessions) == 1:
        _say_one(sessions[0], outcomes[sessions[0]], answer, args)
    else:
        _say_several(sessions, outcomes, answer)
    shown = answer["settled"] if args.any or not answer["timed_out"] else sessions
    code = exits.worst(exits.of_outcome(outcomes[session]) for session in shown)
    return exits.TIMEOUT if answer["timed_out"] else code


def goal_reached(wire: Wire, sessions: list[str], args: argparse.Namespace) -> int:
    """Wait until no goal is active; 0 when all are reached, 3 when one is not.

    Raises:
        Refusal: a session has no goal.
    """
    end = time.monotonic() + args.timeout if args.timeout else float("inf")
    codes: list[int] = []
    for name in sessions:
        found = settled_goal(wire, name, end=end)
        status = found.get("status", "active")
        say(f"{name} {status}" if len(sessions) > 1 else status)
        is_open = status == "active" and time.monotonic() >= end
        codes.append(exits.TIMEOUT if is_open else _GOALS.get(status, exits.TURN_FAILED))
    return exits.worst(codes)


def settled_goal(wire: Wire, session: str, *, end: float) -> dict[str, Any]:
    """Return the session's goal once it is not active any more, or at `end` as it is then.

    `is_over` in it says that the session is over while the goal is active.

    Raises:
        Refusal: the session has no goal.
    """
    found: dict[str, Any] = wire.get(session_path(session, "/goal"))
    while found.get("status", "active") == "active" and time.monotonic() < end:
        left = min(end - time.monotonic(), _SLICE)
        body = {"sessions": [session], "goal": True, "timeout": left}
        answer = wire.call("POST", "/v1/wait", body, repeat=True, timeout=_SLICE + _GRACE)
        record: dict[str, Any] = answer["sessions"][session]
        found = record.get("goal") or {"status": "cleared"}
        if record["state"] in ("stopped", "failed", "lost"):
            return found | {"is_over": True}
    return found


_GOALS = {"complete": exits.DONE, "blocked": exits.NEEDS_USER}


def _say_one(session: str, word: str, answer: Any, args: argparse.Namespace) -> None:
    if answer["timed_out"]:
        talk(f"error: timed out waiting for {session} after {args.timeout:g} s")
        talk(f"hint: the agent goes on; `bullpen wait {session}` picks it up again")
        return
    say(word)
    tell_need(answer["sessions"][session])


def _say_several(sessions: list[str], outcomes: dict[str, str], answer: Any) -> None:
    for session in sessions:
        if session in answer["settled"]:
            say(f"{session} {outcomes[session]}")
            tell_need(answer["sessions"][session])
    if answer["timed_out"]:
        pending = ", ".join(answer["pending"])
        talk(f"error: timed out waiting for {pending}")
        talk("hint: the agents go on; waiting again picks them up")


def tell_need(record: dict[str, Any]) -> None:
    """Say on stderr what a session needs of the user, and why it is over."""
    session = record["id"]
    for ask in record.get("asks", ()):
        what = "asks for leave" if ask.get("kind") == "permission" else "asks"
        talk(f"{session} {what}: {one_line(ask.get('title', '')) or ask['request']}")
        talk(f"hint: `bullpen answer {session}` shows the possible answers")
    if record.get("outcome") == "doubted":
        number = record["turn"]["number"]
        talk(f"{session}: nobody knows whether the agent got turn {number}")
        talk(f"hint: wait again if it works after all; `bullpen interrupt {session}` gives it up")
    if record["state"] in ("failed", "lost") and record.get("reason"):
        talk(f"{session} is {record['state']}: {one_line(record['reason'])}")


def settled(
    wire: Wire,
    sessions: list[str],
    *,
    timeout: float,
    until: str = "all",
    turns: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Return the answer of `/v1/wait`, asked again over restarts and in slices.

    Args:
        timeout: Seconds; 0 waits for ever.
        turns: Session → turn that must be over; without, no turn may be queued or running.

    Raises:
        Refusal: a session does not exist, or no service can be reached.
    """
    end = time.monotonic() + timeout if timeout else float("inf")
    heard = False
    while True:
        left = max(0.0, end - time.monotonic())
        body: dict[str, Any] = {"sessions": sessions, "until": until, "timeout": min(left, _SLICE)}
        if turns:
            body["turns"] = turns
        try:
            answer: dict[str, Any] = wire.call(
                "POST", "/v1/wait", body, repeat=True, timeout=_SLICE + _GRACE
            )
        except Refusal as refusal:
            # Where we may not start a service ourselves, somebody else does.
            if wire.may_start or not heard or refusal.exit_code != exits.UNREACHABLE or not left:
                raise
            time.sleep(_PAUSE)
            continue
        heard = True
        if not answer["timed_out"] or time.monotonic() >= end:
            return answer


def outcome_of(wire: Wire, record: dict[str, Any], turn: int | None = None) -> str:
    """Return the one word for how a session stands, or for how one of its turns ended."""
    word: str = record["outcome"]
    if turn is None:
        return word
    found: dict[str, Any] = record.get("turn") or {}
    if found.get("number") != turn:
        path = with_query(session_path(record["id"], "/turns"), {"after": turn - 1})
        listed: list[dict[str, Any]] = wire.call("GET", path)["turns"]
        found = next((each for each in listed if each["number"] == turn), found)
    if found.get("state") == "done":
        return _STOPS.get(found.get("stop") or "", "completed")
    if found.get("state") == "running":
        return word
    return _TURN_WORDS.get(found.get("state", ""), word)
