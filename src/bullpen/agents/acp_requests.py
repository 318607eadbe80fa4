"""What an ACP agent asks of us: leave, answers, and things we do not serve.

Permissions and questions are passed on and stay open until an order, the end of their turn or the
agent itself closes them. Everything else is refused at once: agents wait for ever for an answer
that does not come.
"""

from collections.abc import Callable
from typing import Any, Final

from bullpen.agents.acp_state import Call, OpenRequest, State
from bullpen.agents.acp_update import read_call
from bullpen.agents.deed import deed_of
from bullpen.agents.dialect import AnswerPermission, AnswerQuestion, Heard, OrderImpossible
from bullpen.agents.wire import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    REQUEST_CANCELLED,
    answer,
    dict_of,
    list_of,
    name_request,
    refusal,
    text_of,
)
from bullpen.model.fact import (
    AgentFact,
    AskWithdrawn,
    Deed,
    PermissionAsked,
    PermissionOption,
    QuestionAsked,
    ToolCalled,
    Unrecognised,
)

_CANCELLED: Final = {"outcome": {"outcome": "cancelled"}}
_ACTIONS: Final = ("accept", "decline", "cancel")


def hear_request(state: State, message: dict[str, Any]) -> Heard:
    """Take a request of the agent."""
    raw_id, method = message["id"], message["method"]
    name = name_request(raw_id)
    if name is None or not isinstance(method, str):
        lines = [refusal(raw_id if name else None, INVALID_REQUEST, "no valid request")]
        return Heard([Unrecognised(what="message", raw=message)], lines)
    reader = _READERS.get(method)
    params = dict_of(message.get("params")) or {}
    heard = reader(state, raw_id, name, params) if reader else None
    if heard is not None:
        return heard
    code, why = METHOD_NOT_FOUND, f"{method} is not served"
    if reader is not None:
        code, why = INVALID_PARAMS, f"the parameters of {method} are not understood"
    return Heard([Unrecognised(what=method, raw=message)], [refusal(raw_id, code, why)])


def hear_notification(state: State, message: dict[str, Any]) -> Heard | None:
    """Take a notification about an open request; None when it is of another kind."""
    params = dict_of(message.get("params")) or {}
    if message["method"] == "$/cancel_request" and "requestId" in params:
        return _taken_back(state, params["requestId"])
    page = text_of(params.get("elicitationId"))
    if message["method"] == "elicitation/complete" and page is not None:
        return _visited(state, page)
    return None


def cancel_all(state: State) -> list[bytes]:
    """Return the lines that answer every open request with its form of "cancelled"."""
    lines = [
        answer(each.raw_id, {"action": "cancel"} if each.is_question else _CANCELLED)
        for each in state.requests.values()
    ]
    state.requests = {}
    return lines


def answer_permission(state: State, order: AnswerPermission) -> bytes:
    """Return the line that answers a permission request and close it.

    Raises:
        OrderImpossible: no such permission is open, or it has no such option.
    """
    known = state.requests.get(order.request)
    if known is None or known.is_question:
        raise OrderImpossible("answer-permission", f"no permission {order.request!r} is open")
    if order.option is not None and order.option not in known.options:
        raise OrderImpossible("answer-permission", f"there is no option {order.option!r}")
    del state.requests[order.request]
    if order.option is None:
        return answer(known.raw_id, _CANCELLED)
    return answer(known.raw_id, {"outcome": {"outcome": "selected", "optionId": order.option}})


def answer_question(state: State, order: AnswerQuestion) -> bytes:
    """Return the line that answers a question and close it.

    Raises:
        OrderImpossible: no such question is open, or the action is none of the protocol's.
    """
    known = state.requests.get(order.request)
    if known is None or not known.is_question:
        raise OrderImpossible("answer-question", f"no question {order.request!r} is open")
    if order.action not in _ACTIONS:
        raise OrderImpossible("answer-question", f"there is no action {order.action!r}")
    result: dict[str, Any] = {"action": order.action}
    if order.action == "accept" and order.content is not None:
        result["content"] = order.content
    del state.requests[order.request]
    return answer(known.raw_id, result)


def _permission(state: State, raw_id: Any, name: str, params: dict[str, Any]) -> Heard | None:
    options = _options(params.get("options"))
    if options is None:
        return None
    fields = dict_of(params.get("toolCall")) or {}
    facts = _first_sight(state, fields)
    if any(state.running.values()):
        # The agent had not read the interrupt yet; asking somebody now would be idle.
        return Heard(facts, [answer(raw_id, _CANCELLED)])
    call = text_of(fields.get("toolCallId"))
    known = state.calls.get(call) if call is not None else None
    state.requests[name] = OpenRequest(raw_id, options=[option.id for option in options])
    asked = PermissionAsked(
        request=name,
        options=options,
        call=call,
        title=text_of(fields.get("title")) or (known.title if known else None),
        tool_kind=text_of(fields.get("kind")) or (known.tool_kind if known else None),
        content=list_of(fields.get("content")),
        raw_input=fields.get("rawInput") if "rawInput" in fields else known and known.raw_input,
        deed=_deed(fields, known),
    )
    return Heard([*facts, asked])


def _deed(fields: dict[str, Any], known: Call | None) -> Deed | None:
    """Read the deed from the request, and what it leaves out from the call's first sight."""
    seen = known or Call()
    return deed_of(
        kind=text_of(fields.get("kind")) or seen.tool_kind,
        title=text_of(fields.get("title")) or seen.title,
        raw_input=fields.get("rawInput") or seen.raw_input,
        locations=fields.get("locations") or seen.locations,
        content=fields.get("content") or seen.content,
        meta=fields.get("_meta") or seen.meta,
    )


def _first_sight(state: State, fields: dict[str, Any]) -> list[AgentFact]:
    if text_of(fields.get("toolCallId")) in state.calls:
        return []
    fact = read_call(state, fields)
    return [fact] if isinstance(fact, ToolCalled) else []


def _options(given: Any) -> list[PermissionOption] | None:
    listed = list_of(given)
    if listed is None:
        return None
    options: list[PermissionOption] = []
    for each in listed:
        fields = dict_of(each) or {}
        option, kind = text_of(fields.get("optionId")), text_of(fields.get("kind"))
        if option is None or kind is None:
            return None
        options.append(PermissionOption(option, kind, text_of(fields.get("name")) or option))
    return options


def _question(state: State, raw_id: Any, name: str, params: dict[str, Any]) -> Heard | None:
    text, mode = text_of(params.get("message")), params.get("mode", "form")
    schema = dict_of(params.get("requestedSchema")) if mode == "form" else None
    url = text_of(params.get("url")) if mode == "url" else None
    if text is None or (schema is None and url is None):
        return None
    if any(state.running.values()):
        return Heard([], [answer(raw_id, {"action": "cancel"})])
    page = text_of(params.get("elicitationId")) if url is not None else None
    state.requests[name] = OpenRequest(raw_id, is_question=True, page=page)
    return Heard([QuestionAsked(request=name, message=text, schema=schema, url=url)])


def _taken_back(state: State, raw_id: Any) -> Heard:
    name = state.find_request(raw_id)
    if name is None:
        # It crossed our answer.
        return Heard([])
    known = state.requests.pop(name)
    line = refusal(known.raw_id, REQUEST_CANCELLED, "cancelled at your request")
    return Heard([AskWithdrawn(request=name)], [line])


def _visited(state: State, page: str) -> Heard:
    for name, known in state.requests.items():
        if known.page == page:
            # The user has been there already, which is all the agreement the agent asked for.
            del state.requests[name]
            line = answer(known.raw_id, {"action": "accept"})
            return Heard([AskWithdrawn(request=name)], [line])
    return Heard([])


_READERS: Final[dict[str, Callable[[State, Any, str, dict[str, Any]], Heard | None]]] = {
    "session/request_permission": _permission,
    "elicitation/create": _question,
}
