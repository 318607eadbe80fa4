"""Freeing what sessions that are long over still hold."""

import time
from pathlib import Path

import msgspec

from bullpen.errors import BullpenError
from bullpen.model.session import OVER, SessionRecord
from bullpen.places import measure
from bullpen.sessions import placing
from bullpen.sessions.launch import journal_of
from bullpen.sessions.stage import Stage
from bullpen.sessions.supervisor import Supervisor


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was freed, would be, or is kept."""

    kind: str
    """`worktree` or `journal`; `session` when nothing of it is on disk."""
    session: str
    path: str
    bytes: int
    why: str
    kept: str | None = None
    """Why it stays; None when it goes."""


class Freed(msgspec.Struct, frozen=True):
    """What pruning freed, or would free."""

    items: list[Item]
    freed_bytes: int


async def prune(stage: Stage, supervisor: Supervisor, *, older_than: float, dry_run: bool) -> Freed:
    """Remove sessions that are over and unused for `older_than` seconds, with their places.

    A session whose worktree holds work that is neither committed nor merged is kept, and named.
    With `dry_run` nothing is changed.
    """
    limit = time.time() - older_than
    items: list[Item] = []
    for record in await supervisor.records():
        if record.state not in OVER or record.used_at > limit:
            continue
        found = await _items(stage, record)
        if not dry_run and all(item.kept is None for item in found):
            found = await _removed(supervisor, record, found)
        items += found
    return Freed(items, sum(item.bytes for item in items if item.kept is None))


async def _items(stage: Stage, record: SessionRecord) -> list[Item]:
    days = (time.time() - record.used_at) / 86400
    why = f"{record.state.value}, not used for {days:.1f} days"
    kept = await _reason_to_keep(record)
    items: list[Item] = []
    folders = [("journal", journal_of(stage, record.id).folder)]
    if record.place == "worktree" and record.path:
        folders.append(("worktree", Path(record.path)))
    for kind, folder in folders:
        if folder.is_dir():
            size = await measure(folder)
            items.append(
                Item(
                    kind=kind,
                    session=record.id,
                    path=str(folder),
                    bytes=size,
                    why=why,
                    kept=kept,
                )
            )
    # A session that never had a process leaves nothing on disk, and is listed all the same.
    nothing = Item(kind="session", session=record.id, path="", bytes=0, why=why, kept=kept)
    return items or [nothing]


async def _reason_to_keep(record: SessionRecord) -> str | None:
    try:
        unsaved = await placing.unsaved_work(record)
    except BullpenError as fault:
        return f"cannot be looked at: {fault}"
    return f"holds {unsaved}" if unsaved else None


async def _removed(supervisor: Supervisor, record: SessionRecord, items: list[Item]) -> list[Item]:
    try:
        await supervisor.remove(record.id)
    except BullpenError as refusal:
        return [msgspec.structs.replace(item, kept=str(refusal)) for item in items]
    return items
