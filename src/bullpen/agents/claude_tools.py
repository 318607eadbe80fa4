"""Claude Code's tools in neutral words: their kind, a title, what they touch, what they change."""

from typing import Any, Final

from bullpen.agents.wire import dict_of, list_of, text_of
from bullpen.model.fact import Deed, PlanEntry

_KINDS: Final = {
    "Read": "read",
    "NotebookRead": "read",
    "Write": "edit",
    "Edit": "edit",
    "MultiEdit": "edit",
    "NotebookEdit": "edit",
    "Bash": "execute",
    "BashOutput": "execute",
    "KillShell": "execute",
    "Monitor": "execute",
    "Glob": "search",
    "Grep": "search",
    "LS": "search",
    "WebFetch": "fetch",
    "WebSearch": "fetch",
    "Task": "think",
    "Agent": "think",
    "TodoWrite": "think",
    "ExitPlanMode": "mode",
    "EnterPlanMode": "mode",
}
_PATHS: Final = ("file_path", "notebook_path", "path")
_TITLE_CHARS: Final = 200


def kind_of(tool: str) -> str:
    """Return the kind of a tool, in the words of `Deed.kind`."""
    return "mcp" if tool.startswith("mcp__") else _KINDS.get(tool, "other")


def title_of(tool: str, given: dict[str, Any]) -> str:
    """Return a line for people."""
    command = text_of(given.get("command"))
    if command is not None:
        return command[:_TITLE_CHARS]
    paths = _paths(given)
    subject = paths[0] if paths else None
    for key in ("url", "query", "pattern", "description"):
        subject = subject or text_of(given.get(key))
    if tool.startswith("mcp__"):
        _, server, name = [*tool.split("__", 2), ""][:3]
        return f"{server}: {name}"
    return f"{tool} {subject}"[:_TITLE_CHARS] if subject else tool


def deed_of(tool: str, given: dict[str, Any]) -> Deed:
    """Return what a call of `tool` does."""
    kind = kind_of(tool)
    if kind == "mcp":
        _, server, name = [*tool.split("__", 2), ""][:3]
        return Deed(kind=kind, tool=tool, server=server, mcp_tool=name)
    # Another tool with a command still runs it.
    command = text_of(given.get("command"))
    if command is not None and kind == "other":
        kind = "execute"
    return Deed(
        kind=kind,
        tool=tool,
        command=command,
        paths=_paths(given),
        url=text_of(given.get("url")),
    )


def content_of(tool: str, given: dict[str, Any]) -> list[Any] | None:
    """Return the change a call makes, as diffs in the form of ACP; None when it makes none."""
    path = text_of(given.get("file_path"))
    if path is None:
        return None
    if tool == "Write":
        return [_diff(path, None, text_of(given.get("content")) or "")]
    edits = list_of(given.get("edits")) if tool == "MultiEdit" else [given]
    if tool not in ("Edit", "MultiEdit") or edits is None:
        return None
    found = [dict_of(each) or {} for each in edits]
    return [
        _diff(path, text_of(each.get("old_string")) or "", text_of(each.get("new_string")) or "")
        for each in found
    ]


def locations_of(given: dict[str, Any]) -> list[Any] | None:
    """Return the files a call names."""
    paths = _paths(given)
    return [{"path": path} for path in paths] or None


def plan_of(given: dict[str, Any]) -> list[PlanEntry] | None:
    """Return the plan in the input of `TodoWrite`."""
    listed = list_of(given.get("todos"))
    if listed is None:
        return None
    found = [dict_of(each) or {} for each in listed]
    return [
        PlanEntry(text_of(each.get("content")) or "", text_of(each.get("status")) or "pending")
        for each in found
    ]


def _paths(given: dict[str, Any]) -> list[str]:
    return [path for key in _PATHS if (path := text_of(given.get(key)))]


def _diff(path: str, old: str | None, new: str) -> dict[str, Any]:
    whole: dict[str, Any] = {"type": "diff", "path": path, "newText": new}
    return whole if old is None else whole | {"oldText": old}
