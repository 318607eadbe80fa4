"""The sessions of one `bullpen run`: started, looked at, ended and landed over the wire.

All sessions of a run carry the labels `run` and `brief`, so they are found again by anybody, and
also when this process never heard the answer to its request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from bullpen.cli.exits import DONE, ERROR, Refusal, of_outcome
from bullpen.cli.wire import Wire, fresh_key, session_path, with_query

Record = dict[str, Any]

TICK = 0.25
"""Seconds between two looks, when nothing ends in between."""
_CHANGES_EVERY = 0.8
_GOING = ("", "queued", "starting", "working")
_ASKING = ("asking", "waiting", "doubted")
_OVER = ("stopped", "failed", "lost")


@dataclass
class Brief:
    """One piece of wanted work."""

    text: str
    title: str
    source: str
    """The file it was read from, `-`, or empty for text from the command line."""


@dataclass
class Member:
    """One brief and what became of it."""

    number: int
    brief: Brief
    key: str = field(default_factory=fresh_key)
    record: Record = field(default_factory=dict[str, Any])
    """The session as last seen; empty before it is there."""
    was_seen: bool = False
    """Whether a list had it; one that is not there later was removed."""
    outcome: str = ""
    """How it stands; once its turn is over it does not change any more."""
    error: Refusal | None = None
    """Why there is no session."""
    changes: Record | None = None
    """What was changed as last counted; nothing where that cannot be known, as outside of git."""
    changes_at: float = 0.0
    diff: bytes = b""
    landed: Record | None = None
    landing_error: Refusal | None = None
    ending: threading.Thread | None = None
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @property
    def session(self) -> str:
        """The session's id; empty before it is there."""
        return self.record.get("id", "")

    @property
    def asks(self) -> list[Record]:
        """What it wants to know of its user."""
        return self.record.get("asks", [])

    @property
    def turn(self) -> Record:
        """Its running or last turn; empty before the first."""
        return self.record.get("turn", {})

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return self.error is not None or self.ended is not None

    @property
    def needs_user(self) -> bool:
        """Whether it waits for somebody."""
        return not self.is_over and self.outcome in _ASKING

    @property
    def elapsed(self) -> float:
        """Seconds since it was wanted, until its end."""
        return (self.ended or time.monotonic()) - self.began

    @property
    def word(self) -> str:
        """One word for people."""
        if self.error is not None:
            return "not started"
        return self.outcome or "starting"

    def exit_code(self) -> int:
        """What this member means for the exit code of the whole."""
        if self.error is not None:
            return self.error.exit_code or ERROR
        if self.landing_error is not None and self.landing_error.code != "nothing-to-land":
            return ERROR
        return of_outcome(self.outcome) if self.outcome else ERROR


class Team:
    """All members of one run. Only `start` and `end` use other threads, and only for requests."""

    def __init__(self, wire: Wire, briefs: list[Brief], *, wanted: Mapping[str, Any]) -> None:
        """Prepare a run; nothing is started yet.

        Args:
            wanted: The body of `POST /v1/sessions` that all have in common.
        """
        self.name = fresh_key()[:12]
        self.members = [Member(number, brief) for number, brief in enumerate(briefs, 1)]
        self.began = time.monotonic()
        self._wire = wire
        self._wanted = wanted

    def start(self) -> None:
        """Ask for all sessions at once; `look` tells how that goes."""
        for member in self.members:
            member.began = time.monotonic()
            threading.Thread(target=self._create, args=(member,), daemon=True).start()

    def _create(self, member: Member) -> None:
        labels = {**self._wanted.get("labels", {}), "run": self.name, "brief": str(member.number)}
        body = {
            **self._wanted,
            "labels": labels,
            "title": member.brief.title,
            "prompt": member.brief.text,
        }
        try:
            # No time limit: the service has one for the handshake, and setup may take long.
            made = self._wire.call("POST", "/v1/sessions", body, key=member.key, timeout=None)
        except Refusal as refusal:
            member.error = refusal
            return
        if not member.record:
            member.record = made

    def look(self) -> None:
        """Read how all members stand."""
        query = {"all": "1", "label": f"run={self.name}"}
        found = self._wire.call("GET", with_query("/v1/sessions", query))["sessions"]
        seen = {one.get("labels", {}).get("brief"): one for one in found}
        for member in self.members:
            record = seen.get(str(member.number))
            if record is not None:
                _update(member, record)
            elif member.was_seen and not member.is_over:
                gone = f"session {member.session!r} was removed by somebody else"
                member.error = Refusal("session-not-found", gone)

    def count_changes(self) -> None:
        """Ask for the changes of the member that was asked longest ago, once more after its end."""
        due = [one for one in self.members if one.record and one.changes_at < (one.ended or inf)]
        due = [one for one in due if time.monotonic() - one.changes_at > _CHANGES_EVERY]
        if due:
            self._count(min(due, key=lambda one: one.changes_at))

    def _count(self, member: Member) -> None:
        member.changes_at = time.monotonic()
        member.changes = self._try(member, "/changes") or member.changes

    def pause(self) -> None:
        """Sleep until somebody settles, at most one `TICK`."""
        going = [one.session for one in self.members if one.session and one.outcome in _GOING]
        if not going:
            time.sleep(TICK)
            return
        began = time.monotonic()
        body = {"sessions": going, "until": "any", "timeout": TICK}
        try:
            self._wire.call("POST", "/v1/wait", body, repeat=True)
        except Refusal as refusal:
            if refusal.code != "session-not-found":
                raise
        # The list may lag behind the answer, or the session be settled only for a moment; either
        # must not turn into a stream of requests.
        time.sleep(max(0.0, min(0.05, TICK - (time.monotonic() - began))))

    def end_those_done(self) -> None:
        """Begin to stop each member that is done and has a process. Frees its share of the cap."""
        for member in self.members:
            has_process = member.record.get("state") not in (*_OVER, None)
            if member.ended is not None and has_process and member.ending is None:
                member.ending = threading.Thread(target=self._stop, args=(member,), daemon=True)
                member.ending.start()

    def _stop(self, member: Member) -> None:
        try:
            path = session_path(member.session, "/stop")
            self._wire.call("POST", path, {}, repeat=True, timeout=None)
        except Refusal as refusal:
            # It may have ended by itself; whether it is gone shows in the list.
            member.record["reason"] = refusal.message

    def join(self) -> None:
        """Wait for the ends that were begun."""
        for member in self.members:
            if member.ending is not None:
                member.ending.join()

    def read_diffs(self) -> None:
        """Read what each member changed, before it is landed.

        Again, however lately they were counted: an agent may write and end a moment after.
        """
        for member in self.members:
            if member.record:
                self._count(member)
            if member.changes and member.changes.get("files"):
                member.diff = self._diff(member)

    def _diff(self, member: Member) -> bytes:
        try:
            return self._wire.fetch(session_path(member.session, "/diff"))
        except Refusal:
            return b""

    def land(self, tell: Callable[[Member], None]) -> None:
        """Land the branches of completed members, in the order of the briefs. One that cannot be
        landed keeps all of its work and does not hinder the next."""
        for member in self.members:
            if member.outcome != "completed":
                continue
            try:
                path = session_path(member.session, "/land")
                member.landed = self._wire.call("POST", path, {"commit": True}, timeout=None)
            except Refusal as refusal:
                member.landing_error = refusal
            tell(member)

    def last_message(self, member: Member) -> str:
        """Return what the member said last, empty if nothing."""
        found = self._try(member, "/messages?count=1") or {}
        return "".join(one["text"] for one in found.get("messages", []))

    def _try(self, member: Member, rest: str) -> Record | None:
        # A place that is not prepared yet, or a session without one, has nothing to count.
        try:
            return self._wire.call("GET", session_path(member.session, rest))
        except Refusal as refusal:
            if refusal.code == "service-unreachable":
                raise
            return None


def _update(member: Member, record: Record) -> None:
    member.record, member.was_seen = record, True
    if member.is_over:
        return
    member.outcome = _outcome(record, member.turn)
    if member.outcome not in (*_GOING, *_ASKING):
        member.ended = time.monotonic()


def _outcome(record: Record, turn: Record) -> str:
    """Return the outcome of the first turn; `working` while it is not over."""
    word = str(record.get("outcome") or record.get("state") or "")
    if word in _OVER or word in _ASKING or word in _GOING:
        return word
    unfinished = not turn or turn.get("state") in ("queued", "running") or record.get("queue")
    return "working" if unfinished else word


def listed_changes(diff: bytes) -> list[tuple[str, int, int]]:
    """Return file, added and removed lines for each file of a git diff."""
    found: list[tuple[str, int, int]] = []
    left = right = 0
    for line in diff.split(b"\n"):
        if line.startswith(b"diff --git "):
            name = line.rpartition(b" b/")[2].rstrip(b'"')
            found.append((name.decode("utf-8", "replace"), 0, 0))
            left = right = 0
        elif line.startswith(b"@@ ") and not (left or right):
            left, right = _hunk(line)
        elif found and (left or right):
            name, plus, minus = found[-1]
            added, removed = line[:1] == b"+", line[:1] == b"-"
            found[-1] = (name, plus + added, minus + removed)
            left -= removed or line[:1] == b" "
            right -= added or line[:1] == b" "
    return found


def _hunk(line: bytes) -> tuple[int, int]:
    # "@@ -3,7 +3,9 @@": how many lines of each side follow; without a count it is one. Counting
    # them is the only way to tell a removed line "-- x" from the header "--- x".
    words = line.split(b" ")[1:3]
    old, new = (int(word.partition(b",")[2] or 1) for word in words)
    return old, new


def nothing_went_wrong(team: Team) -> bool:
    """Say whether every brief was completed, and landed where that was asked for."""
    return all(member.exit_code() == DONE for member in team.members)
