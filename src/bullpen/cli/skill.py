"""`bullpen install-skill`: teaches the user's own agents what `bullpen` is for.

The text is `skill.md` next to this file, with the exit codes filled in from their table. The page
in the documentation is made of the same text.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bullpen.cli.exits import DONE, EXITS, Refusal, usage
from bullpen.cli.options import add_json
from bullpen.cli.show import say, say_json

NAME = "bullpen"
_SOURCE = Path(__file__).with_name("skill.md")
_EXITS_MARK = "<!-- exit codes -->"


def add_install_skill(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `install-skill`."""
    parser.add_argument("--global", dest="everywhere", action="store_true", help="for your user")
    parser.add_argument("--local", dest="here", action="store_true", help="for this directory")
    parser.add_argument("--claude", action="store_true", help="for Claude Code")
    parser.add_argument("--codex", action="store_true", help="for Codex")
    add_json(parser)


def install_skill(args: argparse.Namespace) -> int:
    """Write the skill where Claude Code and Codex look for skills; replaces an older one.

    Without `--claude` or `--codex` it is written for those that have a folder in the user's home,
    and for Claude Code when neither has.
    """
    if args.everywhere and args.here:
        raise usage("Cannot use both --global and --local")
    home = Path.home()
    base = Path.cwd() if args.here else home
    installed: list[dict[str, str]] = []
    for folder in _folders(args, home):
        file = base / folder / "skills" / NAME / "SKILL.md"
        _write(file)
        installed.append({"name": NAME, "file": str(file)})
        if not args.json:
            say(f"Installed skill: {NAME} → {file}")
    if args.json:
        say_json({"installed": installed})
    return DONE


def text() -> str:
    """Return the whole skill, as it is installed."""
    table = ["| code | meaning |", "|---|---|"]
    table += [f"| {code} | {name}: {meaning} |" for code, name, meaning in EXITS]
    return _SOURCE.read_text(encoding="utf-8").replace(_EXITS_MARK, "\n".join(table))


def _folders(args: argparse.Namespace, home: Path) -> list[str]:
    chosen = [name for name in ("claude", "codex") if getattr(args, name)]
    if not chosen:
        chosen = [name for name in ("claude", "codex") if (home / f".{name}").is_dir()]
    if not chosen:
        print(
            "No ~/.claude or ~/.codex found; defaulting to Claude Code.",
            file=sys.stderr if args.json else sys.stdout,
            flush=True,
        )
        chosen = ["claude"]
    return [f".{name}" for name in chosen]


def _write(file: Path) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text(), encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise Refusal("file-unwritable", f"cannot write {str(file)!r}: {error.strerror}") from error
