"""What an answer to an open request tells the agent, and what is recorded of it."""

from typing import Any

import msgspec

from bullpen.agents.dialect import AnswerPermission, AnswerQuestion, AnyOrder
from bullpen.agents.permission import choose
from bullpen.errors import ChoiceInvalid, RequestInvalid
from bullpen.model.fact import AskAnswered, PermissionOption
from bullpen.model.session import OpenAsk


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody said to an open request."""

    allow: bool | None = None
    always: bool = False
    choice: str | None = None
    """Id of one of the agent's options."""
    action: str | None = None
    """`accept`, `decline` or `cancel`, for a question."""
    content: dict[str, Any] | None = None
    reason: str = ""
    by: str = "user"


def spoken(ask: OpenAsk, answer: Answer) -> tuple[AnyOrder, AskAnswered]:
    """Return the order that carries `answer` to the agent, and the fact to record with it.

    Raises:
        ChoiceInvalid: the agent does not offer that answer.
        RequestInvalid: what was said is no answer to a request of this kind.
    """
    return _to_question(ask, answer) if ask.kind == "question" else _to_permission(ask, answer)


def _to_question(ask: OpenAsk, answer: Answer) -> tuple[AnyOrder, AskAnswered]:
    done = answer.action or ("decline" if answer.allow is False else "accept")
    order = AnswerQuestion(request=ask.request, action=done, content=answer.content)
    outcome = {"accept": "accepted", "decline": "declined"}.get(done, "cancelled")
    fact = AskAnswered(
        request=ask.request,
        outcome=outcome,
        content=answer.content,
        by=answer.by,
        reason=answer.reason,
    )
    return order, fact


def _to_permission(ask: OpenAsk, answer: Answer) -> tuple[AnyOrder, AskAnswered]:
    if answer.allow is None and answer.choice is None and answer.action is None:
        raise RequestInvalid("a permission is answered with allow or choice")
    leave = _LEAVES.get(answer.action or "") if answer.allow is None else answer.allow
    choice, outcome = _picked(ask, allow=leave, always=answer.always, choice=answer.choice)
    order = AnswerPermission(request=ask.request, option=choice, reason=answer.reason)
    fact = AskAnswered(
        request=ask.request, outcome=outcome, choice=choice, by=answer.by, reason=answer.reason
    )
    return order, fact


_LEAVES = {"accept": True, "decline": False}
# Leave may also be given in the words of an answer to a question.


def _picked(
    ask: OpenAsk, *, allow: bool | None, always: bool, choice: str | None
) -> tuple[str | None, str]:
    options = [
        PermissionOption(id=one["id"], kind=one["kind"], name=one["name"]) for one in ask.options
    ]
    if choice is not None:
        kind = next((one.kind for one in options if one.id == choice), None)
        if kind is None:
            raise ChoiceInvalid(ask.request, choice, tuple(one.id for one in options))
        return choice, "allowed" if kind.startswith("allow") else "rejected"
    if allow is None:
        return None, "cancelled"
    picked = choose(options, allow=allow, always=always)
    if picked is None:
        if allow:
            raise ChoiceInvalid(ask.request, "allow", tuple(one.id for one in options))
        return None, "cancelled"
    return picked, "allowed" if allow else "rejected"
