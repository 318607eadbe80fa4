"""Codex's items in neutral words: messages, thoughts, commands, patches, tools."""

import shlex
from collections.abc import Callable
from typing import Any, Final

from bullpen.agents.codex_state import Item, State
from bullpen.agents.wire import count_of, dict_of, list_of, text_of
from bullpen.model.fact import (
    AgentFact,
    MessageStreamed,
    PlanEntry,
    PlanShown,
    ThoughtStreamed,
    ToolCalled,
    ToolChanged,
)

_SHELLS: Final = ("bash", "sh", "zsh", "dash")
_SILENT: Final = frozenset({"userMessage", "hookPrompt", "contextCompaction", "sleep"})
_TITLE_CHARS: Final = 200
_STATUSES: Final = {"declined": "failed", "failed": "failed", "completed": "completed"}


def plain(value: Any) -> str:
    """Return a status in small letters without marks, whichever of the shapes that have shipped
    it has: `"inProgress"`, `"in_progress"`, `{"type": "InProgress"}`."""
    fields = dict_of(value)
    word = text_of(fields.get("type")) if fields is not None else text_of(value)
    return (word or "").replace("_", "").replace("-", "").lower()


def shell_line(command: str) -> str:
    """Return the line a shell is told, of a command that may be a shell with its line."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    is_shell = len(words) == 3 and words[0].rpartition("/")[2] in _SHELLS
    return words[2] if is_shell and words[1] in ("-c", "-lc") else command


def begin(state: State, item: dict[str, Any]) -> list[AgentFact]:
    """Take an item that began."""
    kind, name = text_of(item.get("type")) or "", text_of(item.get("id"))
    if name is None or kind in _SILENT:
        return []
    _mark(state)
    make = _CALLS.get(kind)
    if make is None:
        state.remember(name, Item(kind))
        return [] if kind in _SPOKEN else _other(state, name, kind, item)
    return make(state, name, item)


def end(state: State, item: dict[str, Any]) -> list[AgentFact]:
    """Take an item that is over."""
    kind, name = text_of(item.get("type")) or "", text_of(item.get("id"))
    if name is None or kind in _SILENT:
        return []
    _mark(state)
    facts = [] if name in state.items else begin(state, item)
    known = state.items.pop(name, Item(kind))
    if kind in _SPOKEN:
        return facts if known.was_streamed else [*facts, *_SPOKEN[kind](name, item)]
    return [*facts, _over(name, item)]


def delta(state: State, params: dict[str, Any], *, is_thought: bool) -> list[AgentFact]:
    """Take a piece of a message or a thought."""
    text, name = text_of(params.get("delta")), text_of(params.get("itemId")) or ""
    if text is None:
        return []
    _mark(state)
    known = state.items.get(name)
    if known is not None:
        known.was_streamed = True
    kind = ThoughtStreamed if is_thought else MessageStreamed
    return [kind(text=text, message=name)]


def plan(params: dict[str, Any]) -> list[AgentFact]:
    """Take the agent's plan."""
    words = {"inprogress": "in_progress", "completed": "completed"}
    steps = [dict_of(each) or {} for each in list_of(params.get("plan")) or []]
    entries = [
        PlanEntry(text_of(each.get("step")) or "", words.get(plain(each.get("status")), "pending"))
        for each in steps
    ]
    return [PlanShown(entries=entries)]


def _mark(state: State) -> None:
    running = state.current()
    if running is not None:
        running.has_output = True


def _command(state: State, name: str, item: dict[str, Any]) -> list[AgentFact]:
    line = shell_line(text_of(item.get("command")) or "")
    directory = text_of(item.get("cwd"))
    state.remember(name, Item("commandExecution", command=line, directory=directory))
    actions = {
        text_of((dict_of(one) or {}).get("type"))
        for one in list_of(item.get("commandActions")) or []
    }
    kinds = {frozenset({"read"}): "read", frozenset({"listFiles"}): "search"}
    called = ToolCalled(
        call=name,
        title=line[:_TITLE_CHARS],
        tool_kind=kinds.get(frozenset(one or "" for one in actions), "execute"),
        status="in_progress",
        raw_input={"command": line, "cwd": directory},
    )
    return [called]


def _patch(state: State, name: str, item: dict[str, Any]) -> list[AgentFact]:
    changes = [dict_of(each) or {} for each in list_of(item.get("changes")) or []]
    paths = [path for each in changes if (path := text_of(each.get("path")))]
    paths += [path for each in changes if (path := _moved_to(each))]
    content = [_diff(each) for each in changes]
    state.remember(name, Item("fileChange", paths=paths, content=content))
    title = f"Change {', '.join(paths)}"[:_TITLE_CHARS]
    return [
        ToolCalled(
            call=name,
            title=title,
            tool_kind="edit",
            status="in_progress",
            content=content,
            locations=[{"path": path} for path in paths],
        )
    ]


def _moved_to(change: dict[str, Any]) -> str | None:
    kind = dict_of(change.get("kind")) or {}
    return text_of(kind.get("move_path")) or text_of(kind.get("movePath"))


def _diff(change: dict[str, Any]) -> dict[str, Any]:
    """Return one change as a diff in the form of ACP."""
    path, text = text_of(change.get("path")) or "", text_of(change.get("diff")) or ""
    kind = plain(change.get("kind"))
    if kind == "add":
        return {"type": "diff", "path": path, "newText": text}
    if kind == "delete":
        return {"type": "diff", "path": path, "oldText": text, "newText": ""}
    old: list[str] = []
    new: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(("---", "+++", "@@", "\\")):
            continue
        if not line.startswith("+"):
            old.append(line[1:])
        if not line.startswith("-"):
            new.append(line[1:])
    return {"type": "diff", "path": path, "oldText": "".join(old), "newText": "".join(new)}


def _mcp(state: State, name: str, item: dict[str, Any]) -> list[AgentFact]:
    server, tool = text_of(item.get("server")) or "", text_of(item.get("tool")) or ""
    state.remember(name, Item("mcpToolCall", server=server, tool=tool))
    return [
        ToolCalled(
            call=name,
            title=f"{server}: {tool}",
            tool_kind="mcp",
            status="in_progress",
            raw_input=item.get("arguments"),
        )
    ]


def _search(state: State, name: str, item: dict[str, Any]) -> list[AgentFact]:
    state.remember(name, Item("webSearch"))
    title = f"Search the web: {text_of(item.get('query')) or ''}"
    return [ToolCalled(call=name, title=title, tool_kind="fetch", status="in_progress")]


def _other(state: State, name: str, kind: str, item: dict[str, Any]) -> list[AgentFact]:
    title = text_of(item.get("tool")) or kind
    given = item.get("arguments")
    return [
        ToolCalled(call=name, title=title, tool_kind="other", status="in_progress", raw_input=given)
    ]


def _over(name: str, item: dict[str, Any]) -> AgentFact:
    status = _STATUSES.get(plain(item.get("status")), "completed")
    text = text_of(item.get("aggregatedOutput")) or _result(item)
    code = count_of(item.get("exitCode"))
    if code:
        status = "failed"
    content = [{"type": "content", "content": {"type": "text", "text": text}}] if text else None
    output = None if code is None else {"exit_code": code}
    return ToolChanged(call=name, status=status, content=content, raw_output=output)


def _result(item: dict[str, Any]) -> str:
    error = dict_of(item.get("error"))
    if error is not None:
        return text_of(error.get("message")) or "failed"
    blocks = list_of((dict_of(item.get("result")) or {}).get("content")) or []
    return "\n".join(text_of((dict_of(each) or {}).get("text")) or "" for each in blocks)


def _message(name: str, item: dict[str, Any]) -> list[AgentFact]:
    text = text_of(item.get("text"))
    return [MessageStreamed(text=text, message=name)] if text else []


def _thought(name: str, item: dict[str, Any]) -> list[AgentFact]:
    parts = list_of(item.get("summary")) or list_of(item.get("content")) or []
    text = "\n".join(each for each in parts if isinstance(each, str))
    return [ThoughtStreamed(text=text, message=name)] if text else []


def _plan_text(name: str, item: dict[str, Any]) -> list[AgentFact]:
    return _message(name, item)


_CALLS: Final[dict[str, Callable[[State, str, dict[str, Any]], list[AgentFact]]]] = {
    "commandExecution": _command,
    "fileChange": _patch,
    "mcpToolCall": _mcp,
    "webSearch": _search,
}
_SPOKEN: Final[dict[str, Callable[[str, dict[str, Any]], list[AgentFact]]]] = {
    "agentMessage": _message,
    "reasoning": _thought,
    "plan": _plan_text,
}
