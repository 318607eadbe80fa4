"""Leave and questions: what Claude Code asks through `can_use_tool`, and how it is answered."""

from typing import Any, Final

import msgspec

from bullpen.agents.claude_state import Ask, State
from bullpen.agents.claude_tools import content_of, deed_of, kind_of, title_of
from bullpen.agents.dialect import AnswerPermission, AnswerQuestion, Heard, OrderImpossible
from bullpen.agents.wire import dict_of, line_of, list_of, text_of
from bullpen.model.fact import (
    AgentFact,
    PermissionAsked,
    PermissionOption,
    QuestionAsked,
    Unrecognised,
)

_ONCE: Final = PermissionOption("allow", "allow_once", "Allow")
_ALWAYS: Final = PermissionOption("always", "allow_always", "Allow, and do not ask again")
_REJECT: Final = PermissionOption("reject", "reject_once", "Refuse")
_CANCELLED: Final = {"behavior": "deny", "message": "The user ended the turn.", "interrupt": True}
_REFUSED: Final = "The user refused this."


def hear_request(state: State, message: dict[str, Any]) -> Heard:
    """Take a `control_request` of the agent."""
    request = dict_of(message.get("request")) or {}
    name = text_of(message.get("request_id"))
    if name is None:
        return Heard([Unrecognised(what="control_request", raw=message)])
    tool, given = text_of(request.get("tool_name")), dict_of(request.get("input"))
    if request.get("subtype") != "can_use_tool" or tool is None or given is None:
        what = f"control_request {request.get('subtype')}"
        return Heard([Unrecognised(what=what, raw=message)], [_error(name, "not served here")])
    if any(state.running.values()):
        # It had not read the interrupt yet.
        return Heard([], [_answer(name, _CANCELLED)])
    if tool == "AskUserQuestion":
        return Heard([_question(state, name, tool, given)])
    return Heard([_permission(state, name, request, tool, given)])


def _permission(
    state: State, name: str, request: dict[str, Any], tool: str, given: dict[str, Any]
) -> AgentFact:
    suggestions = list_of(request.get("permission_suggestions")) or []
    state.asks[name] = Ask(tool, given, suggestions)
    options = [_ONCE, *_always(suggestions), _REJECT]
    return PermissionAsked(
        request=name,
        options=options,
        call=text_of(request.get("tool_use_id")),
        title=title_of(tool, given),
        tool_kind=kind_of(tool),
        content=content_of(tool, given),
        raw_input=given,
        deed=deed_of(tool, given),
    )


def _always(suggestions: list[Any]) -> list[PermissionOption]:
    """Return the wider way to allow, named after what it does: it may mean more than this tool."""
    modes = [text_of((dict_of(each) or {}).get("mode")) for each in suggestions]
    mode = next((each for each in modes if each), None)
    if mode is not None:
        return [msgspec.structs.replace(_ALWAYS, name=f"Allow, and go on in mode {mode}")]
    return [_ALWAYS] if suggestions else []


def _question(state: State, name: str, tool: str, given: dict[str, Any]) -> AgentFact:
    asked = [dict_of(each) or {} for each in list_of(given.get("questions")) or []]
    texts = [text_of(each.get("question")) or "" for each in asked]
    state.asks[name] = Ask(tool, given, questions=texts)
    properties = {f"q{number}": _field(each) for number, each in enumerate(asked, 1)}
    return QuestionAsked(
        request=name,
        message=" ".join(texts) or "The agent asks",
        schema={"type": "object", "properties": properties, "required": list(properties)},
    )


def _field(question: dict[str, Any]) -> dict[str, Any]:
    listed = [dict_of(each) or {} for each in list_of(question.get("options")) or []]
    choices = [
        {
            "const": text_of(each.get("label")) or "",
            "title": text_of(each.get("label")) or "",
            "description": text_of(each.get("description")) or "",
        }
        for each in listed
    ]
    title = text_of(question.get("question")) or text_of(question.get("header")) or ""
    one: dict[str, Any] = {"type": "string", "anyOf": [*choices, {"type": "string"}]}
    if question.get("multiSelect") is True:
        return {"type": "array", "title": title, "items": one}
    return one | {"title": title}


def answer_permission(state: State, order: AnswerPermission) -> list[bytes]:
    """Return the line that answers a permission and close it.

    Raises:
        OrderImpossible: no such permission is open, or it has no such option.
    """
    ask = state.asks.get(order.request)
    if ask is None or ask.questions is not None:
        raise OrderImpossible("answer-permission", f"no permission {order.request!r} is open")
    if order.option not in {None, "allow", "reject", *(["always"] if ask.suggestions else [])}:
        raise OrderImpossible("answer-permission", f"there is no option {order.option!r}")
    del state.asks[order.request]
    return [_answer(order.request, _decision(ask, order))]


def _decision(ask: Ask, order: AnswerPermission) -> dict[str, Any]:
    if order.option is None:
        return _CANCELLED
    if order.option == "reject":
        return {"behavior": "deny", "message": order.reason or _REFUSED}
    allow: dict[str, Any] = {"behavior": "allow", "updatedInput": ask.input}
    if order.option == "always":
        allow["updatedPermissions"] = ask.suggestions
    return allow


def answer_question(state: State, order: AnswerQuestion) -> list[bytes]:
    """Return the line that answers a question and close it.

    Raises:
        OrderImpossible: no such question is open.
    """
    ask = state.asks.get(order.request)
    if ask is None or ask.questions is None:
        raise OrderImpossible("answer-question", f"no question {order.request!r} is open")
    del state.asks[order.request]
    if order.action != "accept":
        said = "The user does not want to answer."
        return [_answer(order.request, {"behavior": "deny", "message": said})]
    content = order.content or {}
    answers = {
        text: _spoken(content.get(f"q{number}"))
        for number, text in enumerate(ask.questions, 1)
        if content.get(f"q{number}") is not None
    }
    given = ask.input | {"answers": answers}
    return [_answer(order.request, {"behavior": "allow", "updatedInput": given})]


def _spoken(value: Any) -> str:
    listed = list_of(value)
    return str(value) if listed is None else ", ".join(str(each) for each in listed)


def cancel_all(state: State) -> list[bytes]:
    """Return the lines that refuse everything that is open."""
    names, state.asks = list(state.asks), {}
    return [_answer(name, _CANCELLED) for name in names]


def _answer(name: str, decision: dict[str, Any]) -> bytes:
    response = {"subtype": "success", "request_id": name, "response": decision}
    return line_of({"type": "control_response", "response": response})


def _error(name: str, why: str) -> bytes:
    response = {"subtype": "error", "request_id": name, "error": why}
    return line_of({"type": "control_response", "response": response})
