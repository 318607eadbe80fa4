"""`bullpen run`: a session per brief, all at once, watched to the end and, if asked for, landed."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bullpen.cli.creating import DEFAULT_AGENT, MODES
from bullpen.cli.exits import INTERRUPTED, TIMEOUT, Refusal, usage, worst
from bullpen.cli.message import read_text
from bullpen.cli.options import absolute, add_json, pair, seconds
from bullpen.cli.progress import Progress, answering, summary
from bullpen.cli.screen import Screen
from bullpen.cli.show import say_json
from bullpen.cli.team import Brief, Member, Team, listed_changes
from bullpen.cli.wire import Wire

_LONGEST_TITLE = 60
_FILE_ENDINGS = (".md", ".txt", ".markdown")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `run`."""
    parser.add_argument(
        "briefs", metavar="BRIEF", nargs="+", help="a file, `-` for standard input, or the text"
    )
    parser.add_argument(
        "--agent",
        "--cli",
        metavar="A",
        default=os.environ.get("BULLPEN_AGENT") or DEFAULT_AGENT,
        help=f"agent of the catalog (default: $BULLPEN_AGENT, else {DEFAULT_AGENT})",
    )
    parser.add_argument("-p", "--path", metavar="PATH", default=".", help="where (default: here)")
    parser.add_argument(
        "--in",
        dest="place",
        choices=("worktree", "directory"),
        help="a git worktree each, or the directory itself (default: worktree in a repository)",
    )
    parser.add_argument("--base", metavar="REF", help="where the branches begin (default: HEAD)")
    parser.add_argument("--mode", choices=MODES, help="how much it may do unasked")
    parser.add_argument("--model", metavar="M", help="the agent's model")
    parser.add_argument(
        "--rehearse", metavar="SCRIPT", help="let a model of ours answer from SCRIPT, at no cost"
    )
    parser.add_argument("--policy", metavar="FILE", help="policy rules for these sessions alone")
    parser.add_argument(
        "--budget-usd",
        metavar="USD",
        type=float,
        help="for each: stop after the turn that reaches it",
    )
    parser.add_argument("--title", metavar="T", help="title of the sessions")
    parser.add_argument("--setup", metavar="COMMAND", help="run this in each new worktree first")
    parser.add_argument(
        "--label", metavar="K=V", type=pair, action="append", default=[], help="label the sessions"
    )
    parser.add_argument(
        "--land", action="store_true", help="merge the finished branches into the current one"
    )
    parser.add_argument("--diff", action="store_true", help="print the whole diffs at the end")
    parser.add_argument(
        "--keep", action="store_true", help="leave the agents running when they are done"
    )
    parser.add_argument(
        "-t", "--timeout", metavar="SECONDS", type=seconds, default=0.0, help="give up after this"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Give each brief to a session of its own, show them working, report, and land if asked to.

    Progress goes to stderr, the report to stdout. A session that is done is stopped (its branch,
    place and history stay) unless `--keep`. Ctrl-C and a timeout leave sessions running.

    Raises:
        Refusal: a brief or option is wrong; nothing was started.
    """
    if args.briefs.count("-") > 1:
        raise usage("standard input can be only one of the briefs")
    briefs = [_brief(word, args) for word in args.briefs]
    wanted = _wanted(args)
    for number, brief in enumerate(briefs, 1):
        if args.title and len(briefs) > 1:
            brief.title = f"{args.title} ({number})"
    team = Team(Wire.here(), briefs, wanted=wanted)
    progress = Progress(Screen(sys.stderr, os.environ))
    try:
        code = _watch(team, progress, args)
    except KeyboardInterrupt:
        _look_again(team)
        progress.close(team)
        progress.say(left_running(team))
        return INTERRUPTED
    return _finish(team, progress, args, code)


def _watch(team: Team, progress: Progress, args: argparse.Namespace) -> int | None:
    """Follow the team until there is nothing to wait for; return a code if time ran out."""
    until = time.monotonic() + args.timeout if args.timeout else float("inf")
    # A person at a terminal can answer from another one; a script would wait for ever.
    waits_for_answers = sys.stderr.isatty() and not args.json
    team.start()
    while True:
        team.look()
        if not args.keep:
            team.end_those_done()
        progress.show(team)
        if all(one.is_over or (one.needs_user and not waits_for_answers) for one in team.members):
            return None
        if time.monotonic() > until:
            return TIMEOUT
        team.count_changes()
        team.pause()


def _finish(team: Team, progress: Progress, args: argparse.Namespace, code: int | None) -> int:
    team.join()
    team.read_diffs()
    progress.close(team)
    if args.land:
        team.land(progress.landed)
    codes = [one.exit_code() for one in team.members] + ([] if code is None else [code])
    result = worst(codes)
    if args.json:
        say_json(_document(team, args, result))
        return result
    screen = Screen(sys.stdout, os.environ)
    for text, style in summary(team, diffs=args.diff, lands=args.land):
        screen.say(text, style)
    if code == TIMEOUT:
        progress.say(left_running(team))
    return result


def _brief(word: str, args: argparse.Namespace) -> Brief:
    source = word if word == "-" or os.path.lexists(word) else ""
    if source:
        if Path(source).is_dir():
            raise usage(f"brief {source!r} is a directory, not a file")
        try:
            text = read_text(source)
        except Refusal as refusal:
            raise usage(refusal.message, hint=refusal.hint) from refusal
    elif _looks_like_a_file(word):
        raise usage(
            f"brief file not found: {word!r}",
            hint="a brief is a file, `-` for standard input, or text of several words",
        )
    else:
        text = word
    if not text.strip():
        named = f"brief {source!r}" if source else "a brief"
        raise usage(f"{named} is empty", hint="say in it what is to be done; nothing was started")
    return Brief(text, args.title or _title(text, source), source)


def _looks_like_a_file(word: str) -> bool:
    one_word = bool(word) and not any(letter.isspace() for letter in word)
    return one_word and (word.endswith(_FILE_ENDINGS) or "/" in word)


def _title(text: str, source: str) -> str:
    first = next(line for line in text.split("\n") if line.strip()).strip()
    if first.startswith("#") or not source or source == "-":
        title = first.lstrip("#").strip() or first
    else:
        title = Path(source).stem
    return title if len(title) <= _LONGEST_TITLE else title[: _LONGEST_TITLE - 1] + "…"


def _wanted(args: argparse.Namespace) -> dict[str, Any]:
    path = Path(absolute(args.path))
    place = args.place or ("worktree" if _is_in_repository(path) else "directory")
    if args.land and place == "directory":
        raise usage(
            "--land needs branches of their own",
            hint="use `--in worktree`, inside a git repository with a commit",
        )
    wanted: dict[str, Any] = {"agent": args.agent, "path": str(path), "place": place}
    named = {
        "base": args.base,
        "mode": args.mode,
        "model": args.model,
        "setup": args.setup,
        "rehearsal": absolute(args.rehearse) if args.rehearse else None,
        "policy": absolute(args.policy) if args.policy else None,
        "budget_usd": args.budget_usd,
        "labels": dict(args.label),
        "parent": os.environ.get("BULLPEN_SESSION"),
    }
    return wanted | {name: value for name, value in named.items() if value}


def _is_in_repository(path: Path) -> bool:
    # The service has the last word; this only picks the default.
    # A folder called `.git` alone is none: sandboxes leave empty ones behind.
    folders = [folder / ".git" for folder in (path.resolve(), *path.resolve().parents)]
    return any(one.is_file() or (one / "HEAD").exists() for one in folders)


def _look_again(team: Team) -> None:
    # To say which sessions go on; without a service there is nothing to be said.
    with suppress(Refusal):
        team.look()


def left_running(team: Team) -> str:
    """Return which sessions of `team` go on without us, and how to come back to them."""
    going = [one.session for one in team.members if one.session and not one.is_over]
    lines: list[str] = []
    if any(not one.session and one.error is None for one in team.members):
        lines.append("not every session was there yet; those that come go on:")
        lines.append(f"  bullpen list --label run={team.name}")
    if not going:
        return "\n".join(lines) or "no session is at work any more; `bullpen list --all` shows them"
    ids = " ".join(going)
    lines += [
        f"left running: {ids}",
        f"  bullpen attach {going[0]}    watch one and talk to it",
        f"  bullpen wait {ids}    wait for them",
        f"  bullpen stop {ids}    end them; their work is kept",
    ]
    return "\n".join(lines)


def _document(team: Team, args: argparse.Namespace, code: int) -> dict[str, Any]:
    return {
        "run": team.name,
        "seconds": round(time.monotonic() - team.began, 3),
        "exit_code": code,
        "sessions": [_entry(team, member, args) for member in team.members],
    }


def _entry(team: Team, member: Member, args: argparse.Namespace) -> dict[str, Any]:
    files = listed_changes(member.diff)
    entry: dict[str, Any] = {
        "brief": member.brief.source or member.brief.text,
        "title": member.brief.title,
        "session": member.session or None,
        "outcome": member.word if member.error is None else None,
        "seconds": round(member.elapsed, 3),
        "branch": member.record.get("branch"),
        "path": member.record.get("path"),
        "changes": member.changes,
        "files": [
            {"path": path, "insertions": plus, "deletions": minus} for path, plus, minus in files
        ],
        "message": team.last_message(member) if member.session else "",
        "asks": member.asks,
        "answer_with": [answering(member.session, ask) for ask in member.asks],
        "landed": member.landed,
        "landing_error": _error(member.landing_error),
        "error": _error(member.error),
    }
    if args.diff:
        entry["diff"] = member.diff.decode("utf-8", "replace")
    return entry


def _error(refusal: Refusal | None) -> dict[str, str] | None:
    if refusal is None:
        return None
    return {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}
