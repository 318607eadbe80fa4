"""Routes of leave: what agents wait for, and the rules that decide it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from bullpen.model.fact import Deed
from bullpen.policy.judge import Verdict
from bullpen.policy.rule import Rule
from bullpen.service.answers import Json, view
from bullpen.service.forms import Form, Text
from bullpen.service.sessions import Host

router = APIRouter(prefix="/v1")


class AnswerApproval(Form):
    """An answer to an open permission."""

    allow: bool
    always: bool = False
    reason: str = ""


class AddRule(Form):
    """A rule; see `docs/reference/policy.md`."""

    effect: Literal["allow", "ask", "deny"]
    kind: str | None = None
    command: Text | None = None
    exact: bool | None = None
    path: Text | None = None
    mcp: Text | None = None
    host: Text | None = None
    workspace: Text | None = None
    expires: str | float | None = None
    reason: str | None = None
    id: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    session: str | None = None


class TestDeed(Form):
    """A deed to be judged; nothing is done."""

    command: str | None = None
    kind: str = "execute"
    paths: list[Text] = Field(default=[])
    mcp: str | None = None
    url: str | None = None
    session: str | None = None
    place: Text | None = None


@router.get("/approvals")
async def list_approvals(
    bullpen: Host,
    *,
    known: str | None = None,
    wait: Annotated[float, Query(ge=0, le=60)] = 0,
) -> Response:
    """List everything agents wait for. With `known`, the ids the caller has joined by commas, and
    `wait`, answers when that changed or the seconds are over."""
    if known is None or wait == 0:
        return Json({"approvals": await bullpen.approvals()})
    ids = [one for one in known.split(",") if one]
    return Json({"approvals": await bullpen.await_approvals(known=ids, timeout=wait)})


@router.post("/approvals/{approval}")
async def answer_approval(approval: str, form: AnswerApproval, bullpen: Host) -> Response:
    """Allow or deny an open permission."""
    record = await bullpen.approve(approval, **form.model_dump())
    return Json(view(record))


@router.get("/policy")
async def list_rules(
    bullpen: Host, *, session: str | None = None, audit: Annotated[int, Query(ge=0, le=1000)] = 0
) -> Response:
    """List the rules that hold for a session, or for all; with `audit`, their last changes."""
    rules = [_shown(rule) | {"file": str(file)} for rule, file in await bullpen.rules(session)]
    body: dict[str, Any] = {"rules": rules}
    if audit:
        body["audit"] = bullpen.audit(limit=audit)
    return Json(body)


@router.post("/policy", status_code=201)
async def add_rule(form: AddRule, bullpen: Host) -> Response:
    """Add a rule; it holds at once."""
    fields = form.model_dump(exclude={"session"}, exclude_none=True)
    rule = await bullpen.add_rule(fields, session=form.session)
    return Json(_shown(rule), status_code=201)


@router.delete("/policy/{rule}")
async def remove_rule(rule: str, bullpen: Host) -> Response:
    """Take a rule out."""
    return Json({"removed": rule, "file": str(await bullpen.remove_rule(rule))})


@router.post("/policy/test")
async def test_deed(form: TestDeed, bullpen: Host) -> Response:
    """Say what the rules would make of a deed, and why."""
    server, _, tool = (form.mcp or "").partition("/")
    kind = "mcp" if form.mcp else "fetch" if form.url else form.kind
    deed = Deed(
        kind=kind,
        command=form.command,
        paths=list(form.paths),
        server=server or None,
        mcp_tool=tool or None,
        url=form.url,
    )
    verdict = await bullpen.judge(deed, session=form.session, place=form.place)
    return Json(_told(verdict))


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "effect": verdict.effect.value if verdict.effect else None,
        "why": verdict.why,
        "rule": _shown(verdict.rule) if verdict.rule else None,
        "findings": [
            {
                "what": one.what,
                "effect": one.effect.value if one.effect else None,
                "why": one.why,
                "rule": one.rule.id if one.rule else None,
            }
            for one in verdict.findings
        ],
    }


def _shown(rule: Rule) -> dict[str, Any]:
    fields = {name: getattr(rule, name) for name in rule.__struct_fields__}
    return {name: value for name, value in fields.items() if value not in (None, "", False)}
