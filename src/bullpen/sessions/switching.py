"""Handing a conversation over from one interface to the other."""

import anyio

from bullpen.errors import RequestInvalid, ResumeUnsupported, SessionBusy
from bullpen.model.fact import InterfaceChanged
from bullpen.model.session import BUSY, OVER, SessionRecord
from bullpen.sessions.launch import mode_of
from bullpen.sessions.screens import STRUCTURED, TERMINAL, check_interface
from bullpen.sessions.stage import Stage
from bullpen.sessions.supervisor import Supervisor

_PATIENCE = 60.0


async def switch(
    stage: Stage, supervisor: Supervisor, session: str, interface: str, *, interrupt: bool
) -> SessionRecord:
    """Have the session go on through `interface`: same id, same conversation.

    Its process is ended in good order and the conversation is brought back through the other
    interface. Where that fails, the session is `failed` and may be resumed or switched back.

    Raises:
        RequestInvalid: there is no such interface, or the session has it already.
        InterfaceUnsupported, ModeUnsupported: the agent has none of that kind, or cannot honour
            the session's launch mode there. Nothing was changed.
        ResumeUnsupported: the agent cannot bring conversations back. Nothing was changed.
        SessionBusy: a turn runs, and `interrupt` was not asked for. Nothing was changed.
    """
    if interface not in (STRUCTURED, TERMINAL):
        raise RequestInvalid(f"there is no interface {interface!r}")
    ledger = await supervisor.ledger(session)
    record = ledger.record
    if record.interface == interface:
        raise RequestInvalid(f"session {session!r} has the interface {interface!r} already")
    profile = stage.catalog.find(record.agent)
    check_interface(profile, interface, mode_of(profile, record.mode))
    table = profile.terminal
    able = set(record.abilities or profile.abilities) & {"resume", "load"}
    if not able or table is None or not table.resume_args:
        raise ResumeUnsupported(session, record.agent)
    if record.state in BUSY:
        await _wound_up(stage, supervisor, session, interrupt=interrupt)
    if record.state not in OVER:
        await supervisor.stop(session)
    await ledger.write(InterfaceChanged(interface=interface)).wait()
    return await supervisor.resume(session)


async def _wound_up(stage: Stage, supervisor: Supervisor, session: str, *, interrupt: bool) -> None:
    ledger = await supervisor.ledger(session)
    if not interrupt:
        raise SessionBusy(session, ledger.record.state)
    supervisor.running(ledger).interrupt()
    with stage.hub.listening([session]) as listener, anyio.move_on_after(_PATIENCE):
        while ledger.record.state in BUSY:
            await listener.wait()
