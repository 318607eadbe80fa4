"""Answering what agents ask for, by the user's rules.

Rules come from four places, each read again when it changed: the global file of the user's
configuration, the repository's own file (which may only tighten), the file a session was created
with, and what was decided for that session. A file that is not whole decides nothing and lets
nothing through: whatever is asked then goes to the user.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bullpen.agents.dialect import AnswerPermission
from bullpen.errors import PolicyInvalid, RuleUnknown
from bullpen.model.fact import AgentFact, AnyFact, AskAnswered, Deed, PermissionAsked
from bullpen.model.home import Home
from bullpen.model.session import SessionRecord, TurnState
from bullpen.policy.files import add_rule, read_rules, remove_rule
from bullpen.policy.judge import Verdict, judge
from bullpen.policy.protect import Ground
from bullpen.policy.rule import Effect, Rule, Scope
from bullpen.sessions.reflex import Reaction

_KINDS = {Effect.ALLOW: ("allow_once", "allowed"), Effect.DENY: ("reject_once", "rejected")}
_REPOSITORY_FILE = Path(".bullpen") / "policy.toml"
_AUDIT_FILE = "policy-audit.jsonl"


class Source(msgspec.Struct, frozen=True):
    """One file of rules and what it may say."""

    file: Path
    scope: Scope
    tightens_only: bool = False


class _Kept(msgspec.Struct):
    stamp: tuple[int, int, int] | None
    rules: list[Rule]
    fault: PolicyInvalid | None


class Policies:
    """All rules of a host, as the files have them at this moment."""

    def __init__(self, home: Home, *, config: Path, user_home: str) -> None:
        self._home = home
        self._config = config
        self._user_home = os.path.realpath(user_home)
        self._kept: dict[Source, _Kept] = {}

    @property
    def global_file(self) -> Path:
        """Where rules of scope global and workspace lie."""
        return self._config / "policy.toml"

    def session_file(self, session: str) -> Path:
        """Where what was decided for a session lies; it goes with the session."""
        return self._home.sessions / session / "policy.toml"

    def sources(self, record: SessionRecord | None) -> list[Source]:
        """Return the files whose rules hold for a session, or for none."""
        found = [Source(self.global_file, Scope.GLOBAL)]
        if record is None:
            return found
        root = Path(record.repo or record.directory)
        found.append(Source(root / _REPOSITORY_FILE, Scope.WORKSPACE, tightens_only=True))
        if record.policy:
            found.append(Source(Path(record.policy), Scope.SESSION))
        found.append(Source(self.session_file(record.id), Scope.SESSION))
        return found

    def rules(self, record: SessionRecord | None) -> list[Rule]:
        """Return every rule that holds for a session.

        Raises:
            PolicyInvalid: a file is not whole.
        """
        found = [rule for source in self.sources(record) for rule in self.read(source)]
        return [one for one in found if one.workspace is None or _is_in(record, one.workspace)]

    def read(self, source: Source) -> list[Rule]:
        """Return the rules of one file as it is now; raises `PolicyInvalid`."""
        stamp = _stamp(source.file)
        kept = self._kept.get(source)
        if kept is None or kept.stamp != stamp:
            kept = _Kept(stamp, [], None)
            try:
                kept.rules = read_rules(
                    source.file, scope=source.scope, tightens_only=source.tightens_only
                )
            except PolicyInvalid as fault:
                kept.fault = fault
            self._kept[source] = kept
        if kept.fault is not None:
            raise kept.fault
        return kept.rules

    def ground(self, record: SessionRecord | None, *, place: str = "") -> Ground:
        """Return where a session's deeds happen and what is protected there."""
        path = place or (record.path or record.directory if record else "/")
        place = os.path.realpath(path)
        repo = record.repo if record else None
        gits = [Path(root, ".git") for root in {place, os.path.realpath(repo or place)}]
        state = os.path.realpath(self._home.folder)
        return Ground(
            place=place,
            home=self._user_home,
            hidden=(
                os.path.realpath(self._config),
                state,
                os.path.realpath(self._home.socket),
                *([os.path.realpath(record.policy)] if record and record.policy else []),
            ),
            open=(os.path.realpath(self._home.worktrees),),
            fixed=tuple(str(git / name) for git in gits for name in ("hooks", "config")),
            resolve=os.path.realpath,
        )

    def verdict(
        self, record: SessionRecord | None, deed: Deed | None, *, place: str = ""
    ) -> Verdict:
        """Return what the rules say of a deed.

        Raises:
            PolicyInvalid: a file of rules is not whole.
        """
        ground = self.ground(record, place=place)
        return judge(deed, self.rules(record), ground, now=time.time())

    # ---- changing ------------------------------------------------------------------------

    def add(self, rule: Rule, *, session: str | None = None) -> Path:
        """Write a rule to the file of its scope and return the file.

        Raises:
            PolicyInvalid: that file is not whole; nothing was written.
        """
        file = self.session_file(session) if session is not None else self.global_file
        add_rule(file, rule)
        self._note({"did": "added", "rule": rule, "session": session})
        return file

    def remove(self, name: str, *, records: Sequence[SessionRecord]) -> Path:
        """Take a rule out of the file it stands in and return the file.

        Raises:
            RuleUnknown: no file of ours has it.
            PolicyInvalid: a file is not whole.
        """
        sources = [Source(self.global_file, Scope.GLOBAL)]
        sources += [Source(self.session_file(one.id), Scope.SESSION) for one in records]
        for source in sources:
            if source.file.exists() and remove_rule(source.file, name, scope=source.scope):
                self._note({"did": "removed", "rule": name, "file": str(source.file)})
                return source.file
        raise RuleUnknown(name)

    def _note(self, entry: dict[str, object]) -> None:
        file = self._home.folder / _AUDIT_FILE
        line = msgspec.json.encode({"at": time.time(), **entry}) + b"\n"
        with file.open("ab") as log:
            log.write(line)

    def audit(self, *, limit: int) -> list[dict[str, object]]:
        """Return the last changes of rules, oldest first."""
        try:
            lines = (self._home.folder / _AUDIT_FILE).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line) for line in lines[-limit:] if line.strip()]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _is_in(record: SessionRecord | None, workspace: str) -> bool:
    if record is None:
        return True
    root = os.path.realpath(workspace)
    for path in (record.repo, record.directory):
        if path and (os.path.realpath(path) + "/").startswith(root.rstrip("/") + "/"):
            return True
    return False


class Judge:
    """The reflex that answers permissions by rule. What no rule decides goes to the user."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def react(self, record: SessionRecord, heard: Sequence[AgentFact]) -> Sequence[Reaction]:
        """Answer every permission in `heard` that a rule decides."""
        return [
            reaction
            for fact in heard
            if isinstance(fact, PermissionAsked)
            for reaction in self._answers(record, fact)
        ]

    def _answers(self, record: SessionRecord, asked: PermissionAsked) -> list[Reaction]:
        turn = record.turn
        if turn is not None and turn.state is TurnState.RUNNING and turn.interrupted:
            return []
        with suppress(PolicyInvalid):
            verdict = self._policies.verdict(record, asked.deed)
            return answered(asked, verdict)
        # Nothing is decided by rules that cannot be read.
        return []

    def holds(self, record: SessionRecord, coming: Sequence[AnyFact]) -> bool:
        """Never: rules are about deeds, not about turns."""
        return False


def answered(asked: PermissionAsked, verdict: Verdict) -> list[Reaction]:
    """Return the answer that carries out a verdict; none when the user is to decide, or when the
    agent offers no answer for just this once."""
    said = _KINDS.get(verdict.effect) if verdict.effect is not None else None
    if said is None:
        return []
    kind, outcome = said
    option = next((one.id for one in asked.options if one.kind == kind), None)
    if option is None and verdict.effect is Effect.ALLOW:
        return []
    reason = f"policy: {verdict.why}"
    fact = AskAnswered(
        request=asked.request, outcome=outcome, choice=option, by="policy", reason=reason
    )
    order = AnswerPermission(request=asked.request, option=option, reason=reason)
    return [Reaction(facts=[fact], orders=[order])]
