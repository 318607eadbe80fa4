"""Routes of the host itself: health, agents, doctor, prune, shutdown."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from bullpen.service.answers import Json
from bullpen.service.forms import Prune
from bullpen.service.sessions import Host

router = APIRouter(prefix="/v1")


@router.get("/health")
async def show_health(bullpen: Host) -> Response:
    """Say who serves, since when, and how many sessions are in which state."""
    return Json(await bullpen.health())


@router.get("/agents")
async def list_agents(bullpen: Host, *, versions: bool = False) -> Response:
    """List the catalog with what was found on this machine."""
    faults = [
        {"code": fault.code, "message": str(fault), "hint": fault.hint}
        for fault in bullpen.catalog_faults()
    ]
    return Json({"agents": await bullpen.agents(versions=versions), "faults": faults})


@router.get("/doctor")
async def examine(bullpen: Host) -> Response:
    """Examine the host."""
    return Json({"findings": await bullpen.doctor()})


@router.post("/doctor/fix")
async def mend(bullpen: Host) -> Response:
    """Examine the host and mend what loses nothing."""
    return Json({"findings": await bullpen.doctor(fix=True)})


@router.post("/doctor/rebuild")
async def rebuild(bullpen: Host) -> Response:
    """Make every session's row anew from its events."""
    return Json({"sessions": await bullpen.rebuild()})


@router.post("/prune")
async def prune(form: Prune, bullpen: Host) -> Response:
    """Remove old sessions, or show what would be removed."""
    return Json(await bullpen.prune(older_than=form.older_than, dry_run=form.dry_run))


@router.post("/shutdown")
async def shut_down(request: Request) -> Response:
    """Begin an orderly end; agents keep running."""
    request.app.state.shut_down()
    return Json({"ok": True})
