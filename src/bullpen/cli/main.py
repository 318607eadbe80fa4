"""The `bullpen` command: find the verb, load its module alone, run it, report how it went.

A verb's module is imported by name when the verb was typed. Thirty verbs share this process's
start, and a `status` in a shell loop must not pay for the imports of `doctor`; an import at the
top for each would cost it more than Python itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from bullpen.cli.exits import DONE, INTERRUPTED, USAGE, Refusal, usage
from bullpen.cli.show import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import NoReturn

VERBS: dict[str, tuple[str, str, str]] = {
    "run": ("bullpen.cli.run", "run", "give briefs to agents in parallel and watch them"),
    "create": ("bullpen.cli.creating", "create", "start an agent in a session of its own"),
    "send": ("bullpen.cli.turns", "send", "give a session a prompt"),
    "ask": ("bullpen.cli.turns", "ask", "send a prompt and print the reply"),
    "wait": ("bullpen.cli.waiting", "wait", "wait until sessions are done or need you"),
    "last-message": ("bullpen.cli.history", "last_message", "print what the agent said last"),
    "status": ("bullpen.cli.sessions", "status", "print the state of a session"),
    "list": ("bullpen.cli.listing", "list_sessions", "list sessions"),
    "logs": ("bullpen.cli.history", "logs", "print the conversation"),
    "inspect": ("bullpen.cli.sessions", "inspect", "print all that is known of a session"),
    "events": ("bullpen.cli.events", "events", "print events as JSON lines, or follow them"),
    "attach": ("bullpen.cli.attach", "attach", "watch a session live and talk to it"),
    "screen": ("bullpen.cli.terminal", "screen", "print what a terminal session shows"),
    "switch": ("bullpen.cli.terminal", "switch", "hand a conversation over to or from a terminal"),
    "answer": ("bullpen.cli.asks", "answer", "allow, deny or answer what an agent asks"),
    "approvals": ("bullpen.cli.leave", "approvals", "list what agents wait for, in all sessions"),
    "approve": ("bullpen.cli.leave", "approve", "allow what an agent asks"),
    "deny": ("bullpen.cli.leave", "deny", "refuse what an agent asks"),
    "policy": ("bullpen.cli.policy", "policy", "rules about what agents may do without asking"),
    "interrupt": ("bullpen.cli.sessions", "interrupt", "end the running turn"),
    "resume": ("bullpen.cli.sessions", "resume", "bring a session back that is over"),
    "rename": ("bullpen.cli.sessions", "rename", "give a session another title"),
    "stop": ("bullpen.cli.ending", "stop", "end agents in good order; their work is kept"),
    "kill": ("bullpen.cli.ending", "kill", "end agents at once; their work is kept"),
    "remove": ("bullpen.cli.ending", "remove", "forget sessions and remove their worktrees"),
    "diff": ("bullpen.cli.landing", "diff", "print what a session changed"),
    "land": ("bullpen.cli.landing", "land", "merge a session's branch"),
    "goal": ("bullpen.cli.money", "goal", "have a session work until something is reached"),
    "limits": ("bullpen.cli.money", "limits", "list usage limits that are reached"),
    "cost": ("bullpen.cli.money", "cost", "add up tokens and money"),
    "budget": ("bullpen.cli.money", "budget", "set what a session may spend"),
    "rehearse": ("bullpen.cli.rehearse", "rehearse", "try a real agent with a scripted model"),
    "agents": ("bullpen.cli.machine", "agents", "list the agents of the catalog"),
    "doctor": ("bullpen.cli.machine", "doctor", "look for what is wrong, and mend it"),
    "prune": ("bullpen.cli.machine", "prune", "free what old sessions hold"),
    "serve": ("bullpen.cli.serving", "serve", "run the service, or ask for it, or end it"),
    "install-skill": ("bullpen.cli.skill", "install_skill", "teach your agent to use bullpen"),
    "completion": ("bullpen.cli.completion", "completion", "print a completion script"),
}
"""Every verb: the module that has it, the function in it, and what it does in a few words."""

_INTRODUCTION = "Run a team of coding agents in parallel on your repositories."
_HELP_WORDS = ("-h", "--help", "help")


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake as a `Refusal` and accepts no abbreviation."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, allow_abbrev=False, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise usage(message, hint=" ".join(self.format_usage().split()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Prints results on stdout, talk on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(words), as_json=wants_json(words))


def guarded(act: Callable[[], int], *, as_json: bool) -> int:
    """Return what `act` returns, with refusals, Ctrl-C and a closed stdout turned into codes.

    A reader that goes away, as in `bullpen events ID --follow | head -1`, is no error. A bug
    keeps its traceback.
    """
    try:
        code = act()
        sys.stdout.flush()
    except Refusal as refusal:
        return report(refusal, as_json=as_json)
    except KeyboardInterrupt:
        interrupted = Refusal(
            "interrupted",
            "interrupted",
            hint="agents go on; `bullpen list` shows them",
            exit_code=INTERRUPTED,
        )
        return report(interrupted, as_json=as_json)
    except BrokenPipeError:
        # Else Python complains again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return code


def report(refusal: Refusal, *, as_json: bool) -> int:
    """Print `refusal` for a program on stdout or for people on stderr; return its exit code."""
    if as_json:
        error = {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}
        print(json.dumps({"error": error}, indent=2), flush=True)
        return refusal.exit_code
    # Messages may quote what an agent wrote.
    print(f"error: {harmless(refusal.message)}", file=sys.stderr)
    if refusal.hint:
        print(f"hint: {harmless(refusal.hint)}", file=sys.stderr)
    return refusal.exit_code


def wants_json(words: Sequence[str]) -> bool:
    """Say whether `--json` was given, even on a command line that is wrong otherwise."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def _dispatch(words: list[str]) -> int:
    if not words:
        sys.stderr.write(_overview())
        return USAGE
    first, rest = words[0], words[1:]
    if first in ("-V", "--version"):
        # Reading package metadata costs more than all else a verb does.
        version = import_module("importlib.metadata").version("bullpen")
        print(f"bullpen {version}")
        return DONE
    if first in _HELP_WORDS:
        return _help(rest)
    if first not in VERBS:
        raise _unknown(first)
    add, run = _functions(first)
    parser = Parser(prog=f"bullpen {first}", description=_sentence(VERBS[first][2]))
    add(parser)
    return run(parsed(parser, rest))


def _help(words: list[str]) -> int:
    verb = words[0] if words and words[0] not in _HELP_WORDS else ""
    if not verb:
        print(_overview(), end="")
        return DONE
    if verb not in VERBS:
        raise _unknown(verb)
    parser = Parser(prog=f"bullpen {verb}", description=_sentence(VERBS[verb][2]))
    _functions(verb)[0](parser)
    print(parser.format_help(), end="")
    return DONE


def _unknown(word: str) -> Refusal:
    if word.startswith("-"):
        return usage(f"unknown option {word!r}", hint="`bullpen --help` lists the verbs")
    near = import_module("difflib").get_close_matches(word, VERBS, n=2, cutoff=0.6)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    return usage(f"unknown verb {word!r}", hint=f"{guess}`bullpen --help` lists the verbs")


def _functions(
    verb: str,
) -> tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]:
    module, name, _ = VERBS[verb]
    loaded = import_module(module)
    return getattr(loaded, f"add_{name}"), getattr(loaded, name)


def _overview() -> str:
    width = max(map(len, VERBS)) + 2
    lines = [f"  {verb:<{width}}{about}\n" for verb, (_, _, about) in VERBS.items()]
    return (
        f"usage: bullpen [-V | --version] [-h | --help] VERB ...\n\n{_INTRODUCTION}\n\n"
        f"verbs:\n{''.join(lines)}\n"
        "`bullpen help VERB` says more. `--json` prints results and errors for a program.\n"
    )


def _sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}."


def parsed(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Return the arguments in `words`, options and positionals in any order.

    What stands behind `--` comes out as it went in, be it `-x` or another `--`: argparse of
    Python 3.11 and 3.12 takes such words apart, so it gets to see stand-ins, which hold a NUL
    and can therefore not be confused with a real word.
    """
    split = words.index("--") if "--" in words else len(words)
    literal = {f"\0{index}": word for index, word in enumerate(words[split + 1 :])}
    args = parser.parse_intermixed_args([*words[:split], *literal])
    for name, value in vars(args).items():
        if isinstance(value, str):
            setattr(args, name, literal.get(value, value))
        elif isinstance(value, list):
            setattr(args, name, [_meant(literal, each) for each in value])  # pyright: ignore
    return args


def _meant(literal: dict[str, str], value: object) -> object:
    return literal.get(value, value) if isinstance(value, str) else value


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command, for documentation and completion.

    Loads the module of every verb, so no verb calls this but `completion`.
    """
    parser = Parser(prog="bullpen", description=_INTRODUCTION)
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    for verb, (_, _, about) in VERBS.items():
        add, _ = _functions(verb)
        add(verbs.add_parser(verb, help=about, description=_sentence(about)))
    return parser
