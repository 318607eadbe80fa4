"""Writes the pages of the documentation that are read from the code.

    python docs/generate.py            writes them
    python docs/generate.py --check    writes nothing; fails when a page is not as it would be

A page that is generated says so in its first line. What it says is changed where it is read from.
"""

import argparse
import ast
import difflib
import inspect
import itertools
import os
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path

import msgspec

from bullpen import errors
from bullpen.cli import main as cli
from bullpen.cli import skill
from bullpen.cli.exits import EXITS, OUTCOMES
from bullpen.model import done, fact, heard, session

DOCS = Path(__file__).resolve().parent


def page(title: str, source: str, *parts: str) -> str:
    """Return a whole page, with the note that it is generated."""
    note = f"<!-- Generated from {source} by docs/generate.py; `make docs` writes it again. -->"
    return "\n\n".join([note, f"# {title}", *(part.strip("\n") for part in parts)]) + "\n"


def table(titles: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table. Bars within cells are quoted."""
    lines = [titles, ["---"] * len(titles), *rows]
    quoted = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in quoted)


def command_line() -> str:
    """Return the page of every verb, from the parser that runs."""
    parser = cli.build_parser()
    (verbs,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    overview = [[f"[`{name}`](#{name})", about] for name, (_, _, about) in cli.VERBS.items()]
    parts = [
        "`bullpen VERB --help` says the same. Results go to stdout, talk and errors to stderr. "
        "With `--json` a verb prints one JSON document on stdout, and an error as "
        '`{"error": {"code", "message", "hint"}}`. How verbs end: [exit codes](exit-codes.md).',
        table(["verb", "what it does"], overview),
    ]
    for name, verb in verbs.choices.items():
        parts += [f"## {name}", verb.description or "", f"`{_usage(name, verb)}`"]
        rows = [_argument(verb, one) for one in verb._actions if one.dest != "help"]
        if rows:
            parts.append(table(["argument", "meaning"], rows))
        if verb.epilog:
            parts.append(verb.epilog[0].upper() + verb.epilog[1:].rstrip(".") + ".")
    return page("Command line", "src/bullpen/cli", *parts)


def _usage(name: str, verb: argparse.ArgumentParser) -> str:
    # argparse's own usage line differs from one version of Python to the next.
    words = ["bullpen", name]
    if any(one.option_strings and one.dest != "help" for one in verb._actions):
        words.append("[OPTION]...")
    for one in verb._actions:
        if not one.option_strings:
            label = _label(one)
            words.append({"+": f"{label}...", "*": f"[{label}...]", "?": f"[{label}]"}.get(
                str(one.nargs), label))  # fmt: skip
    return " ".join(words)


def _label(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return "{" + ",".join(str(one) for one in action.choices) + "}"
    return str(action.metavar or action.dest.upper())


def _argument(verb: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    names = ", ".join(f"`{one}`" for one in action.option_strings) or f"`{_label(action)}`"
    if action.option_strings and action.nargs != 0:
        names += f" `{_label(action)}`"
    return [names, verb._get_formatter()._expand_help(action) if action.help else ""]


def exit_codes() -> str:
    """Return the page of exit codes."""
    codes = [[str(code), name, meaning] for code, name, meaning in EXITS]
    outcomes = [[f"`{word}`", str(code)] for word, code in OUTCOMES.items()]
    return page(
        "Exit codes",
        "src/bullpen/cli/exits.py",
        "A code is never given another meaning. Of several sessions the worst counts: a timeout "
        "outranks a failed turn, which outranks an agent that waits for the user, which outranks "
        "success.",
        table(["code", "name", "meaning"], codes),
        "`ask`, `wait` and `run` end by the outcome of the turn:",
        table(["outcome", "code"], outcomes),
        "Under the name `dev-sessions` the command has the codes of that tool: 0, 1, 124 and 255.",
    )


def error_codes() -> str:
    """Return the page of errors, in the order of their module."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind)
        and issubclass(kind, errors.BullpenError)
        and kind is not errors.BullpenError
    ]
    rows = [[f"`{_code(kind)}`", f"`{kind.__name__}`", first(kind)] for kind in kinds]
    return page(
        "Errors",
        "src/bullpen/errors/",
        "`code` is what scripts and HTTP bodies see, the class is what Python code catches. Each "
        "comes with a message and, where there is something to do, a hint.",
        table(["code", "class", "meaning"], rows),
    )


def _code(kind: type[errors.BullpenError]) -> str:
    if kind is errors.RemoteError:
        return "(the service's)"
    return kind.__new__(kind).code


def states() -> str:
    """Return the page of a session's states, with a picture of every move."""
    meanings = attribute_docs(session, "SessionState")
    rows = [[f"`{one.value}`", meanings[one.name]] for one in session.SessionState]
    drawn = ["stateDiagram-v2", "    [*] --> queued"]
    drawn += [
        f"    {before.value} --> {after.value}"
        for before, afters in session.MOVES.items()
        for after in sorted(afters)
    ]
    return page(
        "States of a session",
        "src/bullpen/model/session.py",
        "Each change is stored with its reason, its evidence and its time.",
        table(["state", "meaning"], rows),
        "```mermaid\n" + "\n".join(drawn) + "\n```",
        "A turn, one prompt until its stop reason, is one of "
        + ", ".join(f"`{one.value}`" for one in session.TurnState)
        + ".",
    )


def facts() -> str:
    """Return the page of every fact that may be stored about a session."""
    parts = [
        "`bullpen events ID` prints one event per line: "
        '`{"session": ID, "seq": N, "at": SECONDS, "fact": {"kind": ...}}`. `seq` counts from 1 '
        "and has no gaps; `at` is UTC. Fields that hold their default are left out."
    ]
    for title, union in (("What agents tell us", fact.AgentFact), ("What we did", fact.OwnFact)):
        parts.append(f"## {title}")
        for kind in typing.get_args(union):
            parts += _fact(kind)
    return page("Facts", "src/bullpen/model/heard.py and done.py", *parts)


def _fact(kind: type[msgspec.Struct]) -> list[str]:
    module = heard if hasattr(heard, kind.__name__) else done
    said = attribute_docs(module, kind.__name__)
    rows = [
        [f"`{one.name}`", _type(one.type), said.get(one.name, "")]
        for one in msgspec.structs.fields(kind)
    ]
    doc = " ".join((kind.__doc__ or "").split())
    return [
        f"### {fact.kebab(kind.__name__)}",
        doc,
        *([table(["field", "type", "meaning"], rows)] if rows else []),
    ]


def _type(kind: object) -> str:
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return " or ".join(_type(one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return f"list of {_type(typing.get_args(kind)[0])}"
    if typing.get_origin(kind) is dict:
        return "object"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    names |= {type(None): "null", typing.Any: "anything"}
    return names.get(kind) or getattr(kind, "__name__", str(kind))


def attribute_docs(module: types.ModuleType, name: str) -> dict[str, str]:
    """Return what the strings under the fields of a class say, which is not there at run time."""
    tree = ast.parse(inspect.getsource(module))
    (body,) = (one.body for one in tree.body if isinstance(one, ast.ClassDef) and one.name == name)
    found: dict[str, str] = {}
    for field, string in itertools.pairwise(body):
        target = field.target if isinstance(field, ast.AnnAssign) else None
        if isinstance(field, ast.Assign):
            target = field.targets[0]
        is_string = isinstance(string, ast.Expr) and isinstance(string.value, ast.Constant)
        if isinstance(target, ast.Name) and is_string:
            found[target.id] = " ".join(str(string.value.value).split())
    return found


def first(kind: type) -> str:
    """Return the first line of a docstring."""
    return (kind.__doc__ or "").strip().split("\n")[0]


def skill_page() -> str:
    """Return the page made of the skill's text."""
    _, _, text = skill.text().split("---\n", 2)
    text = text.replace("# Delegating with bullpen\n", "", 1)
    return page(
        "Delegate from an agent",
        "src/bullpen/cli/skill.md",
        "This is the skill that `bullpen install-skill` gives to Claude Code and Codex, so that "
        "they delegate work by themselves. What follows is addressed to the agent.",
        text,
    )


PAGES: dict[str, Callable[[], str]] = {
    "reference/cli.md": command_line,
    "reference/exit-codes.md": exit_codes,
    "reference/errors.md": error_codes,
    "reference/states.md": states,
    "reference/facts.md": facts,
    "how-to/delegate-from-an-agent.md": skill_page,
}
"""File below `docs/`, and the function that makes its text."""


def stale(folder: Path = DOCS) -> dict[str, str]:
    """Return a diff for each page in `folder` that is not as it would be written."""
    found: dict[str, str] = {}
    for name, make in PAGES.items():
        file = folder / name
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        after = make()
        if before != after:
            lines = difflib.unified_diff(
                before.splitlines(),
                after.splitlines(),
                f"docs/{name}",
                "as it would be",
                lineterm="",
            )
            found[name] = "\n".join(lines)
    return found


def write(folder: Path = DOCS) -> list[str]:
    """Write every page that is not as it would be; return their names."""
    names = list(stale(folder))
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PAGES[name](), encoding="utf-8")
    return names


def main() -> int:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description="Write the generated pages of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    args = parser.parse_args()
    # A reader's own settings must not get into the pages.
    os.environ.pop("BULLPEN_AGENT", None)
    if not args.check:
        for name in write():
            sys.stdout.write(f"wrote docs/{name}\n")
        return 0
    differences = stale()
    for diff in differences.values():
        sys.stderr.write(diff[:4000] + "\n")
    if differences:
        names = ", ".join(f"docs/{name}" for name in differences)
        sys.stderr.write(f"error: not as the code says: {names}\nhint: run `make docs`\n")
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())
