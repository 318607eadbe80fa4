"""Leave and questions: what Codex asks, and how it is answered."""

import posixpath
from collections.abc import Callable
from typing import Any, Final

from bullpen.agents.codex_items import shell_line
from bullpen.agents.codex_state import Ask, Item, State
from bullpen.agents.dialect import AnswerPermission, AnswerQuestion, Heard, OrderImpossible
from bullpen.agents.wire import METHOD_NOT_FOUND, dict_of, line_of, list_of, name_request, text_of
from bullpen.model.fact import (
    AgentFact,
    Deed,
    PermissionAsked,
    PermissionOption,
    QuestionAsked,
    Unrecognised,
)

_KINDS: Final = {
    "once": ("allow_once", "Allow"),
    "session": ("allow_always", "Allow for this session"),
    "rule": ("allow_always", "Allow, and such commands from now on"),
    "refuse": ("reject_once", "Refuse"),
}


def hear_request(state: State, message: dict[str, Any]) -> Heard:
    """Take a request of the agent."""
    method = text_of(message.get("method")) or ""
    name = name_request(message.get("id"))
    params = dict_of(message.get("params")) or {}
    read = _READERS.get(method)
    if name is None or read is None:
        refused = {"code": METHOD_NOT_FOUND, "message": "not served here"}
        line = line_of({"id": message.get("id"), "error": refused})
        return Heard([Unrecognised(what=f"request {method}", raw=message)], [line])
    ask = Ask(message.get("id"), method)
    fact = read(state, ask, name, params)
    running = state.current()
    if running is not None and running.is_interrupted:
        # It had not read the interrupt yet.
        return Heard([], [_line(ask, ask.cancel)])
    if fact is None:
        return Heard([], [_line(ask, ask.decisions["once"])])
    state.asks[name] = ask
    return Heard([fact])


def _asked(
    name: str, ask: Ask, *, item: Item, call: str | None, title: str, deed: Deed
) -> PermissionAsked:
    options = [PermissionOption(key, *_KINDS[key]) for key in ask.decisions]
    return PermissionAsked(
        request=name,
        options=options,
        call=call,
        title=title[:200],
        tool_kind=deed.kind,
        content=item.content,
        raw_input={"command": deed.command} if deed.command else None,
        deed=deed,
    )


def _command(state: State, ask: Ask, name: str, params: dict[str, Any]) -> AgentFact:
    call = text_of(params.get("itemId"))
    item = state.items.get(call or "", Item("commandExecution"))
    raw = text_of(params.get("command"))
    line = shell_line(raw) if raw is not None else item.command
    offered = list_of(params.get("availableDecisions")) or []
    _decide(ask, "accept", "acceptForSession", "decline", "cancel")
    if offered and "acceptForSession" not in offered:
        del ask.decisions["session"]
    rules = [one for one in offered if dict_of(one) and "acceptWithExecpolicyAmendment" in one]
    if rules:
        ask.decisions["rule"] = {"decision": rules[0]}
    network = dict_of(params.get("networkApprovalContext"))
    directory = text_of(params.get("cwd")) or item.directory
    if network is not None:
        host = text_of(network.get("host")) or ""
        deed = Deed(kind="fetch", tool="network", url=f"https://{host}", command=line)
        return _asked(name, ask, item=item, call=call, title=f"Connect to {host}", deed=deed)
    deed = Deed(kind="execute", tool="shell", command=line, directory=directory)
    title = line or text_of(params.get("reason")) or "Run a command"
    return _asked(name, ask, item=item, call=call, title=title, deed=deed)


def _patch(state: State, ask: Ask, name: str, params: dict[str, Any]) -> AgentFact | None:
    call = text_of(params.get("itemId"))
    item = state.items.get(call or "", Item("fileChange"))
    _decide(ask, "accept", "acceptForSession", "decline", "cancel")
    inside = bool(item.paths) and all(_is_inside(state.directory, one) for one in item.paths)
    if inside and state.mode.endswith("/accept-edits") and not params.get("grantRoot"):
        return None
    root = text_of(params.get("grantRoot"))
    deed = Deed(kind="edit", tool="apply_patch", paths=[*item.paths, *([root] if root else [])])
    title = f"Change {', '.join(item.paths)}" if item.paths else "Change files"
    return _asked(name, ask, item=item, call=call, title=title, deed=deed)


def _is_inside(directory: str, path: str) -> bool:
    whole = posixpath.normpath(posixpath.join(directory, path))
    return bool(directory) and whole.startswith(directory.rstrip("/") + "/")


def _decide(ask: Ask, once: str, session: str, refuse: str, cancel: str) -> None:
    ask.decisions = {
        "once": {"decision": once},
        "session": {"decision": session},
        "refuse": {"decision": refuse},
    }
    ask.cancel = {"decision": cancel}


def _old_command(state: State, ask: Ask, name: str, params: dict[str, Any]) -> AgentFact:
    _decide(ask, "approved", "approved_for_session", "denied", "abort")
    argv = [each for each in list_of(params.get("command")) or [] if isinstance(each, str)]
    is_shell = len(argv) == 3 and argv[1] in ("-c", "-lc")
    deed = Deed(
        kind="execute",
        tool="shell",
        command=argv[2] if is_shell else None,
        argv=None if is_shell else argv,
        directory=text_of(params.get("cwd")),
    )
    call = text_of(params.get("callId"))
    title = argv[2] if is_shell else " ".join(argv)
    return _asked(name, ask, item=Item("commandExecution"), call=call, title=title, deed=deed)


def _old_patch(state: State, ask: Ask, name: str, params: dict[str, Any]) -> AgentFact:
    _decide(ask, "approved", "approved_for_session", "denied", "abort")
    paths = list(dict_of(params.get("fileChanges")) or {})
    deed = Deed(kind="edit", tool="apply_patch", paths=paths)
    call = text_of(params.get("callId"))
    title = f"Change {', '.join(paths)}"
    return _asked(name, ask, item=Item("fileChange"), call=call, title=title, deed=deed)


def _more_leave(state: State, ask: Ask, name: str, params: dict[str, Any]) -> AgentFact:
    wanted = dict_of(params.get("permissions")) or {}
    ask.decisions = {
        "once": {"permissions": wanted, "scope": "turn"},
        "session": {"permissions": wanted, "scope": "session"},
        "refuse": {"permissions": {}, "scope": "turn"},
    }
    ask.cancel = ask.decisions["refuse"]
    call = text_of(params.get("itemId"))
    title = text_of(params.get("reason")) or "More permissions"
    deed = Deed(kind="other", tool="request_permissions")
    return _asked(name, ask, item=Item("permissions"), call=call, title=title, deed=deed)


def _elicitation(state: State, ask: Ask, name: str, params: dict[str, Any]) -> AgentFact:
    server = text_of(params.get("serverName")) or ""
    message = text_of(params.get("message")) or f"{server} asks"
    meta = dict_of(params.get("_meta")) or {}
    ask.cancel = {"action": "cancel", "content": None, "_meta": None}
    kind = text_of(meta.get("codex_approval_kind")) or ""
    if kind.startswith("mcp_tool"):
        return _mcp_leave(state, ask, name, server=server, message=message, meta=meta)
    url = text_of(params.get("url"))
    schema = dict_of(params.get("requestedSchema")) if url is None else None
    return QuestionAsked(request=name, message=message, schema=schema, url=url)


def _mcp_leave(
    state: State, ask: Ask, name: str, *, server: str, message: str, meta: dict[str, Any]
) -> AgentFact:
    accept: dict[str, Any] = {"action": "accept", "content": {}}
    ask.decisions = {"once": accept | {"_meta": None}}
    persist = meta.get("persist")
    modes = list_of(persist) or ([persist] if isinstance(persist, str) else [])
    if "session" in modes:
        ask.decisions["session"] = accept | {"_meta": {"persist": "session"}}
    ask.decisions["refuse"] = {"action": "decline", "content": None, "_meta": None}
    items = [(call, one) for call, one in state.items.items() if one.kind == "mcpToolCall"]
    call, item = next(
        ((call, one) for call, one in reversed(items) if one.server == server),
        (None, Item("mcpToolCall")),
    )
    tool = text_of(meta.get("tool_name")) or item.tool
    deed = Deed(kind="mcp", tool=tool, server=server, mcp_tool=tool)
    return _asked(name, ask, item=item, call=call, title=message, deed=deed)


def _user_input(state: State, ask: Ask, name: str, params: dict[str, Any]) -> AgentFact:
    questions = [dict_of(each) or {} for each in list_of(params.get("questions")) or []]
    properties = {text_of(each.get("id")) or "answer": _field(each) for each in questions}
    ask.cancel = {"answers": {}}
    texts = [text_of(each.get("question")) or "" for each in questions]
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return QuestionAsked(request=name, message=" ".join(texts) or "The agent asks", schema=schema)


def _field(question: dict[str, Any]) -> dict[str, Any]:
    listed = [dict_of(each) or {} for each in list_of(question.get("options")) or []]
    field: dict[str, Any] = {"type": "string", "title": text_of(question.get("question")) or ""}
    if listed:
        labels = [text_of(each.get("label")) or "" for each in listed]
        field["anyOf"] = [{"const": label, "title": label} for label in labels]
    return field


def answer_permission(state: State, order: AnswerPermission) -> list[bytes]:
    """Return the line that answers a permission and close it.

    Raises:
        OrderImpossible: no such permission is open, or it has no such option.
    """
    ask = state.asks.get(order.request)
    if ask is None or not ask.decisions:
        raise OrderImpossible("answer-permission", f"no permission {order.request!r} is open")
    if order.option is not None and order.option not in ask.decisions:
        raise OrderImpossible("answer-permission", f"there is no option {order.option!r}")
    del state.asks[order.request]
    decision = ask.cancel if order.option is None else ask.decisions[order.option]
    return [_line(ask, decision)]


def answer_question(state: State, order: AnswerQuestion) -> list[bytes]:
    """Return the line that answers a question and close it.

    Raises:
        OrderImpossible: no such question is open.
    """
    ask = state.asks.get(order.request)
    if ask is None or ask.decisions:
        raise OrderImpossible("answer-question", f"no question {order.request!r} is open")
    del state.asks[order.request]
    content = order.content or {}
    if ask.method == "item/tool/requestUserInput":
        answers = {key: {"answers": [str(value)]} for key, value in content.items()}
        return [_line(ask, {"answers": answers if order.action == "accept" else {}})]
    given = content if order.action == "accept" else None
    return [_line(ask, {"action": order.action, "content": given, "_meta": None})]


def cancel_all(state: State) -> list[bytes]:
    """Return the lines that answer everything that is open with its form of "cancelled"."""
    asks, state.asks = list(state.asks.values()), {}
    return [_line(ask, ask.cancel) for ask in asks]


def _line(ask: Ask, result: Any) -> bytes:
    return line_of({"id": ask.raw_id, "result": result})


_READERS: Final[dict[str, Callable[[State, Ask, str, dict[str, Any]], AgentFact | None]]] = {
    "item/commandExecution/requestApproval": _command,
    "item/fileChange/requestApproval": _patch,
    "item/permissions/requestApproval": _more_leave,
    "item/tool/requestUserInput": _user_input,
    "mcpServer/elicitation/request": _elicitation,
    "execCommandApproval": _old_command,
    "applyPatchApproval": _old_patch,
}
