"""From a step to a call of the tool the agent really offers."""

import json
import posixpath
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bullpen.testing.model.reading import within
from bullpen.testing.model.script import Step


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One tool call. `text` is the input of a free-form tool, which takes no JSON."""

    name: str
    arguments: dict[str, Any] = {}
    text: str | None = None
    namespace: str | None = None


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One tool an agent offers."""

    properties: Mapping[str, Any] = {}
    is_free: bool = False
    namespace: str | None = None


_WRITERS: Final = ("Write", "write_file", "write", "create_file")
_EDITORS: Final = ("Edit", "replace", "edit", "str_replace")
_READERS: Final = ("Read", "read_file", "read")
_SHELLS: Final = (
    "Bash",
    "bash",
    "run_shell_command",
    "exec_command",
    "shell_command",
    "shell",
    "local_shell",
    "exec",
)
_ASKERS: Final = ("AskUserQuestion", "ask_user", "request_user_input", "question")
_PATHS: Final = ("file_path", "filePath", "absolute_path", "path", "filepath")
_OLDS: Final = ("old_string", "oldString", "oldText", "old_str", "old")
_NEWS: Final = ("new_string", "newString", "newText", "new_str", "new")


class Tools:
    """What one request offers, and how each step is done with it."""

    def __init__(self, offered: Mapping[str, Offer], *, directory: str | None = None) -> None:
        self._offered = offered
        self._directory = directory
        """Where the agent works; relative paths are made absolute with it."""

    @property
    def names(self) -> list[str]:
        """The names of all tools."""
        return list(self._offered)

    def calls(self, step: Step) -> tuple[Call, ...]:
        """Return how `step` is done; nothing when it needs no tool, or no tool can do it."""
        if step.verb == "together":
            return tuple(call for each in step.argument for call in self.calls(each))
        make = getattr(self, f"_{step.verb}", None)
        if make is None or not self._offered:
            return ()
        call: Call | None = make(step.argument)
        return () if call is None else (call,)

    def _write(self, wanted: dict[str, Any]) -> Call:
        path, content = self._path(wanted["path"]), str(wanted.get("content", "hello\n"))
        name = self._first(_WRITERS)
        if name is None:
            return self._run(f"mkdir -p {_folder(path)} && cat > {path} <<'EOF'\n{content}EOF")
        return self._with(name, {_PATHS: path, ("content",): content})

    def _edit(self, wanted: dict[str, Any]) -> Call:
        path = self._path(wanted["path"])
        old, new = str(wanted["old"]), str(wanted["new"])
        name = self._first(_EDITORS)
        if name is None:
            return self._run(_replacing(path, old, new))
        if "edits" in self._offered[name].properties:
            edits = [{"oldText": old, "newText": new}]
            return self._with(name, {_PATHS: path, ("edits",): edits})
        said = {("instruction",): "scripted change"}
        return self._with(name, {_PATHS: path, _OLDS: old, _NEWS: new, **said})

    def _read(self, path: str) -> Call:
        name = self._first(_READERS)
        if name is None:
            return self._run(f"cat {self._path(path)}")
        return self._with(name, {_PATHS: self._path(path)})

    def _run(self, line: str) -> Call:
        name = self._first(_SHELLS)
        if name is None:
            return Call(name="no-shell-tool", arguments={"have": self.names})
        if name == "exec_command":
            return self._named(name, {"cmd": line})
        if name in ("shell", "local_shell"):
            return self._named(name, {"command": ["bash", "-lc", line]})
        if name == "exec":
            body = json.dumps({"cmd": line})
            text = f"const r = await tools.exec_command({body}); text(r.output);"
            return Call(name=name, text=text)
        return self._with(name, {("command",): line, ("description",): "scripted command"})

    def _escalate(self, line: str) -> Call:
        call = self._run(line)
        if call.name in ("exec_command", "shell", "shell_command"):
            more = {"sandbox_permissions": "require_escalated", "justification": "scripted"}
            return msgspec.structs.replace(call, arguments=call.arguments | more)
        return call

    def _patch(self, wanted: dict[str, Any]) -> Call:
        lines = str(wanted.get("content", "hello\n")).splitlines()
        body = "".join(f"+{line}\n" for line in lines)
        text = f"*** Begin Patch\n*** Add File: {wanted['path']}\n{body}*** End Patch\n"
        if "apply_patch" in self._offered:
            return Call(name="apply_patch", text=text)
        return self._run(f"apply_patch <<'EOF'\n{text}EOF")

    def _mcp(self, wanted: dict[str, Any]) -> Call:
        server, tool = str(wanted.get("server", "")), str(wanted["tool"])
        arguments: dict[str, Any] = wanted.get("arguments") or {}
        for name, offer in self._offered.items():
            whole = f"{offer.namespace or ''}__{name}"
            if tool in name and server in whole and ("mcp" in whole or offer.namespace or server):
                return self._named(name, arguments)
        for name in self._offered:
            if tool in name:
                return self._named(name, arguments)
        return Call(name=f"no-tool-{tool}", arguments={"have": self.names})

    def _tool(self, wanted: dict[str, Any]) -> Call:
        return self._named(str(wanted["name"]), wanted.get("arguments") or {})

    def _ask(self, wanted: dict[str, Any]) -> Call | None:
        name = self._first(_ASKERS)
        if name is None:
            return None
        options = [str(each) for each in wanted.get("options") or ("Yes", "No")]
        question = {
            "id": "question",
            "header": "Question",
            "question": str(wanted["question"]),
            "type": "choice",
            "multiSelect": False,
            "options": [{"label": each, "description": each} for each in options],
        }
        known = within(self._offered[name].properties, "questions", "items", "properties")
        fitting = {key: value for key, value in question.items() if key in known or not known}
        return self._named(name, {"questions": [fitting]})

    def _first(self, names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in self._offered), None)

    def _named(self, name: str, arguments: dict[str, Any]) -> Call:
        offer = self._offered.get(name, Offer())
        return Call(name=name, arguments=arguments, namespace=offer.namespace)

    def _with(self, name: str, values: Mapping[tuple[str, ...], Any]) -> Call:
        """Give each value the first of its names that the tool knows."""
        known = self._offered[name].properties
        arguments: dict[str, Any] = {}
        for names, value in values.items():
            fitting = next((each for each in names if each in known), None)
            if fitting is not None:
                arguments[fitting] = value
            elif not known:
                arguments[names[0]] = value
        return self._named(name, arguments)

    def _path(self, path: str) -> str:
        if self._directory is None or path.startswith(("/", "~")):
            return path
        return posixpath.join(self._directory, path)


def _folder(path: str) -> str:
    return posixpath.dirname(path) or "."


def _replacing(path: str, old: str, new: str) -> str:
    program = (
        "import sys, pathlib; p = pathlib.Path(sys.argv[1]); t = p.read_text(); "
        "assert sys.argv[2] in t; p.write_text(t.replace(sys.argv[2], sys.argv[3], 1))"
    )
    words = " ".join(_quoted(word) for word in (program, path, old, new))
    return f"python3 -c {words}"


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\"'\"'") + "'"
