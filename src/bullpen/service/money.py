"""Routes of limits, goals, cost and budgets."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from bullpen.errors import GoalMissing, RequestInvalid
from bullpen.service.answers import Json, view
from bullpen.service.forms import MOST, Form
from bullpen.service.sessions import Host

router = APIRouter(prefix="/v1")
Usd = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Tokens = Annotated[int, Field(gt=0, le=MOST)]


class SetGoal(Form):
    """A goal for a session."""

    objective: str
    budget_tokens: Tokens | None = None
    budget_usd: Usd | None = None
    max_turns: Annotated[int, Field(gt=0, le=100_000)] | None = None


class ChangeGoal(Form):
    """Another status of a goal."""

    status: Literal["paused", "active", "cleared"]


class ReportGoal(Form):
    """What an agent says of its goal."""

    status: str
    note: str = ""


class SetBudget(Form):
    """A hard budget; what is left out is no budget."""

    usd: Usd | None = None
    tokens: Tokens | None = None


@router.get("/sessions/{session}/goal")
async def show_goal(session: str, bullpen: Host) -> Response:
    """Show the session's goal."""
    record = await bullpen.session(session)
    if record.goal is None:
        raise GoalMissing(session)
    return Json(record.goal)


@router.put("/sessions/{session}/goal")
async def set_goal(session: str, form: SetGoal, bullpen: Host) -> Response:
    """Give the session a goal, and begin with it."""
    return Json(view(await bullpen.lifter.set_goal(session, **form.model_dump())))


@router.patch("/sessions/{session}/goal")
async def change_goal(session: str, form: ChangeGoal, bullpen: Host) -> Response:
    """Pause, go on with or drop the goal."""
    return Json(view(await bullpen.lifter.change_goal(session, form.status)))


@router.post("/sessions/{session}/goal/report")
async def report_goal(session: str, form: ReportGoal, bullpen: Host) -> Response:
    """Take the agent's own report: `complete` or `blocked`, and a note."""
    return Json(view(await bullpen.lifter.report_goal(session, form.status, form.note)))


@router.put("/sessions/{session}/budget")
async def set_budget(session: str, form: SetBudget, bullpen: Host) -> Response:
    """Give the session another hard budget."""
    record = await bullpen.lifter.set_budget(session, usd=form.usd, tokens=form.tokens)
    return Json(view(record))


@router.get("/cost")
async def show_cost(
    bullpen: Host,
    *,
    by: Literal["session", "agent", "model", "workspace", "day"] = "session",
    since: Annotated[float, Query(ge=0)] = 0.0,
) -> Response:
    """Add up what was spent since a moment, in seconds since the epoch."""
    return Json({"by": by, "cost": await bullpen.cost(by=by, since=since)})


@router.get("/limits")
async def list_limits(bullpen: Host) -> Response:
    """List the accounts that are limited, and the sessions that wait."""
    waiting = [one for one in await bullpen.sessions() if one.limit is not None]
    return Json(
        {
            "accounts": bullpen.limits(),
            "sessions": {one.id: one.limit for one in waiting},
        }
    )


@router.post("/limits/{account}/clear")
async def clear_limit(account: str, bullpen: Host) -> Response:
    """Have every session that waits for the account try again now."""
    if not account:
        raise RequestInvalid("name an account")
    return Json({"account": account, "sessions": await bullpen.clear_limit(account)})
