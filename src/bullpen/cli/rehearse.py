"""Trying a real agent with a scripted model: in seconds, at no cost, with no other host."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bullpen.cli.creating import DEFAULT_AGENT, MODES, created
from bullpen.cli.events import followed, stored
from bullpen.cli.exits import DONE, Refusal, of_outcome, usage
from bullpen.cli.options import absolute, add_json
from bullpen.cli.screen import Screen
from bullpen.cli.show import one_line, say, say_json, talk
from bullpen.cli.team import listed_changes
from bullpen.cli.telling import Telling
from bullpen.cli.wire import Wire, fresh_key, session_path

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

_TESTING = Path(__file__).parents[1] / "testing"
_EXAMPLE = _TESTING / "hello.yaml"
_CHECK_PATIENCE = 60


def add_rehearse(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen rehearse`."""
    parser.epilog = (
        "the agent is the real program; the model is SCRIPT, on loopback, and where the system "
        "allows it no other host can be reached"
    )
    parser.add_argument(
        "script", metavar="SCRIPT", nargs="?", help="YAML; without one, the example"
    )
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
    parser.add_argument(
        "-p", "--path", metavar="DIR", help="where; by default a scratch repository"
    )
    parser.add_argument(
        "--in", dest="place", choices=("directory", "worktree"), default="directory",
        help="work in the directory itself, or in a git worktree",
    )  # fmt: skip
    parser.add_argument("--policy", metavar="FILE", help="policy rules to try")
    parser.add_argument("--setup", metavar="COMMAND", help="setup command to try")
    parser.add_argument("--keep", action="store_true", help="leave the session and what it made")
    parser.add_argument("--check", action="store_true", help="read the script, and do nothing else")
    parser.add_argument("--example", action="store_true", help="print an example script")
    add_json(parser)


def rehearse(args: argparse.Namespace) -> int:
    """Run a real agent against a scripted model and show what happens.

    Nothing is answered for you: what the agent asks and no rule decides ends the rehearsal with
    exit code 4, which says that a user would be asked here. Without `--keep` the session and the
    scratch repository are gone afterwards.
    """
    if args.example:
        say(_EXAMPLE.read_text("utf-8").rstrip("\n"))
        return DONE
    if args.check and args.script is None:
        raise usage("name a script to check", hint="`bullpen rehearse --example` prints one")
    args.script = args.script or str(_EXAMPLE)
    if args.check:
        _checked(args.script)
        say("The script is sound")
        return DONE
    prompts = args.prompt or [_prompt_of(args.script)]
    return _rehearsed(args, prompts, Wire.here())


def _rehearsed(args: argparse.Namespace, prompts: list[str], wire: Wire) -> int:
    scratch = None if args.path else _Scratch()
    session = ""
    try:
        wanted = _wanted(args, absolute(args.path) if scratch is None else str(scratch.folder))
        record = created(wire, wanted, key=fresh_key())
        session = record["id"]
        for text in prompts:
            record = _played(wire, session, text, quiet=args.json)
            if record["state"] != "idle":
                break
        return _told(args, _report(wire, record, scratch))
    finally:
        if not args.keep:
            _clear(wire, session, scratch)


class _Scratch:
    """A repository of one empty commit, in a temporary folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bullpen-rehearsal-"))
        self._git("init", "-q", "-b", "main")
        who = ("-c", "user.name=Rehearsal", "-c", "user.email=rehearsal@localhost")
        self._git(*who, "commit", "-q", "--allow-empty", "-m", "A scratch repository")
        self._base = self._git("rev-parse", "HEAD").decode().strip()

    def diff(self) -> bytes:
        """Return everything that differs from the beginning, committed or not."""
        self._git("add", "-A")
        return self._git("diff", "--cached", self._base)

    def _git(self, *words: str) -> bytes:
        try:
            done = subprocess.run(
                ["git", *words], cwd=self.folder, capture_output=True, check=False
            )
        except FileNotFoundError as missing:
            raise Refusal("git-missing", "git is not installed", hint="install git") from missing
        if done.returncode != 0:
            raise Refusal("command-failed", f"git: {done.stderr.decode('utf-8', 'replace')[:300]}")
        return done.stdout


def _clear(wire: Wire, session: str, scratch: _Scratch | None) -> None:
    if session:
        wire.post(session_path(session, "/kill"))
        force = "" if scratch is None else "?force=true"
        try:
            wire.call("DELETE", session_path(session, force))
        except Refusal as refusal:
            # Work in a worktree of the user's own repository is the user's to throw away.
            talk(
                f"{session} stays: {refusal.message}; `bullpen remove {session} --force` removes it"
            )
    if scratch is not None:
        shutil.rmtree(scratch.folder, ignore_errors=True)


def _wanted(args: argparse.Namespace, path: str) -> dict[str, Any]:
    given = {"mode": args.mode, "setup": args.setup}
    given["policy"] = absolute(args.policy) if args.policy else None
    wanted = {name: value for name, value in given.items() if value}
    wanted |= {"agent": args.agent, "path": path, "place": args.place}
    return wanted | {"rehearsal": absolute(args.script), "title": "Rehearsal"}


def _checked(script: str, *more: str) -> str:
    """Have the model read the script, and return what it prints."""
    words = [
        sys.executable,
        "-I",
        str(_TESTING / "scripted_model.py"),
        "--check",
        "--script",
        script,
        *more,
    ]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=_CHECK_PATIENCE
    )
    if done.returncode != 0:
        why = done.stderr.strip().removeprefix(f"{script}: ")
        hint = "see `bullpen rehearse --example`"
        raise Refusal("rehearsal-invalid", f"{script}: {why}", hint=hint)
    return done.stdout


def _prompt_of(script: str) -> str:
    prompt = _checked(script, "--prompt").rstrip("\n")
    if not prompt.strip():
        raise usage("nothing to say to the agent", hint="give --prompt, or `prompt:` in the script")
    return prompt


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
            if record["state"] in _STUCK or _is_over(record, sent["turn"]):
                return record
    return record


_STUCK = ("asking", "waiting", "limited", "stopped", "failed", "lost")
_AT_REST = ("idle", *_STUCK)


def _is_over(record: dict[str, Any], turn: int) -> bool:
    now = record.get("turn", {})
    return now.get("number", 0) >= turn and now.get("state") != "running"


def _report(wire: Wire, record: dict[str, Any], scratch: _Scratch | None) -> dict[str, Any]:
    session = record["id"]
    return {
        "session": session,
        "state": record["state"],
        "outcome": record["outcome"],
        "error": record.get("turn", {}).get("error"),
        "path": record.get("path", ""),
        "permissions": _permissions(wire, session),
        "changes": _changes(wire, session, scratch),
        "requests": _requests(wire.home.sessions / session / "rehearsal" / "asked"),
    }


def _permissions(wire: Wire, session: str) -> list[dict[str, Any]]:
    asked: dict[str, dict[str, Any]] = {}
    for event in stored(wire, session):
        fact = event["fact"]
        if fact["kind"] in ("permission-asked", "question-asked"):
            title = fact.get("title") or fact.get("message") or ""
            asked[fact["request"]] = {"title": title, "outcome": "open"}
        elif fact["kind"] == "ask-answered" and fact["request"] in asked:
            answer = {"outcome": fact["outcome"], "by": fact.get("by", "user")}
            asked[fact["request"]] |= answer | {"reason": fact.get("reason", "")}
    return list(asked.values())


def _changes(
    wire: Wire, session: str, scratch: _Scratch | None
) -> list[tuple[str, int, int]] | None:
    """Return each changed file with its added and removed lines; None without a repository."""
    try:
        diff = scratch.diff() if scratch else wire.fetch(session_path(session, "/diff"))
    except Refusal:
        return None
    return listed_changes(diff)


def _requests(folder: Path) -> list[dict[str, str]]:
    """Return which answer the model gave to each request, from its log."""
    try:
        lines = (folder / "access.log").read_text("utf-8").splitlines()
    except OSError:
        return []
    found: list[dict[str, str]] = []
    for line in lines:
        _, file, path, note = line.split(" ", 3)
        found.append({"file": file, "path": path, "answer": note})
    return found


def _told(args: argparse.Namespace, report: dict[str, Any]) -> int:
    if args.json:
        say_json(report)
    else:
        _tell(report)
    if args.keep:
        talk(f"kept: bullpen attach {report['session']}; it works in {report['path']}")
    return of_outcome(report["outcome"])


def _tell(report: dict[str, Any]) -> None:
    error = f": {one_line(report['error'])}" if report["error"] else ""
    say(f"Outcome: {report['outcome']}{error}")
    for one in report["permissions"]:
        by = f" by {one['by']}" if "by" in one else ", so a user would be asked"
        why = one_line(one.get("reason", "")).removeprefix(f"{one.get('by')}: ")
        reason = f" ({why})" if why else ""
        say(f"  asked: {one_line(one['title'])}: {one['outcome']}{by}{reason}")
    changes = report["changes"]
    if changes is None:
        say("Changed: unknown, it worked outside of a git repository")
    else:
        told = [f"{one_line(name)} +{plus} -{minus}" for name, plus, minus in changes]
        say(f"Changed: {', '.join(told) or 'nothing'}")
    answers = sum(one["answer"] not in ("", "404") for one in report["requests"])
    say(f"The model answered {answers} time{'' if answers == 1 else 's'}")
