"""Goals in the words of `dev-sessions`. There they are Codex's alone; here every agent has them."""

from __future__ import annotations

import argparse
import time

from bullpen.cli import dev_verbs
from bullpen.cli.dev_verbs import failure, record_of
from bullpen.cli.exits import DONE, TIMEOUT
from bullpen.cli.message import read_text
from bullpen.cli.show import one_line, say, say_json
from bullpen.cli.waiting import settled_goal
from bullpen.cli.wire import Wire, session_path

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

_CHANGES = {"pause": "paused", "resume": "active", "clear": "cleared"}
_WORDS = {"limited": "usageLimited", "budget-limited": "budgetLimited"}


def goal(args: argparse.Namespace) -> int:
    """Show, set, pause, resume or clear the goal of a session."""
    changes = [name for name in _CHANGES if getattr(args, name)]
    objective = _objective(args)
    budget = _budget(args.budget)
    if len(changes) > 1:
        raise failure("Use only one of --pause, --resume, --clear")
    if changes and objective:
        raise failure(f"--{changes[0]} cannot be combined with an objective")
    if changes == ["clear"] and budget:
        raise failure("--clear cannot be combined with --budget")
    wire = Wire.here()
    now: dict[str, Any] | None = record_of(wire, args.id).get("goal")
    if changes == ["clear"]:
        return _clear(wire, args, now)
    if objective or budget or changes:
        now = _changed(wire, args.id, now, objective, budget, changes)
    return _show(args, now)


def _objective(args: argparse.Namespace) -> str:
    words = " ".join(args.objective).strip()
    if args.file is None:
        return words
    if words:
        raise failure("Provide either <objective> or --file, not both")
    text = read_text(args.file).strip()
    if not text:
        raise failure("Objective file is empty. Provide a non-empty objective.")
    return text


def _budget(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise failure("--budget must be a positive integer")
    return int(text)


def _changed(
    wire: Wire,
    session: str,
    now: dict[str, Any] | None,
    objective: str,
    budget: int | None,
    changes: list[str],
) -> dict[str, Any]:
    path = session_path(session, "/goal")
    if not objective and now is None:
        raise failure(f"No goal set for {session}")
    if objective or budget:
        kept: dict[str, Any] = now or {}
        body: dict[str, Any] = {"objective": objective or kept["objective"]}
        body |= {"budget_tokens": budget} if budget else {}
        now = wire.call("PUT", path, body)["goal"]
    if changes:
        now = wire.call("PATCH", path, {"status": _CHANGES[changes[0]]})["goal"]
    assert now is not None, "there was one, or it was set"
    return now


def _clear(wire: Wire, args: argparse.Namespace, now: dict[str, Any] | None) -> int:
    if now is not None:
        wire.call("PATCH", session_path(args.id, "/goal"), {"status": "cleared"})
    if args.json:
        say_json({"cleared": now is not None})
    else:
        say(f"{'Cleared goal' if now else 'No goal to clear'} for {args.id}")
    return DONE


def _show(args: argparse.Namespace, now: dict[str, Any] | None) -> int:
    if args.json:
        say_json(None if now is None else _as_told(args.id, now))
    elif now is None:
        say(f"No goal set for {args.id}")
    else:
        told = _as_told(args.id, now)
        say(f"objective: {one_line(told['objective'])}")
        say(f"status: {told['status']}")
        say(f"tokens used: {told['tokensUsed']}")
        say(f"token budget: {told['tokenBudget'] or 'none'}")
        say(f"time used: {told['timeUsedSeconds']}s")
    return DONE


def _as_told(session: str, now: dict[str, Any]) -> dict[str, Any]:
    begun = int(now.get("set_at", 0.0))
    return {
        "threadId": session,
        "objective": now["objective"],
        "status": _word(now),
        "tokenBudget": now.get("budget_tokens"),
        "tokensUsed": now.get("used_tokens", 0),
        "timeUsedSeconds": max(0, int(time.time()) - begun),
        "createdAt": begun,
        "updatedAt": int(time.time()),
    }


def _word(now: dict[str, Any]) -> str:
    status: str = now.get("status", "active")
    word: str = _WORDS.get(status, status)
    return word


def wait(args: argparse.Namespace) -> int:
    """Wait for a turn, or with `--goal` until the goal is not active any more."""
    timeout = dev_verbs.positive_integer(args.timeout, "--timeout")
    if args.goal and args.next_turn:
        raise failure("Use only one of --goal, --next-turn")
    if not args.goal:
        return dev_verbs.wait(args)
    wire = Wire.here()
    record = record_of(wire, args.id)
    if record.get("goal") is None:
        raise failure(f"No goal set for {args.id}")
    found = settled_goal(wire, args.id, end=time.monotonic() + timeout)
    if found.get("status", "active") == "active":
        if found.get("is_over"):
            raise failure(f"Session {args.id} died during wait")
        raise failure(f"Timed out waiting for goal on {args.id}", exit_code=TIMEOUT)
    say(_word(found))
    return DONE
