"""Starting sessions."""

from __future__ import annotations

import argparse
import os

from bullpen.cli.exits import DONE, usage
from bullpen.cli.mcp_file import servers_of
from bullpen.cli.message import message_of
from bullpen.cli.options import absolute, add_json, pair, seconds
from bullpen.cli.show import one_line, say, say_json, talk
from bullpen.cli.wire import Wire, fresh_key

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

DEFAULT_AGENT = "claude"
MODES = ("plan", "ask", "edit", "bypass")


def add_create(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen create`."""
    _add_where(parser)
    _add_how(parser)
    _add_what(parser)
    parser.add_argument("--id", metavar="ID", help="id to use; by default one is made up")
    parser.add_argument(
        "--parent",
        metavar="ID",
        default=os.environ.get("BULLPEN_SESSION") or None,
        help="session this one works for (default: $BULLPEN_SESSION)",
    )
    parser.add_argument(
        "--key",
        metavar="KEY",
        help="idempotency key: creating again with the same key gives the first session",
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait until the agent is ready"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print the id alone")
    add_json(parser)


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p", "--path", default=".", metavar="DIR", help="directory or repository to work in"
    )
    parser.add_argument(
        "--in",
        dest="place",
        choices=("directory", "worktree"),
        default="directory",
        help="work in the directory itself, or in a git worktree of its own",
    )
    parser.add_argument("--branch", metavar="NAME", help="branch of the worktree")
    parser.add_argument("--base", metavar="REF", help="where the branch begins (default HEAD)")
    parser.add_argument(
        "--sparse",
        metavar="DIR",
        action="append",
        default=[],
        help="check out only this folder in the worktree; may be repeated",
    )
    parser.add_argument("--setup", metavar="COMMAND", help="run this in the place first")
    parser.add_argument(
        "--setup-timeout", metavar="SECONDS", type=seconds, help="time limit of --setup"
    )


def _add_how(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--agent",
        "--cli",
        metavar="AGENT",
        default=os.environ.get("BULLPEN_AGENT") or DEFAULT_AGENT,
        help=f"agent of the catalog (default: $BULLPEN_AGENT, else {DEFAULT_AGENT})",
    )
    parser.add_argument("--mode", choices=MODES, help="how much the agent may do without asking")
    parser.add_argument("--model", metavar="MODEL", help="model, in the agent's own words")
    parser.add_argument(
        "--interface",
        choices=("structured", "terminal"),
        help="speak to the agent, or run its own screen in a terminal (default structured)",
    )
    parser.add_argument(
        "--rehearse",
        metavar="SCRIPT",
        help="let a model of ours answer from SCRIPT instead of the agent's own, at no cost",
    )
    parser.add_argument("--policy", metavar="FILE", help="policy rules for this session alone")
    parser.add_argument(
        "--fallback", metavar="AGENT", help="agent that takes over at a usage limit"
    )
    parser.add_argument(
        "--budget-usd", metavar="USD", type=float, help="stop after the turn that reaches it"
    )
    parser.add_argument(
        "--budget-tokens", metavar="N", type=int, help="stop after the turn that reaches it"
    )
    parser.add_argument(
        "--env",
        metavar="NAME=VALUE",
        type=pair,
        action="append",
        default=[],
        help="set a variable for the agent; may be repeated",
    )
    parser.add_argument(
        "--mcp",
        metavar="FILE",
        help='MCP servers for the agent: {"mcpServers": {NAME: {"command": ..., "args": []}}}',
    )


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d", "--description", "--title", dest="title", metavar="TEXT", help="shown in lists"
    )
    parser.add_argument(
        "--label",
        metavar="NAME=VALUE",
        type=pair,
        action="append",
        default=[],
        help="mark the session for filters; may be repeated",
    )
    parser.add_argument(
        "--goal", metavar="OBJECTIVE", help="work until this is reached; see `bullpen goal`"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="first prompt, queued at once")
    parser.add_argument(
        "--prompt-file", metavar="PATH", help="first prompt from a file, `-` is standard input"
    )


def create(args: argparse.Namespace) -> int:
    """Start a session; returns when the agent answered its handshake.

    Over a cap the session is queued, which stderr says with the reason. When it cannot start,
    nothing of it is left behind.
    """
    record = created(Wire.here(), creation(args), key=args.key or fresh_key())
    for note in record.get("notes", []):
        talk(f"note: {one_line(note)}")
    if args.json:
        say_json(record)
        return DONE
    say(record["id"] if args.quiet else f"Created session {record['id']}")
    if record["state"] == "queued":
        talk(f"queued: {one_line(record.get('reason', ''))}")
    return DONE


def created(wire: Wire, body: dict[str, Any], *, key: str) -> Any:
    """Return the record of a session made from `body`; with a known `key` that of the first."""
    return wire.call("POST", "/v1/sessions", body, key=key, timeout=None)


def creation(args: argparse.Namespace) -> dict[str, Any]:
    """Return the request that `args` asks for, without what was not given."""
    if args.place != "worktree":
        for name in ("branch", "base", "sparse"):
            if getattr(args, name):
                raise usage(f"--{name} is for worktrees", hint="add `--in worktree`")
    wanted: dict[str, Any] = {
        "agent": args.agent,
        "path": absolute(args.path),
        "place": args.place,
        "branch": args.branch,
        "base": args.base,
        "id": args.id,
        "title": args.title,
        "mode": args.mode,
        "model": args.model,
        "environment": dict(args.env),
        "mcp_servers": servers_of(args.mcp) if args.mcp else [],
        "setup": args.setup,
        "setup_timeout": args.setup_timeout,
        "sparse": args.sparse,
        "parent": args.parent,
        "labels": dict(args.label),
        "interface": args.interface,
        "rehearsal": absolute(args.rehearse) if args.rehearse else None,
        "policy": absolute(args.policy) if args.policy else None,
        "fallback": args.fallback,
        "budget_usd": args.budget_usd,
        "budget_tokens": args.budget_tokens,
        "goal": args.goal,
        "prompt": _prompt(args),
        "wait": not args.no_wait,
    }
    return {name: value for name, value in wanted.items() if value not in (None, "", {}, [])}


def _prompt(args: argparse.Namespace) -> str | None:
    if args.prompt is not None and args.prompt_file is not None:
        raise usage("give either --prompt or --prompt-file, not both")
    if args.prompt is None and args.prompt_file is None:
        return None
    return message_of(args.prompt, args.prompt_file)
