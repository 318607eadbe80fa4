"""Goals, limits, cost and budgets."""

from __future__ import annotations

import argparse
import time

from bullpen.cli.exits import DONE, usage
from bullpen.cli.options import add_json, add_session
from bullpen.cli.show import one_line, say, say_json, table
from bullpen.cli.wire import Wire, session_path, with_query

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

GROUPS = ("session", "agent", "model", "workspace", "day")


def add_goal(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen goal`."""
    parser.epilog = (
        "without OBJECTIVE and options: show the goal. `bullpen wait ID --goal` waits for it"
    )
    add_session(parser)
    parser.add_argument("objective", metavar="OBJECTIVE", nargs="?", help="what is to be reached")
    parser.add_argument("--budget-tokens", metavar="N", type=int, help="end after so many tokens")
    parser.add_argument("--budget-usd", metavar="USD", type=float, help="end after so much money")
    parser.add_argument("--max-turns", metavar="N", type=int, help="end after so many turns")
    which = parser.add_mutually_exclusive_group()
    for name, about in (
        ("pause", "do not go on after the running turn"),
        ("resume", "go on"),
        ("clear", "drop the goal"),
    ):
        which.add_argument(f"--{name}", action="store_true", help=about)
    add_json(parser)


def goal(args: argparse.Namespace) -> int:
    """Give a session a goal: it is prompted again until its agent says that it is reached."""
    wire, path = Wire.here(), session_path(args.session, "/goal")
    changes = {"pause": "paused", "resume": "active", "clear": "cleared"}
    status = next((word for name, word in changes.items() if getattr(args, name)), None)
    if status is not None and args.objective:
        raise usage("give either an objective or one of --pause, --resume, --clear")
    if args.objective:
        names = ("objective", "budget_tokens", "budget_usd", "max_turns")
        body = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
        record = wire.call("PUT", path, body)
    elif status is not None:
        record = wire.call("PATCH", path, {"status": status})
    else:
        record = {"goal": wire.get(path)}
    found = record.get("goal")
    if args.json:
        say_json(found)
    elif found is None:
        say(f"Session {args.session} has no goal")
    else:
        say(_goal(found))
    return DONE


def _goal(found: dict[str, Any]) -> str:
    used = [f"{found.get('turns', 0)} turns"]
    if found.get("used_tokens"):
        used.append(f"{found['used_tokens']} tokens")
    if found.get("used_usd"):
        used.append(f"{found['used_usd']:.2f} USD")
    status = found.get("status", "active")
    note = f": {one_line(found['note'])}" if found.get("note") else ""
    return f"{status}{note} ({', '.join(used)})  {one_line(found['objective'])}"


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen limits`."""
    parser.epilog = "`limits clear ACCOUNT` has the sessions that wait for it try again now"
    parser.add_argument("words", metavar="WORD", nargs="*", help="nothing, or: clear ACCOUNT")
    add_json(parser)


def limits(args: argparse.Namespace) -> int:
    """List the accounts whose usage limit is reached, until when, and who waits for it."""
    wire = Wire.here()
    if args.words:
        if len(args.words) != 2 or args.words[0] != "clear":
            raise usage("say `clear ACCOUNT`, or nothing", hint="`bullpen limits` lists accounts")
        done = wire.post(f"/v1/limits/{args.words[1]}/clear")
        if args.json:
            say_json(done)
        else:
            say(f"Tried again: {', '.join(done['sessions'])}")
        return DONE
    found = wire.get("/v1/limits")
    if args.json:
        say_json(found)
    elif not found["sessions"]:
        say("No limit is reached")
    else:
        rows = [
            (name, one["account"], one["limit"], _until(one), one_line(one.get("message", "")))
            for name, one in found["sessions"].items()
        ]
        say(table(("SESSION", "ACCOUNT", "LIMIT", "UNTIL", "WHY"), rows))
    return DONE


def _until(limit: dict[str, Any]) -> str:
    if not limit.get("until"):
        return "cleared by you"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(limit["until"]))
    return f"{when} (a guess)" if limit.get("is_guess") else when


def add_cost(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen cost`."""
    parser.add_argument("--by", choices=GROUPS, default="session", help="what to add up by")
    parser.add_argument("--since", metavar="DAY", help="only from this day on, such as 2030-01-31")
    add_json(parser)


def cost(args: argparse.Namespace) -> int:
    """Add up tokens and money. What nobody knows is shown as unknown, never as nothing."""
    since = _moment(args.since) if args.since else 0.0
    found = Wire.here().call("GET", with_query("/v1/cost", {"by": args.by, "since": int(since)}))
    if args.json:
        say_json(found["cost"])
        return DONE
    if not found["cost"]:
        say("Nothing was counted")
        return DONE
    titles = (args.by.upper(), "TURNS", "IN", "OUT", "CACHED", "USD")
    say(table(titles, [_row(one) for one in found["cost"]]))
    return DONE


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    counts = [one.get(f"{name}_tokens") for name in ("input", "output", "cached")]
    texts = ["unknown" if count is None else str(count) for count in counts]
    return (one_line(str(one["name"])), str(one["turns"]), *texts, _usd(one))


def _usd(one: dict[str, Any]) -> str:
    if one.get("usd") is None:
        return "unknown"
    about = "~" if one.get("is_estimate") else ""
    unpriced = one.get("unpriced_turns", 0)
    more = f" + {unpriced} turns unknown" if unpriced else ""
    return f"{about}{one['usd']:.4f}{more}"


def _moment(day: str) -> float:
    try:
        return time.mktime(time.strptime(day, "%Y-%m-%d"))
    except (ValueError, OverflowError) as fault:
        raise usage(f"{day!r} is no day", hint="write it like 2030-01-31") from fault


def add_budget(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen budget`."""
    add_session(parser)
    parser.add_argument("--usd", metavar="USD", type=float, help="no turn starts once it is spent")
    parser.add_argument("--tokens", metavar="N", type=int, help="no turn starts once they are used")
    parser.add_argument("--none", action="store_true", help="no budget any more")
    add_json(parser)


def budget(args: argparse.Namespace) -> int:
    """Set the hard budget of a session; one that was held by the old one goes on."""
    if not args.none and args.usd is None and args.tokens is None:
        raise usage("say --usd, --tokens or --none")
    body = {} if args.none else {"usd": args.usd, "tokens": args.tokens}
    record = Wire.here().call("PUT", session_path(args.session, "/budget"), body)
    if args.json:
        say_json(record)
    else:
        say(f"Set the budget of {args.session}")
    return DONE
