"""What the contract's tests do again and again with one session of a real agent."""

import re
from pathlib import Path

import anyio

from bullpen.api import Bullpen
from bullpen.model.fact import MessageStreamed, ToolCalled
from bullpen.model.session import OVER, SessionRecord, TurnState
from kit.world import World, all_events, until

_NOISE = re.compile(r"Warning: Model metadata for .*? cause issues\.\n\n")
# codex-acp says so of a model it does not know, as if the model had.
SESSION = "one"
PATIENCE = 40.0
"""Seconds for one turn of a real agent on a busy machine."""


async def begin(pen: Bullpen, world: World, agent: str, **wish: object) -> SessionRecord:
    """Start the agent; returns when it is ready."""
    wanted = world.wish(agent=agent, id=wish.pop("id", SESSION), **wish)
    with anyio.fail_after(90):
        return (await pen.create(wanted))[0]


async def told(
    pen: Bullpen, text: str, *, allow: bool | None = None, id: str = SESSION
) -> SessionRecord:
    """Give a prompt and return the record at the turn's end; permissions are answered."""
    turn = await pen.send(id, text)
    return await finished(pen, turn, allow=allow, id=id)


async def finished(
    pen: Bullpen, turn: int, *, allow: bool | None = None, id: str = SESSION
) -> SessionRecord:
    """Return the record once the turn is over."""
    with anyio.fail_after(PATIENCE):
        while True:
            record = await until(pen, id, lambda one: _is_at_rest(one, turn), timeout=PATIENCE)
            if not record.asks or allow is None:
                return record
            await pen.answer(id, request=record.asks[0].request, allow=allow)


def _is_at_rest(record: SessionRecord, turn: int) -> bool:
    now = record.turn
    is_over = now is not None and now.number >= turn and now.state is not TurnState.RUNNING
    return bool(record.asks) or is_over or record.state in OVER


async def said(pen: Bullpen, id: str = SESSION) -> str:
    """Return all text of the agent so far."""
    facts = [event.fact for event in await all_events(pen, id)]
    text = "".join(fact.text for fact in facts if isinstance(fact, MessageStreamed))
    return _NOISE.sub("", text)


async def speaking(pen: Bullpen, id: str = SESSION) -> None:
    """Return once text of the running turn has come."""
    await until(pen, id, lambda record: "w0" in record.last_line, timeout=PATIENCE)


async def calls(pen: Bullpen, id: str = SESSION) -> list[ToolCalled]:
    """Return every tool call so far."""
    facts = [event.fact for event in await all_events(pen, id)]
    return [fact for fact in facts if isinstance(fact, ToolCalled)]


def processes_with(word: str) -> list[int]:
    """Return the processes on whose command line `word` stands as one argument."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(int(entry.parent.name))
    return found
