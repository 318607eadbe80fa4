"""What pi's extensions ask: leave, by the extension we ship, and questions of all others."""

from typing import Any, Final

import msgspec

from bullpen.agents.dialect import AnswerPermission, AnswerQuestion, Heard, OrderImpossible
from bullpen.agents.pi_state import ANSWER, Dialog, State
from bullpen.agents.pi_tools import content_of, deed_of, kind_of, title_of
from bullpen.agents.wire import dict_of, line_of, list_of, text_of
from bullpen.model.fact import (
    AgentFact,
    ModeChanged,
    PermissionAsked,
    PermissionOption,
    QuestionAsked,
    Unrecognised,
)

MARK: Final = "bullpen-permission "
"""What the title of a question begins with when our extension asks for leave."""
STATUS: Final = "bullpen-mode"
"""The status in which our extension tells the mode, and the command that changes it."""
_OPTIONS: Final = (
    PermissionOption("allow", "allow_once", "Allow"),
    PermissionOption("always", "allow_always", "Allow, and do not ask again"),
    PermissionOption("reject", "reject_once", "Refuse"),
)
_SHELL: Final = (
    _OPTIONS[0],
    PermissionOption("always", "allow_always", "Allow, and do not ask again for this very command"),
    _OPTIONS[2],
)
_QUIET: Final = frozenset({"notify", "setStatus", "setWidget", "setTitle", "set_editor_text"})
_DIALOGS: Final = frozenset({"select", "confirm", "input", "editor"})


def hear_ui(state: State, message: dict[str, Any]) -> Heard:
    """Take an `extension_ui_request`."""
    method, name = text_of(message.get("method")) or "", text_of(message.get("id"))
    if method == "setStatus" and message.get("statusKey") == STATUS:
        return Heard(_mode(state, message))
    if method in _QUIET:
        return Heard([])
    if name is None or method not in _DIALOGS:
        return Heard([Unrecognised(what=f"extension_ui_request {method}", raw=message)])
    if state.is_interrupted or state.phase != "open":
        # Nobody is there to answer, and pi would wait for ever.
        return Heard([], [_answer(name, cancelled=True)])
    return Heard([_asked(state, name, method, message)])


def _mode(state: State, message: dict[str, Any]) -> list[AgentFact]:
    mode = text_of(message.get("statusText"))
    if mode is None or mode == state.mode:
        return []
    state.mode = mode
    return [ModeChanged(mode=mode)] if state.phase == "open" else []


def _asked(state: State, name: str, method: str, message: dict[str, Any]) -> AgentFact:
    title = text_of(message.get("title")) or ""
    if method == "select" and title.startswith(MARK):
        fact = _permission(name, title[len(MARK) :])
        if fact is not None:
            state.dialogs[name] = Dialog("permission")
            return fact
    state.dialogs[name] = Dialog(method)
    return _question(name, method, title, message)


def _permission(name: str, text: str) -> PermissionAsked | None:
    try:
        said = dict_of(msgspec.json.decode(text.encode("utf-8", "replace"))) or {}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    tool, given = text_of(said.get("tool")), dict_of(said.get("input"))
    if tool is None or given is None:
        return None
    paths = [each for each in list_of(said.get("paths")) or [] if isinstance(each, str)]
    return PermissionAsked(
        request=name,
        options=list(_SHELL if "command" in given else _OPTIONS),
        call=text_of(said.get("call")),
        title=title_of(tool, given),
        tool_kind=kind_of(tool),
        content=content_of(tool, given),
        raw_input=given,
        deed=deed_of(tool, given, paths=paths, directory=text_of(said.get("cwd"))),
    )


def _question(name: str, method: str, title: str, message: dict[str, Any]) -> QuestionAsked:
    field: dict[str, Any] = {"type": "boolean" if method == "confirm" else "string"}
    field["title"] = title or "Answer"
    choices = [each for each in list_of(message.get("options")) or [] if isinstance(each, str)]
    if method == "select" and choices:
        field["enum"] = choices
    prefill = text_of(message.get("prefill"))
    if prefill:
        field["default"] = prefill
    more = text_of(message.get("message")) or text_of(message.get("placeholder")) or ""
    said = "\n".join(part for part in (title, more) if part)
    schema = {"type": "object", "properties": {ANSWER: field}, "required": [ANSWER]}
    return QuestionAsked(request=name, message=said or "pi asks", schema=schema)


def answer_permission(state: State, order: AnswerPermission) -> list[bytes]:
    """Return the line that answers a permission and close it.

    Raises:
        OrderImpossible: no such permission is open, or it has no such option.
    """
    dialog = state.dialogs.get(order.request)
    if dialog is None or dialog.method != "permission":
        raise OrderImpossible("answer-permission", f"no permission {order.request!r} is open")
    if order.option not in {None, *(option.id for option in _OPTIONS)}:
        raise OrderImpossible("answer-permission", f"there is no option {order.option!r}")
    del state.dialogs[order.request]
    if order.option is None:
        return [_answer(order.request, cancelled=True)]
    is_reasoned = order.option == "reject" and order.reason
    value = f"reject: {order.reason}" if is_reasoned else order.option
    return [_answer(order.request, value=value)]


def answer_question(state: State, order: AnswerQuestion) -> list[bytes]:
    """Return the line that answers a question and close it.

    Raises:
        OrderImpossible: no such question is open.
    """
    dialog = state.dialogs.get(order.request)
    if dialog is None or dialog.method == "permission":
        raise OrderImpossible("answer-question", f"no question {order.request!r} is open")
    del state.dialogs[order.request]
    content = order.content or {}
    said = content.get(ANSWER, next(iter(content.values()), None))
    if dialog.method == "confirm":
        if order.action == "cancel":
            return [_answer(order.request, cancelled=True)]
        return [_answer(order.request, confirmed=order.action == "accept" and said is not False)]
    if order.action != "accept" or said is None:
        return [_answer(order.request, cancelled=True)]
    return [_answer(order.request, value=said if isinstance(said, str) else str(said))]


def cancel_all(state: State) -> list[bytes]:
    """Return the lines that cancel everything that is open."""
    names, state.dialogs = list(state.dialogs), {}
    return [_answer(name, cancelled=True) for name in names]


def _answer(name: str, **said: Any) -> bytes:
    return line_of({"type": "extension_ui_response", "id": name, **said})
