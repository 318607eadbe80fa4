"""Routes that read what was said: messages, log, turns, events."""

from collections.abc import AsyncGenerator
from typing import Annotated

import anyio
import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from bullpen.api import Bullpen
from bullpen.errors import SessionNotFound
from bullpen.model.fact import (
    Event,
    SessionRemoved,
    TurnEnded,
    TurnFailed,
    TurnQueued,
    TurnStarted,
    TurnWithdrawn,
)
from bullpen.service.answers import Json
from bullpen.service.forms import MOST
from bullpen.service.sessions import Host
from bullpen.sessions.hub import Listener

router = APIRouter(prefix="/v1/sessions/{session}")

_KEEPALIVE = 15.0
_REMOVAL = 2.0
# Seconds a removal may take from when nobody finds the session to when its last event is stored.
_PAGE = 500
_SHOWN_CHARS = 2000
_TURN_KINDS = ("turn-queued", "turn-started", "turn-ended", "turn-failed", "turn-withdrawn")


Count = Annotated[int, Query(ge=-MOST, le=MOST)]


@router.get("/messages")
async def show_messages(
    session: str, bullpen: Host, count: Count = 1, turn: Count | None = None
) -> Response:
    """Return the agent's last messages, oldest first."""
    return Json({"messages": await bullpen.messages(session, count=max(0, count), turn=turn)})


@router.get("/log")
async def show_log(session: str, bullpen: Host) -> Response:
    """Return the whole conversation."""
    return Json({"entries": await bullpen.log(session)})


@router.get("/turns")
async def list_turns(session: str, bullpen: Host, after: Count = 0) -> Response:
    """List the turns with a number above `after`."""
    turns: dict[int, dict[str, object]] = {}
    seq = 0
    while page := await bullpen.events(session, after=seq, limit=_PAGE, kinds=_TURN_KINDS):
        seq = page[-1].seq
        for event in page:
            fact = event.fact
            assert isinstance(
                fact, (TurnQueued, TurnStarted, TurnEnded, TurnFailed, TurnWithdrawn)
            ), "asked for by kind"
            _note(turns.setdefault(fact.turn, {"number": fact.turn}), fact, event.at)
    return Json({"turns": [turn for number, turn in sorted(turns.items()) if number > after]})


def _note(
    turn: dict[str, object],
    fact: TurnQueued | TurnStarted | TurnEnded | TurnFailed | TurnWithdrawn,
    at: float,
) -> None:
    match fact:
        case TurnQueued():
            turn |= {"state": "queued", "text": fact.text[:_SHOWN_CHARS], "queued_at": at}
        case TurnStarted():
            turn |= {"state": "running", "started_at": at}
        case TurnEnded():
            state = "cancelled" if fact.stop == "cancelled" else "done"
            turn |= {"state": state, "stop": fact.stop, "ended_at": at}
        case TurnFailed():
            turn |= {"state": "failed", "error_code": fact.code, "error": fact.message}
            turn["ended_at"] = at
        case TurnWithdrawn():
            turn |= {"state": "withdrawn", "error": fact.reason}


@router.get("/events")
async def read_events(
    session: str,
    bullpen: Host,
    *,
    after: Count = 0,
    limit: Count = 1000,
    follow: bool = False,
    deltas: bool = False,
) -> Response:
    """Return stored events as JSON lines; with `follow`, go on as they happen."""
    first = await bullpen.events(session, after=after, limit=max(1, min(limit, 10_000)))
    if not follow:
        return Response(_encoder.encode_lines(first), media_type="application/x-ndjson")
    stream = _follow(bullpen, session, after=after, deltas=deltas)
    return StreamingResponse(stream, media_type="application/x-ndjson")


_encoder = msgspec.json.Encoder()


async def _follow(
    bullpen: Bullpen, session: str, *, after: int, deltas: bool
) -> AsyncGenerator[bytes]:
    """Replay from `after`, then go on live. Ends when the service does; read on from the last seq.

    Nothing is buffered for a slow reader: it is woken and reads what it has not read yet.
    """
    with bullpen.listening([session], deltas=deltas) as listener:
        while not bullpen.is_draining:
            page = await _more(bullpen, session, after, listener)
            if page:
                after = page[-1].seq
                yield _encoder.encode_lines(page)
            else:
                yield _streamed(session, listener) or await _silence(listener)
            if page and isinstance(page[-1].fact, SessionRemoved):
                return


async def _more(bullpen: Bullpen, session: str, after: int, listener: Listener) -> list[Event]:
    """Return the next events, also the last ones of a session that is being removed."""
    try:
        return await bullpen.events(session, after=after, limit=_PAGE)
    except SessionNotFound:
        return await _removal(bullpen, session, after, listener)


async def _removal(bullpen: Bullpen, session: str, after: int, listener: Listener) -> list[Event]:
    with anyio.move_on_after(_REMOVAL):
        while True:
            rest = await bullpen.store.events(session, after=after)
            if rest and isinstance(rest[-1].fact, SessionRemoved):
                return rest
            await listener.wait()
    raise SessionNotFound(session)


def _streamed(session: str, listener: Listener) -> bytes:
    """Return what was streamed and is not stored yet, and that some of it is missing."""
    news: list[object] = []
    if listener.gap:
        listener.gap = False
        news.append({"session": session, "gap": True})
    while listener.deltas:
        _, delta = listener.deltas.popleft()
        news.append({"session": session, "delta": delta})
    return _encoder.encode_lines(news)


async def _silence(listener: Listener) -> bytes:
    """Wait for news; return what keeps the connection alive when there were none for long."""
    with anyio.move_on_after(_KEEPALIVE) as patience:
        await listener.wait()
    return b'{"keepalive":true}\n' if patience.cancelled_caught else b""
