"""Routes of sessions: one handler per verb."""

from pathlib import Path
from typing import Annotated

import anyio
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from bullpen.api import Bullpen
from bullpen.errors import BullpenError, RequestInvalid, ServiceStopping
from bullpen.model.session import SessionRecord, SessionState
from bullpen.model.wanted import NewSession
from bullpen.service.answers import Json, view
from bullpen.service.forms import (
    AnswerAsk,
    ChangeSession,
    CreateSession,
    LandSession,
    QueueTurn,
    ResumeSession,
    StopSession,
    SwitchSession,
    WaitFor,
)
from bullpen.sessions.waiting import Waited

router = APIRouter(prefix="/v1")


def host(request: Request) -> Bullpen:
    """Return the host this service serves."""
    return request.app.state.bullpen


Host = Annotated[Bullpen, Depends(host)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]


@router.post("/sessions", status_code=201)
async def create_session(form: CreateSession, bullpen: Host, key: Key = None) -> Response:
    """Make a session. Answers when the agent answered its handshake, or when it is queued."""
    if not Path(form.path).is_absolute():
        raise RequestInvalid(f"path must be absolute, not {form.path!r}")
    wanted = NewSession(
        agent=form.agent,
        directory=form.path,
        key=key,
        **form.model_dump(exclude={"agent", "path", "wait"}),
    )
    record, is_new = await bullpen.create(wanted, wait=form.wait)
    return Json(view(record), status_code=201 if is_new else 200)


@router.get("/sessions")
async def list_sessions(
    bullpen: Host,
    *,
    include_all: Annotated[bool, Query(alias="all")] = False,
    state: str | None = None,
    agent: str | None = None,
    directory: str | None = None,
    parent: str | None = None,
    label: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """List sessions, oldest first; stopped ones only when asked for."""

    def fits(record: SessionRecord) -> bool:
        return (
            (include_all or state is not None or record.state is not SessionState.STOPPED)
            and state in (None, record.state.value)
            and agent in (None, record.agent)
            and directory in (None, record.directory, record.repo)
            and parent in (None, record.parent)
            and all(_has_label(record, one) for one in label or ())
        )

    return Json({"sessions": [view(one) for one in await bullpen.sessions() if fits(one)]})


def _has_label(record: SessionRecord, label: str) -> bool:
    name, equals, value = label.partition("=")
    return name in record.labels and (not equals or record.labels[name] == value)


@router.get("/sessions/{session}")
async def show_session(session: str, bullpen: Host) -> Response:
    """Show one session."""
    return Json(view(await bullpen.session(session)))


@router.patch("/sessions/{session}")
async def change_session(session: str, form: ChangeSession, bullpen: Host) -> Response:
    """Change title, launch mode or model."""
    record = await bullpen.session(session)
    if form.title is not None:
        record = await bullpen.rename(session, form.title)
    if form.mode is not None:
        record = await bullpen.set_mode(session, form.mode)
    if form.model is not None:
        record = await bullpen.set_model(session, form.model)
    return Json(view(record))


@router.delete("/sessions/{session}")
async def remove_session(session: str, bullpen: Host, *, force: bool = False) -> Response:
    """Take a session that is over out of the lists, with its worktree."""
    return Json({"removed": session, "rescue": await bullpen.remove(session, force=force)})


@router.post("/sessions/{session}/turns", status_code=202)
async def queue_turn(session: str, request: Request, bullpen: Host, key: Key = None) -> Response:
    """Queue a prompt; with `how: interrupt` it replaces what runs and waits, with `how: steer` it
    is added to what runs."""
    form = QueueTurn.model_validate_json(await request.body())
    turn = await bullpen.send(
        session,
        form.text,
        key=key,
        sender=form.sender,
        replace=form.how == "interrupt",
        steer=form.how == "steer",
    )
    record = await bullpen.session(session)
    state = "queued" if turn in record.queue else "running"
    return Json({"session": session, "turn": turn, "state": state}, status_code=202)


@router.post("/sessions/{session}/interrupt")
async def interrupt_session(session: str, bullpen: Host) -> Response:
    """Ask the agent to end the running turn."""
    return Json(view(await bullpen.interrupt(session)))


@router.post("/sessions/{session}/resume")
async def resume_session(
    session: str, bullpen: Host, form: ResumeSession | None = None
) -> Response:
    """Bring a session that is over back."""
    form = form or ResumeSession()
    return Json(view(await bullpen.resume(session, fresh=form.fresh, prompt=form.prompt)))


@router.post("/sessions/{session}/switch")
async def switch_session(session: str, form: SwitchSession, bullpen: Host) -> Response:
    """Hand the conversation over to the other interface."""
    return Json(view(await bullpen.switch(session, form.interface, interrupt=form.interrupt)))


@router.post("/sessions/{session}/stop")
async def stop_session(session: str, bullpen: Host, form: StopSession | None = None) -> Response:
    """End the session's process in an orderly way."""
    return Json(view(await bullpen.stop(session, grace=form.grace if form else None)))


@router.post("/sessions/{session}/kill")
async def kill_session(session: str, bullpen: Host) -> Response:
    """End the session's process at once."""
    return Json(view(await bullpen.stop(session, grace=0)))


@router.post("/sessions/{session}/answers")
async def answer_ask(session: str, form: AnswerAsk, bullpen: Host) -> Response:
    """Answer a permission or question."""
    said = (form.allow, form.choice, form.action, form.content)
    if all(one is None for one in said):
        raise RequestInvalid("say one of allow, choice, action or content")
    record = await bullpen.answer(session, **form.model_dump())
    return Json(view(record))


@router.post("/sessions/{session}/land")
async def land_session(session: str, bullpen: Host, form: LandSession | None = None) -> Response:
    """Merge the session's branch."""
    form = form or LandSession()
    done = await bullpen.land(session, **form.model_dump())
    return Json({"target": done.target, "commit": done.commit, "files": done.files})


@router.get("/sessions/{session}/changes")
async def show_changes(session: str, bullpen: Host) -> Response:
    """Count what the session changed since its base."""
    numbers = await bullpen.changes(session)
    return Json(
        {
            "files": numbers.files,
            "insertions": numbers.insertions,
            "deletions": numbers.deletions,
        }
    )


@router.get("/sessions/{session}/diff")
async def show_diff(session: str, bullpen: Host) -> Response:
    """Return the session's whole work as a diff."""
    return Response(await bullpen.diff(session), media_type="text/x-diff")


@router.post("/wait")
async def wait_for_sessions(form: WaitFor, request: Request, bullpen: Host) -> Response:
    """Wait until sessions are settled. Safe to repeat. Ends when the caller hangs up."""
    found: list[Waited | BullpenError] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_hang_up, request, tasks.cancel_scope)
        try:
            waited = await bullpen.wait(
                form.sessions,
                until_any=form.until == "any",
                turns=form.turns,
                goal=form.goal,
                timeout=form.timeout,
            )
            found.append(waited)
        except BullpenError as error:
            # A task group would wrap it.
            found.append(error)
        tasks.cancel_scope.cancel()
    if not found:
        return Response(status_code=499)
    if isinstance(found[0], BullpenError):
        raise found[0]
    return _waited(found[0], is_draining=bullpen.is_draining)


async def _hang_up(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _waited(waited: Waited, *, is_draining: bool) -> Response:
    body = {
        "timed_out": waited.timed_out,
        "settled": waited.settled,
        "pending": waited.pending,
        "sessions": {name: view(record) for name, record in waited.sessions.items()},
    }
    if is_draining and waited.pending and not waited.timed_out:
        raise ServiceStopping()
    return Json(body)
