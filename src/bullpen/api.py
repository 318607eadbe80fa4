"""The one programming interface of a host. REST, the shell and the Python client end up here.

Every verb is async, returns when what it did is committed, and raises a `BullpenError` that says
what was not done and why.
"""

import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.to_thread

from bullpen import git
from bullpen.agents.catalog import Catalog
from bullpen.agents.dialect import AnyOrder, SetMode, SetModel
from bullpen.errors import (
    AskNotFound,
    BudgetSpent,
    BullpenError,
    DirectoryMissing,
    LandingConflict,
    NothingToLand,
    RequestInvalid,
    WorktreeGone,
)
from bullpen.landing import Landed, land
from bullpen.model.fact import (
    Deed,
    Event,
    LandingRefused,
    WorkCommitted,
    WorkLanded,
)
from bullpen.model.home import Home
from bullpen.model.session import Limit, SessionRecord
from bullpen.model.wanted import NewSession
from bullpen.policy.files import fresh_id, make_rule
from bullpen.policy.judge import Verdict
from bullpen.policy.rule import Effect, Rule, Scope
from bullpen.process import Watcher
from bullpen.sessions import doctor, prune, reading, roster
from bullpen.sessions.answering import Answer
from bullpen.sessions.approvals import Approval, deed_of, found, listed, rule_for
from bullpen.sessions.costing import Sum, day_start, entries, summed
from bullpen.sessions.goals import Goals
from bullpen.sessions.hub import Hub
from bullpen.sessions.judging import Judge, Policies
from bullpen.sessions.launch import VERSION, mode_of
from bullpen.sessions.lifting import Lifter
from bullpen.sessions.limits import Limits
from bullpen.sessions.placing import check_repository
from bullpen.sessions.settings import config_folder, load
from bullpen.sessions.spending import Prices, Spending
from bullpen.sessions.stage import Stage
from bullpen.sessions.supervisor import Supervisor
from bullpen.sessions.switching import switch
from bullpen.sessions.waiting import Doorbell, Waited, carry_out, wait_for
from bullpen.store import Store


class Bullpen:
    """Everything that runs on this host."""

    def __init__(
        self, stage: Stage, supervisor: Supervisor, *, limits: Limits, spending: Spending
    ) -> None:
        self._stage = stage
        self._supervisor = supervisor
        self._limits = limits
        self._spending = spending
        self.lifter = Lifter(stage, supervisor)
        """Verbs about limits, goals and budgets."""
        self._bell = Doorbell(stage.hub)
        self.started_at = time.time()

    @classmethod
    @asynccontextmanager
    async def open(cls, home: Home, environment: Mapping[str, str]) -> AsyncGenerator[Self]:
        """Take over what runs on this host, and supervise it until the block is left.

        On exit all that was heard is committed; agents are left running.

        Raises:
            StoreLocked: another process already does.
            StoreTooNew, StoreDamaged, ConfigInvalid: nothing was changed.
        """
        folder = config_folder(environment)
        settings = load(folder / "config.toml")
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(
                Store.open(home.folder, lock=home.service_lock, url=settings.database)
            )
            watcher = await stack.enter_async_context(Watcher.open())
            policies = Policies(home, config=folder, user_home=environment.get("HOME", "/"))
            catalog, hub = Catalog.load(folder / "agents"), Hub()
            limits = Limits(settings.limits, catalog, hub)
            spending = Spending(Prices.load(folder / "prices.toml"), settings.budget)
            stage = Stage(
                policies=policies,
                reflexes=(Judge(policies), limits, spending, Goals()),
                home=home,
                store=store,
                hub=hub,
                watcher=watcher,
                catalog=catalog,
                settings=settings,
                environment=dict(environment),
            )
            today = day_start(time.time())
            ledger = await entries(store, await store.records(), since=today)
            spending.begin(sum(one.usd or 0.0 for one in ledger))
            supervisor = await stack.enter_async_context(Supervisor.open(stage))
            bullpen = cls(stage, supervisor, limits=limits, spending=spending)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            tasks.start_soon(limits.keep, bullpen.lifter)
            yield bullpen

    @property
    def store(self) -> Store:
        """The store, for whoever must know when it refuses a commit."""
        return self._stage.store

    async def end_processes(self, *, grace: float) -> None:
        """See `Supervisor.end_processes`."""
        await self._supervisor.end_processes(grace=grace)

    def drain(self) -> None:
        """Release everybody who waits; the service is on its way down."""
        self._bell.ring()

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was called."""
        return self._bell.is_rung

    # ---- sessions -----------------------------------------------------------------------

    async def create(self, wanted: NewSession, *, wait: bool = True) -> tuple[SessionRecord, bool]:
        """See `Supervisor.create`. With a goal the session begins with it."""
        record, is_new = await self._supervisor.create(wanted, wait=wait)
        if wanted.goal is not None and is_new:
            await self.lifter.begin_goal(record.id, wanted.goal)
        return record, is_new

    async def session(self, session: str) -> SessionRecord:
        """Return one session's record; raises `SessionNotFound`."""
        return await self._supervisor.record(session)

    async def sessions(self) -> list[SessionRecord]:
        """Return all records that were not removed, oldest first."""
        return await self._supervisor.records()

    async def send(
        self,
        session: str,
        text: str,
        *,
        key: str | None = None,
        sender: str | None = None,
        replace: bool = False,
        steer: bool = False,
    ) -> int:
        """See `Supervisor.send`.

        Raises:
            BudgetSpent: a hard budget lets no turn start. Nothing was queued.
        """
        spent = self._spending.spent(await self.session(session))
        if spent is not None:
            raise BudgetSpent(session, *spent)
        return await self._supervisor.send(
            session, text, key=key, sender=sender, replace=replace, steer=steer
        )

    async def interrupt(self, session: str) -> SessionRecord:
        """Ask the agent to end the running turn; without one nothing happens.

        Raises:
            SessionOver: it has no process.
        """
        ledger = await self._supervisor.ledger(session)
        self._supervisor.running(ledger).interrupt()
        await ledger.committed()
        return ledger.record

    async def resume(
        self, session: str, *, fresh: bool = False, prompt: str | None = None
    ) -> SessionRecord:
        """See `Supervisor.resume`."""
        return await self._supervisor.resume(session, fresh=fresh, prompt=prompt)

    async def stop(self, session: str, *, grace: float | None = None) -> SessionRecord:
        """See `Supervisor.stop`. A grace of 0 kills at once."""
        return await self._supervisor.stop(session, grace=grace)

    async def remove(self, session: str, *, force: bool = False) -> str | None:
        """See `Supervisor.remove`."""
        return await self._supervisor.remove(session, force=force)

    async def switch(
        self, session: str, interface: str, *, interrupt: bool = False
    ) -> SessionRecord:
        """See `switching.switch`."""
        return await switch(self._stage, self._supervisor, session, interface, interrupt=interrupt)

    async def rename(self, session: str, title: str) -> SessionRecord:
        """Give the session another title."""
        return await self._supervisor.rename(session, title)

    async def set_mode(self, session: str, mode: str) -> SessionRecord:
        """Change the launch mode of a live session; raises `ModeUnsupported`, `RequestInvalid`."""
        ledger = await self._supervisor.ledger(session)
        profile = self._stage.catalog.find(ledger.record.agent)
        wanted = mode_of(profile, mode)
        name = profile.modes.get(wanted, mode) if wanted else mode
        return await self._ordered(session, SetMode(mode=name))

    async def set_model(self, session: str, model: str) -> SessionRecord:
        """Change the model of a live session; raises `RequestInvalid` if the agent refuses."""
        return await self._ordered(session, SetModel(model=model))

    async def answer(
        self, session: str, *, request: str | None = None, **answer: Any
    ) -> SessionRecord:
        """Answer a permission or question; `request` may be left out when exactly one is open.

        Raises:
            AskNotFound, ChoiceInvalid: nothing was answered.
        """
        ledger = await self._supervisor.ledger(session)
        live = self._supervisor.running(ledger)
        asks = ledger.record.asks
        if request is None:
            if len(asks) != 1:
                raise AskNotFound(session, f"(one of {len(asks)})" if asks else "(none)")
            request = asks[0].request
        await live.answer(request, Answer(**answer)).wait()
        return ledger.record

    # ---- leave --------------------------------------------------------------------------

    async def approvals(self) -> list[Approval]:
        """Return everything agents wait for, over all sessions, oldest first."""
        live = [one for one in await self.sessions() if one.asks]
        return listed(live, self._stage.policies)

    async def await_approvals(self, *, known: Sequence[str], timeout: float) -> list[Approval]:
        """Return everything agents wait for once it is other than `known`, or after `timeout`."""
        with self._stage.hub.listening(None) as listener, anyio.move_on_after(timeout):
            while not self.is_draining:
                now = await self.approvals()
                if [one.id for one in now] != list(known):
                    return now
                await listener.wait()
        return await self.approvals()

    async def approve(
        self, name: str, *, allow: bool, always: bool = False, reason: str = ""
    ) -> SessionRecord:
        """Allow or deny the open permission with that short name.

        With `always` a rule of the session decides such deeds from now on; see `policy_list`.

        Raises:
            AskNotFound: nothing open has that name; it may be answered already.
            RequestInvalid: `always` was asked for a deed no rule could single out.
        """
        record, ask = found(await self.sessions(), name)
        effect = Effect.ALLOW if allow else Effect.DENY
        if always:
            deed, place = deed_of(ask), record.path or record.directory
            rule = rule_for(deed, effect, name=fresh_id(set()), place=place, now=time.time())
            if rule is None:
                raise RequestInvalid("no rule could single this deed out; answer it once")
            self._stage.policies.add(rule, session=record.id)
        return await self.answer(record.id, request=ask.request, allow=allow, reason=reason)

    async def rules(self, session: str | None = None) -> list[tuple[Rule, Path]]:
        """Return every rule that holds for `session`, or for all, with the file it stands in."""
        record = None if session is None else await self.session(session)
        policies = self._stage.policies
        policies.rules(record)
        return [
            (one, source.file)
            for source in policies.sources(record)
            for one in policies.read(source)
        ]

    async def add_rule(self, fields: dict[str, Any], *, session: str | None = None) -> Rule:
        """Write a rule; it holds at once.

        Raises:
            RequestInvalid: it does not say what a rule must.
            PolicyInvalid: the file it belongs to is not whole.
        """
        scope = Scope.GLOBAL if session is None else Scope.SESSION
        if session is not None:
            await self.session(session)
        taken = {one.id for one, _ in await self.rules(session)}
        given = {"id": fresh_id(taken), "added_at": time.time(), **fields}
        if given["id"] in taken:
            raise RequestInvalid(f"there is a rule {given['id']!r} already")
        try:
            rule = make_rule(given, scope=scope)
        except ValueError as fault:
            raise RequestInvalid(str(fault)) from fault
        self._stage.policies.add(rule, session=session)
        return rule

    async def remove_rule(self, name: str) -> Path:
        """Take a rule out and return the file it stood in; raises `RuleUnknown`."""
        return self._stage.policies.remove(name, records=await self.sessions())

    async def judge(
        self, deed: Deed, *, session: str | None = None, place: str | None = None
    ) -> Verdict:
        """Return what the rules say of a deed in a session, or in a directory."""
        record = None if session is None else await self.session(session)
        if record is None and place is not None:
            record = SessionRecord(id="none", agent="none", directory=place)
        return self._stage.policies.verdict(record, deed)

    def audit(self, *, limit: int) -> list[dict[str, object]]:
        """Return the last changes of rules."""
        return self._stage.policies.audit(limit=limit)

    async def wait(
        self,
        sessions: Sequence[str],
        *,
        until_any: bool = False,
        turns: Mapping[str, int] | None = None,
        goal: bool = False,
        timeout: float | None = None,
    ) -> Waited:
        """Wait until all (or any) of `sessions` are settled, the time is up, or we drain.

        Safe to repeat: a session that is settled already counts at once.
        """
        ledgers = {session: await self._supervisor.ledger(session) for session in sessions}
        return await wait_for(
            self._stage.hub,
            self._bell,
            ledgers,
            until_any=until_any,
            turns=turns or {},
            goal=goal,
            timeout=timeout,
        )

    # ---- what was said ------------------------------------------------------------------

    async def messages(
        self, session: str, *, count: int = 1, turn: int | None = None
    ) -> list[reading.Message]:
        """See `reading.messages`."""
        await (await self._supervisor.ledger(session)).committed()
        return await reading.messages(self._stage.store, session, count=count, turn=turn)

    async def log(self, session: str) -> list[reading.Entry]:
        """See `reading.log`."""
        await (await self._supervisor.ledger(session)).committed()
        return await reading.log(self._stage.store, session)

    async def events(
        self, session: str, *, after: int = 0, limit: int = 1000, kinds: Sequence[str] = ()
    ) -> list[Event]:
        """Return stored events with a `seq` above `after`, in order."""
        await (await self._supervisor.ledger(session)).committed()
        return await self._stage.store.events(session, after=after, limit=limit, kinds=kinds)

    def listening(self, sessions: Sequence[str] | None, *, deltas: bool = False) -> Any:
        """See `Hub.listening`."""
        return self._stage.hub.listening(sessions, deltas=deltas)

    # ---- work ---------------------------------------------------------------------------

    async def changes(self, session: str) -> git.Numbers:
        """Return how many files and lines the session changed since its base.

        Raises:
            DirectoryMissing, NotARepository: there is nothing to compare.
        """
        work = await self._work_of(session)
        return await git.numbers(*work) if work else git.Numbers(files=0, insertions=0, deletions=0)

    async def diff(self, session: str) -> bytes:
        """Return the session's whole work as a diff, uncommitted and new files included.

        Raises:
            DirectoryMissing, NotARepository: there is nothing to compare.
        """
        work = await self._work_of(session)
        return await git.diff(*work) if work else b""

    async def _work_of(self, session: str) -> tuple[Path, str] | None:
        """Return where the session works and what it started from; None before it has a place."""
        record = await self._supervisor.record(session)
        if record.place == "worktree" and not record.path:
            return None
        check_repository(record)
        path = Path(record.path or record.directory)
        if not path.is_dir() and record.place == "worktree":
            raise WorktreeGone(session, path)
        if not path.is_dir():
            raise DirectoryMissing(path, is_file=path.exists())
        if record.base_commit is not None:
            return path, record.base_commit
        return path, (await git.repository_of(path)).head_commit or "HEAD"

    async def land(
        self,
        session: str,
        *,
        target: str | None = None,
        message: str | None = None,
        commit: bool = False,
    ) -> Landed:
        """Merge the session's branch into `target`, or into what the user has checked out.

        With `commit`, what the agent left uncommitted is committed first. On any refusal all work
        is where it was.

        Raises:
            NothingToLand, LandingConflict, CheckoutDirty and the other errors of `landing.land`.
        """
        ledger = await self._supervisor.ledger(session)
        record = ledger.record
        if record.place != "worktree" or not record.repo or not record.branch:
            raise NothingToLand(session, record.branch or record.directory)
        check_repository(record)
        title = (message or record.title or f"Work of {session}").strip()
        if commit and record.path and Path(record.path).is_dir():
            count = len((await git.status(Path(record.path))).files)
            made = await git.commit_all(Path(record.path), title)
            if made is not None:
                ledger.write(WorkCommitted(commit=made, files=count))
        return await self._landed(session, target=target, title=title)

    async def _landed(self, session: str, *, target: str | None, title: str) -> Landed:
        ledger = await self._supervisor.ledger(session)
        record = ledger.record
        assert record.repo is not None, "checked by land"
        assert record.branch is not None, "checked by land"
        text = f"{title}\n\nBullpen-Session: {session}\n"
        try:
            done = await land(
                Path(record.repo),
                branch=record.branch,
                target=target,
                message=text,
                checkout=Path(record.directory),
                session=session,
            )
        except BullpenError as refusal:
            files = list(refusal.files) if isinstance(refusal, LandingConflict) else []
            await ledger.write(
                LandingRefused(target=target or "", why=str(refusal), conflicts=files)
            ).wait()
            raise
        await ledger.write(
            WorkLanded(target=done.target, commit=done.commit, files=done.files)
        ).wait()
        return done

    # ---- money --------------------------------------------------------------------------

    async def cost(self, *, by: str = "session", since: float = 0.0) -> list[Sum]:
        """Return what was spent, added up by session, agent, model, workspace or day."""
        records = await self._stage.store.records()
        return summed(await entries(self._stage.store, records, since=since), by=by)

    def limits(self) -> dict[str, Limit]:
        """Return the accounts that are limited, and until when."""
        return self._limits.limited()

    async def clear_limit(self, account: str) -> list[str]:
        """Have every session that waits for a limit of `account` try again now."""
        waiting = [
            one.id
            for one in await self.sessions()
            if one.limit is not None and one.limit.account == account
        ]
        if not waiting:
            raise RequestInvalid(f"no session waits for a limit of account {account!r}")
        for session in waiting:
            await self.lifter.lift(session, reason="lifted by the user", go_on=True)
        return waiting

    # ---- the host -----------------------------------------------------------------------

    async def agents(self, *, versions: bool = False) -> list[roster.Agent]:
        """Return the catalog with what was found on this machine."""
        return await roster.look(self._stage, versions=versions)

    def catalog_faults(self) -> list[BullpenError]:
        """Return what is wrong with the user's own catalog files."""
        return list(self._stage.catalog.faults)

    async def doctor(self, *, fix: bool = False) -> list[doctor.Finding]:
        """Examine the host; with `fix`, mend what can be mended without losing work."""
        return await doctor.examine(self._stage, self._supervisor, fix=fix)

    async def rebuild(self) -> int:
        """Make every session's row anew from its events; return how many there are."""
        return await anyio.to_thread.run_sync(self._stage.store.rebuild)

    async def prune(self, *, older_than: float, dry_run: bool) -> prune.Freed:
        """Remove sessions that were over for `older_than` seconds, with their places."""
        return await prune.prune(
            self._stage, self._supervisor, older_than=older_than, dry_run=dry_run
        )

    async def health(self) -> dict[str, Any]:
        """Return who we are and how many sessions are in which state."""
        counts: dict[str, int] = {}
        for record in await self.sessions():
            counts[record.state.value] = counts.get(record.state.value, 0) + 1
        return {
            "ok": not self.is_draining,
            "version": VERSION,
            "pid": os.getpid(),
            "home": str(self._stage.home.folder),
            "started_at": self.started_at,
            "sessions": counts,
        }

    async def _ordered(self, session: str, order: AnyOrder) -> SessionRecord:
        ledger = await self._supervisor.ledger(session)
        live = self._supervisor.running(ledger)
        await carry_out(self._stage.hub, self._stage.store, live, ledger, order)
        return ledger.record
