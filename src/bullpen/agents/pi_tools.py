"""pi's tools in neutral words: their kind, a title, what they touch, what they change."""

import json
from typing import Any, Final

from bullpen.agents.wire import dict_of, list_of, text_of
from bullpen.model.fact import Deed

_KINDS: Final = {
    "read": "read",
    "write": "edit",
    "edit": "edit",
    "bash": "execute",
    "powershell": "execute",
    "grep": "search",
    "find": "search",
    "ls": "search",
    "goal_update": "think",
}
_TITLE_CHARS: Final = 200
SHOWN_CHARS: Final = 4000
"""Of a tool's output; the whole of it stands in the journal."""


def kind_of(tool: str) -> str:
    """Return the kind of a tool, in the words of `Deed.kind`."""
    return _KINDS.get(tool, "other")


def title_of(tool: str, given: dict[str, Any]) -> str:
    """Return a line for people."""
    command = text_of(given.get("command"))
    if command is not None:
        return command[:_TITLE_CHARS]
    for key in ("path", "pattern", "url", "query"):
        subject = text_of(given.get(key))
        if subject:
            return f"{tool} {subject}"[:_TITLE_CHARS]
    return tool[:_TITLE_CHARS]


def deed_of(tool: str, given: dict[str, Any], *, paths: list[str], directory: str | None) -> Deed:
    """Return what a call of `tool` does.

    Args:
        paths: The files it names, as pi itself understands them.
        directory: Where pi works.
    """
    kind = kind_of(tool)
    command = text_of(given.get("command"))
    if command is not None and kind == "other":
        # Another tool with a command still runs it.
        kind = "execute"
    return Deed(
        kind=kind,
        tool=tool,
        command=command,
        directory=directory,
        paths=paths,
        url=text_of(given.get("url")),
    )


def content_of(tool: str, given: dict[str, Any]) -> list[Any] | None:
    """Return the change a call makes, as diffs in the form of ACP; None when it makes none."""
    path = text_of(given.get("path"))
    if path is None:
        return None
    if tool == "write":
        return [{"type": "diff", "path": path, "newText": text_of(given.get("content")) or ""}]
    return [_diff(path, each) for each in _edits(given)] if tool == "edit" else None


def _edits(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the replacements of an `edit`, in each form in which models give them."""
    edits = given.get("edits")
    text = text_of(edits)
    if text is not None:
        try:
            edits = json.loads(text)
        except (ValueError, RecursionError):
            edits = None
    one = dict_of(edits)
    listed = [one] if one is not None else list_of(edits) or []
    if not listed and "oldText" in given:
        listed = [given]
    return [dict_of(each) or {} for each in listed]


def _diff(path: str, edit: dict[str, Any]) -> dict[str, Any]:
    old, new = text_of(edit.get("oldText")) or "", text_of(edit.get("newText")) or ""
    return {"type": "diff", "path": path, "oldText": old, "newText": new}


def locations_of(given: dict[str, Any]) -> list[Any] | None:
    """Return the files a call names."""
    path = text_of(given.get("path"))
    return None if path is None else [{"path": path}]


def output_of(result: Any) -> list[Any] | None:
    """Return the text of a tool's result, its end when it is long."""
    text = words_of((dict_of(result) or {}).get("content"))
    if not text:
        return None
    shown = text if len(text) <= SHOWN_CHARS else f"…{text[-SHOWN_CHARS:]}"
    return [{"type": "content", "content": {"type": "text", "text": shown}}]


def words_of(content: Any) -> str:
    """Return the text in the content of a message or result."""
    text = text_of(content)
    if text is not None:
        return text
    blocks = [dict_of(each) or {} for each in list_of(content) or []]
    return "\n".join(found for each in blocks if (found := text_of(each.get("text"))))
