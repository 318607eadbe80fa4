"""Everything agents wait for, over all sessions, under short names that do not change."""

import hashlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bullpen.errors import AskNotFound, PolicyInvalid
from bullpen.model.fact import Deed
from bullpen.model.session import OpenAsk, SessionRecord
from bullpen.policy.rule import Effect, Rule, Scope
from bullpen.sessions.judging import Policies

_ID_CHARS = 6


class Approval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One open permission or question."""

    id: str
    session: str
    agent: str
    request: str
    kind: str
    title: str
    asked_at: float
    why: str = ""
    """Why no rule decided it."""
    tool_kind: str | None = None
    deed: Any = None
    options: list[dict[str, str]] = []
    schema: dict[str, Any] | None = None
    url: str | None = None
    session_title: str = ""
    place: str = ""


def name_of(session: str, ask: OpenAsk) -> str:
    """Return the short name of an open request: the same after every restart."""
    text = f"{session}\0{ask.request}\0{ask.asked_at:.6f}"
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:_ID_CHARS]


def listed(records: Iterable[SessionRecord], policies: Policies) -> list[Approval]:
    """Return everything that is open, oldest first."""
    found = [_approval(record, ask, policies) for record in records for ask in record.asks]
    return sorted(found, key=lambda one: (one.asked_at, one.id))


def _approval(record: SessionRecord, ask: OpenAsk, policies: Policies) -> Approval:
    return Approval(
        id=name_of(record.id, ask),
        session=record.id,
        agent=record.agent,
        request=ask.request,
        kind=ask.kind,
        title=ask.title,
        asked_at=ask.asked_at,
        why=_why(record, ask, policies),
        tool_kind=ask.tool_kind,
        deed=ask.deed,
        options=ask.options,
        schema=ask.schema,
        url=ask.url,
        session_title=record.title,
        place=record.path,
    )


def _why(record: SessionRecord, ask: OpenAsk, policies: Policies) -> str:
    if ask.kind != "permission":
        return ""
    try:
        return policies.verdict(record, deed_of(ask)).why
    except PolicyInvalid as fault:
        return str(fault)


def deed_of(ask: OpenAsk) -> Deed | None:
    """Return what an open permission is about."""
    return None if ask.deed is None else msgspec.convert(ask.deed, Deed)


def found(records: Iterable[SessionRecord], name: str) -> tuple[SessionRecord, OpenAsk]:
    """Return the open request with that short name.

    Raises:
        AskNotFound: none has it; it may be answered already.
    """
    for record in records:
        for ask in record.asks:
            if name_of(record.id, ask) == name:
                return record, ask
    raise AskNotFound("", name)


def rule_for(
    deed: Deed | None, effect: Effect, *, name: str, place: str, now: float
) -> Rule | None:
    """Return the narrowest session rule that decides such a deed again; None when there is none
    that would decide just that."""
    if deed is None:
        return None
    base: dict[str, Any] = {"id": name, "effect": effect, "scope": Scope.SESSION, "added_at": now}
    base["reason"] = "answered with --always"
    if deed.command is not None:
        return Rule(**base, command=deed.command, exact=True, kind="execute")
    if deed.argv is not None:
        return Rule(**base, command=" ".join(deed.argv), exact=True, kind="execute")
    if deed.kind == "mcp" and deed.server and deed.mcp_tool:
        return Rule(**base, mcp=f"{deed.server}/{deed.mcp_tool}")
    if deed.url is not None and (host := urlsplit(deed.url).hostname):
        return Rule(**base, host=host)
    if deed.paths:
        inside = all(one.startswith(place.rstrip("/") + "/") for one in deed.paths)
        path = "inside" if inside else deed.paths[0]
        return Rule(**base, kind=deed.kind, path=path) if inside or len(deed.paths) == 1 else None
    return Rule(**base, kind=deed.kind) if deed.kind not in ("other", "execute") else None
