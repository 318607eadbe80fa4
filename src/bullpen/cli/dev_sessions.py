"""The `dev-sessions` command: the same sessions for scripts and skills made for that tool.

Commands, flags, messages and exit codes (0, 1, 124, 255) are those of dev-sessions 0.4. It differs
where that tool could only hang or lie: `wait` ends with code 1 and a line when the agent asks
something, `status` fails for an agent that died, `kill --all` goes on after a failure, and
messages arrive whatever they hold; goals are for every agent, not for Codex alone. What it has and
we do not (hosts over SSH, the Docker gateway) is refused with a sentence.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from bullpen.cli import dev_goals, dev_verbs
from bullpen.cli.dev_verbs import failure
from bullpen.cli.exits import DONE, ERROR, INTERRUPTED, UNREACHABLE, Refusal
from bullpen.cli.main import guarded, parsed
from bullpen.cli.show import talk

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import NoReturn

    Adding = Callable[[argparse.ArgumentParser], None]
    Running = Callable[[argparse.Namespace], int]

_OWN_CODES = (ERROR, 124, INTERRUPTED, UNREACHABLE)
_REQUIRED = "the following arguments are required: "
_UNKNOWN = "unrecognized arguments: "


class DevParser(argparse.ArgumentParser):
    """An argument parser that words its complaints as dev-sessions does."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        if message.startswith(_REQUIRED):
            first = message.removeprefix(_REQUIRED).split(",")[0]
            message = f"missing required argument '{first}'"
        elif message.startswith(_UNKNOWN):
            message = f"unknown option '{message.removeprefix(_UNKNOWN).split()[0]}'"
        raise failure(f"error: {message}")


def _add_create(parser: argparse.ArgumentParser) -> None:
    path = os.environ.get("HOST_PATH") if os.environ.get("DEV_SESSIONS_SANDBOX") == "1" else None
    parser.add_argument("-p", "--path", default=path or ".", help="Workspace path")
    parser.add_argument("-d", "--description", help="Optional description for the session")
    parser.add_argument("--cli", default="claude", help="Agent CLI backend")
    parser.add_argument("-m", "--mode", default="native", help="Session mode: native")
    parser.add_argument("--model", help="Model to use")
    parser.add_argument("--host", help="Not supported")
    parser.add_argument("--id", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="Output machine-readable JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="Only print session ID")


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", help="Session ID")


def _add_message(parser: argparse.ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument("message", nargs="?", help="Message text")
    parser.add_argument("-f", "--file", help="Read the message from a file, - is stdin")


def _add_ask(parser: argparse.ArgumentParser) -> None:
    _add_message(parser)
    parser.add_argument("-t", "--timeout", default="300", help="Timeout in seconds")


def _add_wait(parser: argparse.ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument("-t", "--timeout", default="300", help="Timeout in seconds")
    parser.add_argument("-i", "--interval", default="2", help="Accepted; nothing is polled")
    parser.add_argument("--goal", action="store_true", help="Wait until its goal is over")
    parser.add_argument("--next-turn", action="store_true", help="codex: wait for the next turn")


def _add_last_message(parser: argparse.ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument("-n", "--count", default="1", help="Number of assistant text blocks")
    _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Output machine-readable JSON")


def _add_logs(parser: argparse.ArgumentParser) -> None:
    _add_id(parser)
    _add_json(parser)


def _add_kill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", help="Session ID")
    parser.add_argument("--all", action="store_true", help="Kill all active sessions")
    parser.add_argument("--older-than", help="Kill sessions not used for 30m, 72h, 7d")


def _add_goal(parser: argparse.ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument("objective", nargs="*", help="Objective of the goal")
    parser.add_argument("--budget", help="Token budget")
    parser.add_argument("-f", "--file", help="Read the objective from a file")
    for name in ("pause", "resume", "clear"):
        parser.add_argument(f"--{name}", action="store_true")
    _add_json(parser)


def _add_gateway(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?")
    parser.add_argument("--port")


def _add_skill(parser: argparse.ArgumentParser) -> None:
    import_module("bullpen.cli.skill").add_install_skill(parser)


def _install_skill(args: argparse.Namespace) -> int:
    code: int = import_module("bullpen.cli.skill").install_skill(args)
    return code


COMMANDS: dict[str, tuple[Adding, Running, str]] = {
    "create": (_add_create, dev_verbs.create, "Create a new agent session"),
    "send": (_add_message, dev_verbs.send, "Send a message to a session"),
    "ask": (_add_ask, dev_verbs.ask, "Send a message, wait, and print the reply"),
    "kill": (_add_kill, dev_verbs.kill, "Kill sessions and remove them from the store"),
    "list": (_add_json, dev_verbs.list_sessions, "List active sessions"),
    "last-message": (_add_last_message, dev_verbs.last_message, "Get the last assistant messages"),
    "status": (_add_id, dev_verbs.status, "Get status: idle | working | waiting_for_input"),
    "wait": (_add_wait, dev_goals.wait, "Wait until the assistant responded"),
    "logs": (_add_logs, dev_verbs.logs, "Show the conversation of a session"),
    "inspect": (_add_id, dev_verbs.inspect, "Dump the session record as JSON"),
    "goal": (_add_goal, dev_goals.goal, "Show, set or change the goal of a session"),
    "gateway": (_add_gateway, dev_verbs.gateway, "Not supported"),
    "install-skill": (_add_skill, _install_skill, "Install the skill for Claude Code and Codex"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line of dev-sessions and return its exit code: 0, 1, 124 or 255 (130 when
    interrupted). Errors are one plain line on stderr, advice a second one."""
    words = list(sys.argv[1:] if argv is None else argv)

    def act() -> int:
        try:
            return _dispatch(words)
        except Refusal as refusal:
            return _report(dev_verbs.translated(refusal))

    return guarded(act, as_json=False)


def _report(refusal: Refusal) -> int:
    talk(refusal.message)
    if refusal.hint:
        talk(f"[dev-sessions] {refusal.hint}")
    return refusal.exit_code if refusal.exit_code in _OWN_CODES else ERROR


def _dispatch(words: list[str]) -> int:
    if not words:
        sys.stderr.write(f"{_overview()}(outputHelp)\n")
        return ERROR
    first, rest = words[0], words[1:]
    if first in ("-V", "--version"):
        print(import_module("importlib.metadata").version("bullpen"))
        return DONE
    if first in ("-h", "--help") or (first == "help" and not rest):
        print(_overview(), end="")
        return DONE
    if first == "help":
        print(_parser(rest[0]).format_help(), end="")
        return DONE
    return COMMANDS[first][1](parsed(_parser(first), rest)) if first in COMMANDS else _miss(first)


def _parser(command: str) -> DevParser:
    if command not in COMMANDS:
        _miss(command)
    add, _, about = COMMANDS[command]
    parser = DevParser(prog=f"dev-sessions {command}", description=about, allow_abbrev=False)
    add(parser)
    return parser


def _miss(word: str) -> NoReturn:
    kind = "option" if word.startswith("-") else "command"
    near = import_module("difflib").get_close_matches(word, COMMANDS, n=1, cutoff=0.5)
    guess = f"\n(Did you mean {near[0]}?)" if near else ""
    raise failure(f"error: unknown {kind} '{word}'{guess}")


def _overview() -> str:
    lines = [f"  {command:<16}{about}\n" for command, (_, _, about) in COMMANDS.items()]
    return (
        "Usage: dev-sessions [options] [command]\n\nSpawn and manage coding agent sessions\n\n"
        f"Options:\n  -V, --version   output the version number\n"
        f"  -h, --help      display help for command\n\nCommands:\n{''.join(lines)}"
    )
