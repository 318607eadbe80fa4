"""Trying a real agent with a scripted model: in seconds, at no cost, with no other host."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bullpen.cli.creating import DEFAULT_AGENT, MODES, created
from bullpen.cli.events import followed
from bullpen.cli.exits import DONE, NEEDS_USER, Refusal, of_outcome, usage
from bullpen.cli.options import absolute, add_json
from bullpen.cli.screen import Screen
from bullpen.cli.show import say, say_json, talk
from bullpen.cli.telling import Telling
from bullpen.cli.wire import Wire, fresh_key, session_path

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

EXAMPLE = """\
# A rehearsal: what the model says when the real agent asks it.
#
#     bullpen rehearse hello.yaml --agent claude
#
# The first reply whose `when` is in the prompt answers it; one without `when` answers every
# prompt. Each step is one answer of the model; a step that uses a tool is followed by the next
# when the tool's result comes back. docs/how-to/rehearse.md lists every step.
prompt: Say hello, and write it down.
final: That is all.
replies:
  - when: hello
    steps:
      - think: A file would do.
      - text: I will write it down.
      - write: {path: hello.txt, content: "hello\\n"}
      - run: cat hello.txt
      - text: Hello is written down.
"""
_CHECK_PATIENCE = 60


def add_rehearse(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen rehearse`."""
    parser.epilog = (
        "the agent is the real program; the model is SCRIPT, on loopback, and where the system "
        "allows it no other host can be reached"
    )
    parser.add_argument("script", metavar="SCRIPT", nargs="?", help="YAML; see --example")
    parser.add_argument(
        "--agent",
        metavar="AGENT",
        default=os.environ.get("BULLPEN_AGENT") or DEFAULT_AGENT,
        help=f"agent of the catalog (default: $BULLPEN_AGENT, else {DEFAULT_AGENT})",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", action="append", default=[], help="what to say; may be repeated"
    )
    parser.add_argument("--mode", choices=MODES, help="how much the agent may do without asking")
    parser.add_argument("-p", "--path", metavar="DIR", help="where; by default an empty folder")
    parser.add_argument(
        "--in", dest="place", choices=("directory", "worktree"), default="directory",
        help="with --path: work in the directory itself, or in a git worktree",
    )  # fmt: skip
    parser.add_argument("--policy", metavar="FILE", help="policy rules to try")
    parser.add_argument("--setup", metavar="COMMAND", help="setup command to try")
    parser.add_argument("--keep", action="store_true", help="leave the session for a look")
    parser.add_argument("--check", action="store_true", help="read the script, and do nothing else")
    parser.add_argument("--example", action="store_true", help="print an example script")
    add_json(parser)


def rehearse(args: argparse.Namespace) -> int:
    """Run a real agent against a scripted model and show what happens.

    Nothing is answered for you: what the agent asks and no rule decides ends the rehearsal with
    exit code 4, which says that a user would be asked here.
    """
    if args.example:
        say(EXAMPLE.rstrip("\n"))
        return DONE
    if args.script is None:
        raise usage("name a script", hint="`bullpen rehearse --example` prints one")
    if args.check:
        return _check(args.script)
    prompts = args.prompt or [_prompt_of(args.script)]
    wire = Wire.here()
    record = created(wire, _wanted(args), key=fresh_key())
    try:
        records = [_played(wire, record["id"], text, quiet=args.json) for text in prompts]
        report = _report(wire, records[-1])
    finally:
        if not args.keep:
            wire.post(session_path(record["id"], "/kill"))
    return _told(args, report)


def _wanted(args: argparse.Namespace) -> dict[str, Any]:
    path = absolute(args.path) if args.path else tempfile.mkdtemp(prefix="bullpen-rehearsal-")
    given = {"mode": args.mode, "setup": args.setup}
    given["policy"] = absolute(args.policy) if args.policy else None
    wanted = {name: value for name, value in given.items() if value}
    wanted |= {"agent": args.agent, "path": path, "place": args.place}
    return wanted | {"rehearsal": absolute(args.script), "title": "Rehearsal"}


def _checker(script: str, *more: str) -> subprocess.CompletedProcess[str]:
    program = Path(__file__).parents[1] / "testing" / "scripted_model.py"
    words = [sys.executable, "-I", str(program), "--script", script, *more]
    return subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=_CHECK_PATIENCE
    )


def _check(script: str) -> int:
    done = _checker(script, "--check")
    if done.returncode != 0:
        why = done.stderr.strip().removeprefix(f"{script}: ")
        raise Refusal(
            "rehearsal-invalid", f"{script}: {why}", hint="see `bullpen rehearse --example`"
        )
    say("The script is sound")
    return DONE


def _prompt_of(script: str) -> str:
    done = _checker(script, "--check", "--prompt")
    if done.returncode != 0:
        why = done.stderr.strip().removeprefix(f"{script}: ")
        raise Refusal(
            "rehearsal-invalid", f"{script}: {why}", hint="see `bullpen rehearse --example`"
        )
    if not done.stdout.strip():
        raise usage("nothing to say to the agent", hint="give --prompt, or `prompt:` in the script")
    return done.stdout.rstrip("\n")


def _played(wire: Wire, session: str, text: str, *, quiet: bool) -> dict[str, Any]:
    """Send one prompt, tell what happens, and return the record when the turn is over."""
    record = wire.get(session_path(session))
    telling, screen = Telling(record), Screen(sys.stderr, os.environ)
    telling.seq = int(record.get("seq", 0))
    sent = wire.call("POST", session_path(session, "/turns"), {"text": text}, key=fresh_key())
    for event in followed(wire, session, telling.seq):
        kind = event["fact"]["kind"]
        if not quiet:
            for line, style in telling.hear(event, screen.size()[0]):
                screen.say(line, style)
        if kind == "state-changed" and event["fact"]["after"] in _AT_REST:
            record = wire.get(session_path(session))
            if record.get("state") in ("asking", "waiting") or _is_over(record, sent["turn"]):
                return record
    return record


_AT_REST = ("idle", "asking", "waiting", "stopped", "failed", "lost", "limited")


def _is_over(record: dict[str, Any], turn: int) -> bool:
    now = record.get("turn", {})
    return now.get("number", 0) >= turn and now.get("state") != "running"


def _report(wire: Wire, record: dict[str, Any]) -> dict[str, Any]:
    session = record["id"]
    asked: dict[str, dict[str, Any]] = {}
    events = wire.lines(session_path(session, "/events?limit=10000"))
    for event in events:
        fact = event["fact"]
        if fact["kind"] == "permission-asked":
            asked[fact["request"]] = {"title": fact.get("title", ""), "outcome": "open"}
        elif fact["kind"] == "ask-answered" and fact["request"] in asked:
            answer = {"outcome": fact["outcome"], "by": fact.get("by", "user")}
            asked[fact["request"]] |= answer | {"reason": fact.get("reason", "")}
    return {
        "session": session,
        "state": record["state"],
        "outcome": record["outcome"],
        "path": record.get("path", ""),
        "permissions": list(asked.values()),
        "error": record.get("turn", {}).get("error"),
        "files": sorted(_files(Path(record.get("path") or "/nonexistent"))),
    }


def _files(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    found = [one for one in folder.rglob("*") if one.is_file() and ".git" not in one.parts]
    return [str(one.relative_to(folder)) for one in found[:200]]


def _told(args: argparse.Namespace, report: dict[str, Any]) -> int:
    if args.json:
        say_json(report)
    else:
        say(f"Outcome: {report['outcome']}")
        for one in report["permissions"]:
            by = f" by {one['by']}" if "by" in one else ", so a user would be asked"
            say(f"  asked: {json.dumps(one['title'])[1:-1]}: {one['outcome']}{by}")
        say(f"Files in {report['path']}: {', '.join(report['files']) or 'none'}")
        if args.keep:
            talk(f"kept: bullpen attach {report['session']}")
    code = of_outcome(report["outcome"])
    return NEEDS_USER if report["state"] in ("asking", "waiting") else code
