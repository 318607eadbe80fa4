"""Scripts: what the model says, read from YAML or from a prompt.

    final: All done.                  # said when a script is at its end; default `done`
    model: scripted-1
    prompt: Say hello.                # what `bullpen rehearse` sends when nobody else says
    replies:
      - when: hello                   # a piece of the prompt, or /a regular expression/
        steps:
          - text: I will write it.
          - write: {path: hello.txt, content: "hello\n"}
          - run: cat hello.txt

The first reply whose `when` is in the prompt answers it; one without `when` answers every prompt.
Each step is one answer of the model. A step that uses a tool is followed by the next step when the
tool's result comes back; the first `text` behind the last tool ends the turn.

A prompt may carry its own script in one line, which wins over the file:
`%%write path=hello.txt;;run cat hello.txt;;text well done`.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec
import yaml

MARK: Final = "%%"
"""Begins a script in a prompt. Agents give `@`, `/`, `!` and `#` meanings of their own."""
FINAL: Final = "done"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the model."""

    verb: str
    """A key of `VERBS`."""
    argument: Any = None
    say: str = ""
    """Text said before a tool is used."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What answers the prompts that `when` fits."""

    steps: list[Step]
    when: str = ""
    final: str | None = None


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A whole script."""

    replies: list[Reply] = []
    final: str = FINAL
    model: str = "scripted-1"
    prompt: str = ""
    input_tokens: int = 100
    output_tokens: int = 10


class ScriptInvalid(Exception):
    """A script does not say what it must; the text says where and why."""


VERBS: Final[Mapping[str, str]] = {
    "text": "say this and end the turn, unless it stands before a tool",
    "think": "think this, where the model can, then go on with the next step",
    "write": "write a file with the agent's own tool: `{path, content}`",
    "edit": "change a file with the agent's own tool: `{path, old, new}`",
    "read": "read a file with the agent's own tool",
    "run": "run a shell line with the agent's own tool",
    "escalate": "run a shell line, asking to leave the sandbox where the agent has one",
    "patch": "apply a patch with the agent's `apply_patch`: `{path, content}` adds a file",
    "mcp": "use a tool of an MCP server: `{server, tool, arguments}`",
    "tool": "use any tool by its name: `{name, arguments}`",
    "ask": "ask the user with the agent's own tool, where it has one: `{question, options}`",
    "together": "use the tools of these steps in one answer: a list",
    "slow": "say many words over this many seconds: `2`, or `{seconds, words}`",
    "stall": "say nothing for this many seconds, then go on with the next step",
    "error": "answer with an error: a status, or `{status, type, message, retry_after, headers}`",
    "usage": "say from here on that an answer used so many tokens: `{input, output}`",
}
"""Every step and what it means; documented in `docs/how-to/rehearse.md`."""
_INLINE: Final = {"bash": "run", "esc": "escalate"}
_TOP: Final = ("final", "model", "prompt", "replies", "usage")
_IN_REPLY: Final = ("when", "steps", "final")


# ---- a file ------------------------------------------------------------------------------------


class _Lines(yaml.SafeLoader):
    """Keeps the line of every mapping, for the words of an error."""


def _mapping(loader: _Lines, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    found = cast("dict[Any, Any]", loader.construct_mapping(node, deep=True))  # pyright: ignore
    return found | {"__line__": node.start_mark.line + 1}


_Lines.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_script(text: str) -> Script:
    """Return the script `text` holds.

    Raises:
        ScriptInvalid: it is no YAML, or a key, a step or a value is wrong; with the line.
    """
    try:
        # A subclass of the safe loader: no tag makes an object.
        raw: Any = yaml.load(text, Loader=_Lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ScriptInvalid(f"{where}no YAML: {getattr(error, 'problem', error)}") from error
    top = _fields(raw, "the script", _TOP)
    usage = _fields(top.get("usage") or {}, "usage", ("input", "output"))
    listed = top.get("replies")
    if not isinstance(listed, list) or not listed:
        raise ScriptInvalid("`replies` must be a list of at least one reply")
    return Script(
        replies=[_reply(one) for one in cast("list[Any]", listed)],
        final=str(top.get("final", FINAL)),
        model=str(top.get("model", "scripted-1")),
        prompt=str(top.get("prompt", "")),
        input_tokens=_count(usage.get("input", 100)),
        output_tokens=_count(usage.get("output", 10)),
    )


def _fields(raw: Any, what: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ScriptInvalid(f"{what} must be a mapping, not {type(raw).__name__}")
    fields = cast("dict[str, Any]", raw)
    line = fields.get("__line__")
    for key in fields:
        if key != "__line__" and key not in allowed:
            raise ScriptInvalid(
                f"{_at(line)}{what} has no key {key!r}; it has {', '.join(allowed)}"
            )
    return fields


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ScriptInvalid(f"tokens are counted in whole numbers, not {value!r}")
    return value


def _reply(raw: Any) -> Reply:
    fields = _fields(raw, "a reply", _IN_REPLY)
    line = fields.get("__line__")
    when = str(fields.get("when", ""))
    if len(when) > 1 and when.startswith("/") and when.endswith("/"):
        try:
            re.compile(when[1:-1])
        except re.error as error:
            raise ScriptInvalid(f"{_at(line)}`when` is no regular expression: {error}") from error
    steps = fields.get("steps")
    if not isinstance(steps, list) or not steps:
        raise ScriptInvalid(f"{_at(line)}a reply needs `steps`, a list of at least one")
    final = fields.get("final")
    made = [_step(one, line) for one in cast("list[Any]", steps)]
    return Reply(steps=_joined(made), when=when, final=None if final is None else str(final))


def _at(line: int | None) -> str:
    return f"line {line}: " if line else ""


def _step(raw: Any, line: int | None) -> Step:
    if isinstance(raw, str):
        return Step(verb="text", argument=raw)
    fields = dict(cast("dict[str, Any]", raw)) if isinstance(raw, dict) else {}
    line = fields.pop("__line__", line)
    if len(fields) != 1:
        raise ScriptInvalid(f"{_at(line)}a step has one key, the verb: {', '.join(VERBS)}")
    ((verb, argument),) = fields.items()
    if verb not in VERBS:
        raise ScriptInvalid(f"{_at(line)}no step is called {verb!r}; known: {', '.join(VERBS)}")
    try:
        return Step(verb=verb, argument=_checked(verb, _plain(argument)))
    except (ValueError, TypeError, ScriptInvalid) as error:
        raise ScriptInvalid(f"{_at(line)}{verb}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {key: _plain(each) for key, each in pairs if key != "__line__"}
    if isinstance(value, list):
        return [_plain(each) for each in cast("list[Any]", value)]
    return value


_NEEDS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "write": (("path",), ("content",)),
    "patch": (("path",), ("content",)),
    "edit": (("path", "old", "new"), ()),
    "mcp": (("tool",), ("server", "arguments")),
    "tool": (("name",), ("arguments",)),
    "ask": (("question",), ("options",)),
    "usage": ((), ("input", "output")),
    "slow": (("seconds",), ("words",)),
    "error": (("status",), ("type", "message", "retry_after", "headers")),
}
_SHORT: Final = {
    "slow": "seconds",
    "error": "status",
    "mcp": "tool",
    "write": "path",
    "ask": "question",
}
# What a plain value means where a mapping is expected.


def _checked(verb: str, argument: Any) -> Any:
    if verb == "stall":
        return _seconds(argument)
    if verb == "together":
        return _tools_of(argument)
    if verb not in _NEEDS:
        if not isinstance(argument, str | int | float):
            raise TypeError("expected a text")
        return str(argument)
    if not isinstance(argument, dict) and verb in _SHORT:
        argument = {_SHORT[verb]: argument}
    if not isinstance(argument, dict):
        raise TypeError("expected a mapping")
    return _checked_fields(verb, cast("dict[str, Any]", argument))


def _checked_fields(verb: str, fields: dict[str, Any]) -> dict[str, Any]:
    needed, optional = _NEEDS[verb]
    if missing := [key for key in needed if key not in fields]:
        raise ValueError(f"`{missing[0]}` is missing")
    if odd := [key for key in fields if key not in (*needed, *optional)]:
        raise ValueError(f"it has no key {odd[0]!r}; it has {', '.join((*needed, *optional))}")
    _check_values(fields)
    if verb == "usage":
        return {key: _count(value) for key, value in fields.items()}
    return fields


def _check_values(fields: dict[str, Any]) -> None:
    for key in ("seconds", "retry_after"):
        if key in fields:
            fields[key] = _seconds(fields[key])
    for key, kind, what in _KINDS:
        if not isinstance(fields.get(key, kind()), kind):
            raise ValueError(f"`{key}` must be {what}")
    if not 400 <= int(fields.get("status", 400)) < 600:
        raise ValueError(f"status {fields['status']} is no error")


_KINDS: Final = (
    ("arguments", dict, "a mapping"),
    ("headers", dict, "a mapping"),
    ("options", list, "a list"),
)
_LONGEST: Final = 86400.0


def _seconds(value: Any) -> float:
    """Read `2`, `0.5` or `2s`."""
    seconds = float(value.strip().removesuffix("s") if isinstance(value, str) else value)
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"{value!r} is no number of seconds from 0 to a day")
    return seconds


_ALONE: Final = ("text", "think", "slow", "stall", "error", "usage", "together")


def _tools_of(argument: Any) -> list[Step]:
    if not isinstance(argument, list) or not argument:
        raise TypeError("expected a list of steps that use tools")
    steps = [_step(each, None) for each in cast("list[Any]", argument)]
    if odd := [step.verb for step in steps if step.verb in _ALONE]:
        raise ValueError(f"{odd[0]} uses no tool")
    return steps


_TALK: Final = ("text",)


def _joined(steps: list[Step]) -> list[Step]:
    """Put a text that stands before a tool into the tool's own answer: a model says both at once,
    and an agent takes an answer without a tool for the end of the turn."""
    joined: list[Step] = []
    said = ""
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        if step.verb in _TALK and not last:
            said += ("\n\n" if said else "") + step.argument
            continue
        if said and step.verb in _TALK:
            step = msgspec.structs.replace(step, argument=f"{said}\n\n{step.argument}")
        elif said:
            step = msgspec.structs.replace(step, say=said)
        joined.append(step)
        said = ""
    return joined


# ---- a prompt ----------------------------------------------------------------------------------


def read_inline(text: str) -> list[Step] | None:
    """Return the script the first line with `%%` in a prompt holds, None when there is none.

    Never raises: what is wrong in it becomes a text that says so.
    """
    found = re.search(r"%%([a-z].*)", text)
    if found is None:
        return None
    return [_inline(each.strip()) for each in found.group(1).split(";;") if each.strip()]


def _inline(piece: str) -> Step:
    verb, _, rest = piece.lstrip("%").partition(" ")
    verb = _INLINE.get(verb, verb)
    # Side requests quote the prompt, and the closing quote is theirs.
    rest = rest.strip().rstrip('"')
    try:
        if verb not in VERBS:
            raise ValueError(f"no step is called {verb!r}")
        return Step(verb=verb, argument=_checked(verb, _inline_argument(verb, rest)))
    except (ValueError, TypeError, ScriptInvalid) as error:
        return Step(verb="text", argument=f"bad script {piece!r}: {error}")


def _inline_argument(verb: str, rest: str) -> Any:
    if rest.startswith("{"):
        return json.loads(rest)
    read = _READERS.get(verb)
    return rest if read is None else read(rest)


def _tool_named(rest: str) -> dict[str, Any]:
    name, _, arguments = rest.partition(" ")
    return {"name": name, "arguments": json.loads(arguments or "{}")}


def _only_in_a_file(rest: str) -> Any:
    raise ValueError("it needs a file")


def _pairs(rest: str) -> dict[str, str]:
    """Read `path=a.txt content=some words to the end`."""
    found: dict[str, str] = {}
    for match in re.finditer(r"(path|content|old|new)=(.*?)(?=\s+(?:content|old|new)=|$)", rest):
        found[match[1]] = match[2].replace("\\n", "\n")
    return found


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "write": lambda rest: _pairs(rest) or {"path": "hello.txt"},
    "patch": lambda rest: _pairs(rest) or {"path": "hello.txt"},
    "edit": lambda rest: _pairs(rest),
    "mcp": lambda rest: {"tool": "echo", "arguments": {"text": rest or "hi"}},
    "tool": _tool_named,
    "slow": lambda rest: rest or 10,
    "error": lambda rest: int(rest or 500),
    "ask": lambda rest: {"question": rest or "Which?"},
    "together": _only_in_a_file,
}
# How the words behind a verb are read, where they are not simply a text.
