"""The service of one host, and the sessions it holds."""

import os
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Unpack, cast

import anyio
import msgspec

from bullpen.client.link import PAGE, Link, Stream, quoted
from bullpen.client.views import (
    AgentView,
    ApprovalView,
    Changes,
    CostView,
    Delta,
    Entry,
    Landed,
    Message,
    RuleView,
    SessionView,
    TurnView,
    Waited,
    event_of,
    event_or_delta_of,
)
from bullpen.client.wishes import Answer, RuleFields, SessionOptions
from bullpen.errors import BullpenError, TurnNotCompleted, WaitTimedOut
from bullpen.model.fact import Event
from bullpen.model.home import Home
from bullpen.model.session import TurnState

_LONGEST_WAIT = 600.0


@asynccontextmanager
async def connect(
    home: str | Path | None = None, *, start: bool = True
) -> AsyncGenerator["Pen", None]:
    """Give access to the service of this host, and start it when none runs.

    Args:
        home: State folder; left out, the one the shell uses (`BULLPEN_HOME`).
        start: False to raise `ServiceUnreachable` instead of starting a service. The variable
            `BULLPEN_NO_AUTOSTART` says the same.

    Nothing is sent before the first verb. Leaving the block closes connections and streams; it
    stops neither the service nor any session.
    """
    environment = dict(os.environ)
    if home is not None:
        environment["BULLPEN_HOME"] = str(Path(home).absolute())
    may_start = start and not environment.get("BULLPEN_NO_AUTOSTART")
    link = Link(Home.of(environment), start=may_start)
    try:
        yield Pen(link)
    finally:
        with anyio.CancelScope(shield=True):
            await link.close()


class Pen:
    """The service of one host."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def health(self) -> dict[str, Any]:
        """Return version, pid, start time and the number of sessions by state."""
        return cast("dict[str, Any]", await self._link.json("GET", "/v1/health"))

    async def agents(self, *, versions: bool = False) -> list[AgentView]:
        """Return the catalog. `versions` also runs each program for its version: slower."""
        found = await self._link.json("GET", "/v1/agents", query={"versions": int(versions)})
        return msgspec.convert(found["agents"], list[AgentView])

    async def create(
        self,
        agent: str,
        path: str | Path = ".",
        *,
        prompt: str | None = None,
        wait: bool = True,
        key: str | None = None,
        **options: Unpack[SessionOptions],
    ) -> "RemoteSession":
        """Start a session and return it when its agent is ready, or `queued` over a cap.

        Args:
            prompt: First turn, queued in the same transaction.
            wait: False to return before the handshake; how it went stands in the state.
            key: The same key gives the same session, for ever; left out, a fresh one.

        Raises:
            AgentUnknown, ProgramNotFound, LoginNeeded, AgentDied, HandshakeTimedOut,
            HandshakeRefused, ModeUnsupported, DirectoryMissing, NotARepository, BranchTaken,
            SetupFailed: nothing was left behind.
        """
        parent = os.environ.get("BULLPEN_SESSION")
        body: dict[str, Any] = {"parent": parent} if parent else {}
        body |= dict(options) | {"agent": agent, "path": str(Path(path).absolute()), "wait": wait}
        if prompt is not None:
            body["prompt"] = prompt
        found = await self._link.json("POST", "/v1/sessions", body=body, key=key or _fresh())
        return RemoteSession(self._link, _view(found))

    async def session(self, session: str) -> "RemoteSession":
        """Return the session with that id.

        Raises:
            SessionNotFound: there is none.
        """
        found = await self._link.json("GET", f"/v1/sessions/{quoted(session)}")
        return RemoteSession(self._link, _view(found))

    async def sessions(
        self,
        *,
        over: bool = False,
        state: str | None = None,
        agent: str | None = None,
        directory: str | Path | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> "list[RemoteSession]":
        """Return sessions, oldest first; those that are stopped only with `over`."""
        query: list[tuple[str, str]] = [("all", "1")] if over else []
        query += [(name, value) for name, value in (("state", state), ("agent", agent)) if value]
        if directory is not None:
            query.append(("directory", str(Path(directory).absolute())))
        query += [("label", f"{name}={value}") for name, value in (labels or {}).items()]
        found = await self._link.json("GET", "/v1/sessions", query=query)
        return [RemoteSession(self._link, _view(one)) for one in found["sessions"]]

    async def wait(
        self,
        sessions: "Iterable[RemoteSession | str]",
        *,
        until: Literal["all", "any"] = "all",
        turns: Mapping[str, int] | None = None,
        goal: bool = False,
        timeout: float | None = None,
    ) -> Waited:
        """Wait until sessions settle: no turn is queued or running, the user is needed, or the
        session is over.

        Args:
            until: `any` returns when the first one settled.
            turns: For these sessions: until that turn is over.
            goal: Until no goal is active any more.
            timeout: Seconds; None waits for ever. Running out of time is an answer, no error.
        """
        ids = [one if isinstance(one, str) else one.id for one in sessions]
        body: dict[str, Any] = {"sessions": ids, "until": until, "turns": dict(turns or {})}
        body |= {"goal": True} if goal else {}
        end = None if timeout is None else anyio.current_time() + timeout
        while True:
            left = _LONGEST_WAIT if end is None else max(0.0, end - anyio.current_time())
            slice_ = min(left, _LONGEST_WAIT)
            found = await self._link.json(
                "POST", "/v1/wait", body=body | {"timeout": slice_}, again=True
            )
            waited = msgspec.convert(found, Waited)
            if not waited.timed_out or (end is not None and anyio.current_time() >= end):
                return waited

    async def approvals(self) -> list[ApprovalView]:
        """Return every open permission and question of all sessions, oldest first."""
        found = await self._link.json("GET", "/v1/approvals")
        return msgspec.convert(found["approvals"], list[ApprovalView])

    async def approve(
        self, approval: str, *, always: bool = False, reason: str = ""
    ) -> SessionView:
        """Allow an open permission, with `always` all such of that session from now on.

        Raises:
            AskNotFound: nothing open has that name; it may be answered already.
        """
        return await self._decide(approval, allow=True, always=always, reason=reason)

    async def deny(self, approval: str, *, always: bool = False, reason: str = "") -> SessionView:
        """Refuse an open permission; see `approve`."""
        return await self._decide(approval, allow=False, always=always, reason=reason)

    async def _decide(self, approval: str, **body: Any) -> SessionView:
        return _view(await self._link.json("POST", f"/v1/approvals/{quoted(approval)}", body=body))

    async def rules(self, session: str | None = None) -> list[RuleView]:
        """Return the policy rules that hold for `session`, left out those that hold for all."""
        query = {} if session is None else {"session": session}
        found = await self._link.json("GET", "/v1/policy", query=query)
        return msgspec.convert(found["rules"], list[RuleView])

    async def add_rule(
        self, effect: Literal["allow", "ask", "deny"], **fields: Unpack[RuleFields]
    ) -> RuleView:
        """Write a policy rule; it holds at once.

        Raises:
            RequestInvalid: it does not say what a rule must.
            PolicyInvalid: the file it belongs to is not whole.
        """
        body = {"effect": effect} | dict(fields)
        return msgspec.convert(await self._link.json("POST", "/v1/policy", body=body), RuleView)

    async def remove_rule(self, rule: str) -> None:
        """Take a policy rule out."""
        await self._link.json("DELETE", f"/v1/policy/{quoted(rule)}")

    async def cost(
        self,
        *,
        by: Literal["session", "agent", "model", "workspace", "day"] = "session",
        since: float = 0.0,
    ) -> list[CostView]:
        """Return what was spent since a moment (seconds since the epoch), the dearest first."""
        found = await self._link.json("GET", "/v1/cost", query={"by": by, "since": since})
        return msgspec.convert(found["cost"], list[CostView])

    async def clear_limit(self, account: str) -> list[str]:
        """Have every session that waits for a limit of `account` try again now; return them.

        Raises:
            RequestInvalid: none waits for it.
        """
        found = await self._link.json("POST", f"/v1/limits/{quoted(account)}/clear")
        return list(found["sessions"])

    async def run(
        self,
        briefs: Sequence[str],
        *,
        agent: str,
        path: str | Path = ".",
        timeout: float | None = None,
        keep: bool = False,
        **options: Unpack[SessionOptions],
    ) -> "list[Ran]":
        """Give each brief to a session of its own, all at once, and wait for them.

        Args:
            timeout: Seconds for all of them together.
            keep: Leave agents running. Otherwise each one that is done is stopped: its process
                is gone, its branch, place and history are kept.

        Returns:
            One `Ran` per brief, in that order. A brief whose session could not be made has an
            `error`; the others go on. Sessions that need the user, or were still at work when
            the time ran out, are left running.
        """
        made: list[Ran] = [Ran(brief) for brief in briefs]

        async def start(one: Ran) -> None:
            try:
                one.session = await self.create(agent, path, prompt=one.brief, **options)
            except BullpenError as error:
                one.error = error

        async with anyio.create_task_group() as starting:
            for one in made:
                starting.start_soon(start, one)
        alive = {one.session.id: one.session for one in made if one.session}
        waited = await self.wait(alive, turns=dict.fromkeys(alive, 1), timeout=timeout)
        for name, session in alive.items():
            session.record = waited.sessions.get(name, session.record)
            if not keep and name in waited.settled and not session.record.needs_user:
                await session.stop()
        return made


class Ran:
    """What became of one brief: a session, or the error that prevented it."""

    def __init__(self, brief: str) -> None:
        self.brief = brief
        self.session: RemoteSession | None = None
        self.error: BullpenError | None = None


class RemoteSession:
    """One session, and the verbs it knows. Holds no connection; drop it whenever you like."""

    def __init__(self, link: Link, record: SessionView) -> None:
        self._link = link
        self.id = record.id
        self.record = record
        """The session as last seen; `refresh` and most verbs renew it."""

    def __repr__(self) -> str:
        return f"<session {self.id}: {self.record.outcome or self.record.state}>"

    async def refresh(self) -> SessionView:
        """Ask the service how the session is, and return that."""
        return await self._renew("GET", "")

    async def send(
        self,
        text: str,
        *,
        how: Literal["queue", "interrupt", "steer"] = "queue",
        sender: str | None = None,
        key: str | None = None,
    ) -> int:
        """Queue a prompt and return the number of its turn. Does not wait for the agent.

        Args:
            how: `interrupt` ends the running turn and withdraws what is queued first; `steer`
                adds the words to the running turn, whose number is returned.
            key: The same key is never queued twice.

        Raises:
            SessionOver: the session has no process; `resume` brings it back.
            MessageInvalid: the text is empty.
            SteerUnsupported: the running turn takes no words. Nothing was queued.
        """
        body = {"text": text, "how": how} | ({"sender": sender} if sender else {})
        found = await self._json("POST", "/turns", body=body, key=key or _fresh())
        return int(found["turn"])

    async def steer(self, text: str, *, sender: str | None = None, key: str | None = None) -> int:
        """Add words to the running turn and return its number; see `send`."""
        return await self.send(text, how="steer", sender=sender, key=key)

    async def ask(self, text: str, *, timeout: float | None = None) -> str:
        """Send a prompt and return the agent's last message of that turn, `""` for none.

        Raises:
            TurnNotCompleted: the turn ended otherwise, or it needs the user first.
            WaitTimedOut: the agent goes on working.
        """
        turn = await self.send(text)
        await self.wait(turn=turn, timeout=timeout)
        outcome = await self._outcome(turn)
        if outcome != "completed":
            raise TurnNotCompleted(self.id, turn, outcome, self.record.reason)
        said = [one.text for one in await self.messages(count=PAGE) if one.turn == turn]
        return said[-1] if said else ""

    async def wait(self, *, turn: int | None = None, timeout: float | None = None) -> SessionView:
        """Wait until the session settles, or until `turn` is over, and return how it is then.

        Raises:
            WaitTimedOut: `timeout` seconds went by; the session goes on.
        """
        turns = {} if turn is None else {self.id: turn}
        waited = await Pen(self._link).wait([self.id], turns=turns, timeout=timeout)
        self.record = waited.sessions.get(self.id, self.record)
        if waited.timed_out:
            raise WaitTimedOut(self.id, timeout or 0.0)
        return self.record

    def events(self, *, after: int = 0, follow: bool = False) -> "Stream[Event]":
        """Give the stored events with a number above `after`, in order, each exactly once.

        With `follow` it goes on for ever, through restarts of the service. Left early, a
        stream closes with the pen; `async with session.events(...) as events` closes it at once.
        """
        query = {"after": after, "follow": int(follow), "limit": PAGE}
        return Stream(self._link, self.id, query=query, read=event_of)

    def watch(self, *, after: int = 0) -> "Stream[Event | Delta]":
        """Like `events(follow=True)`, and text comes piece by piece as `Delta` before it is
        stored. Pieces may be missing after a reconnect; stored events never are."""
        query = {"after": after, "follow": 1, "deltas": 1, "limit": PAGE}
        return Stream(self._link, self.id, query=query, read=event_or_delta_of)

    async def messages(self, count: int = 1) -> list[Message]:
        """Return the last `count` messages of the agent, oldest first."""
        found = await self._json("GET", "/messages", query={"count": count})
        return msgspec.convert(found["messages"], list[Message])

    async def log(self) -> list[Entry]:
        """Return the whole conversation."""
        return msgspec.convert((await self._json("GET", "/log"))["entries"], list[Entry])

    async def turns(self, *, after: int = 0) -> list[TurnView]:
        """Return the turns with a number above `after`."""
        found = await self._json("GET", "/turns", query={"after": after})
        return msgspec.convert(found["turns"], list[TurnView])

    async def interrupt(self) -> SessionView:
        """End the running turn. The session goes on. Without a turn, nothing happens."""
        return await self._renew("POST", "/interrupt")

    async def resume(self, *, fresh: bool = False, prompt: str | None = None) -> SessionView:
        """Start the agent again and give it its conversation back, or with `fresh` a new one.

        Raises:
            SessionBusy: it has a process. ResumeUnsupported: the agent cannot.
        """
        body: dict[str, Any] = {"fresh": fresh} | ({} if prompt is None else {"prompt": prompt})
        return await self._renew("POST", "/resume", body=body)

    async def stop(self, *, grace: float | None = None) -> SessionView:
        """End the process within `grace` seconds, by force if it must be. Work is kept."""
        body: dict[str, Any] = {} if grace is None else {"grace": grace}
        return await self._renew("POST", "/stop", body=body)

    async def kill(self) -> SessionView:
        """End the process at once. Work is kept."""
        return await self._renew("POST", "/kill")

    async def remove(self, *, force: bool = False) -> str | None:
        """Remove the session and its worktree. The id is never used again.

        Returns:
            The ref that keeps work which was not merged, if there was any and `force` was given.

        Raises:
            SessionBusy: it has a process. WorkUnsaved: it holds work, and no `force`.
        """
        found = await self._json("DELETE", "", query={"force": int(force)})
        return found.get("rescue")

    async def rename(self, title: str) -> SessionView:
        """Change the title."""
        return await self._renew("PATCH", "", body={"title": title})

    async def configure(self, *, mode: str | None = None, model: str | None = None) -> SessionView:
        """Change launch mode or model of the running agent."""
        named = {"mode": mode, "model": model}
        body = {name: value for name, value in named.items() if value is not None}
        return await self._renew("PATCH", "", body=body)

    async def answer(self, request: str | None = None, **answer: Unpack[Answer]) -> SessionView:
        """Answer an open permission or question; `request` may be left out if one is open.

        Args:
            answer: `allow` (with `always`) or `choice`, an option's id, for a permission;
                `content` or `action` for a question; `reason` is kept with either.

        Raises:
            AskNotFound, ChoiceInvalid.
        """
        body = dict(answer) | ({} if request is None else {"request": request})
        return await self._renew("POST", "/answers", body=body)

    async def set_goal(
        self,
        objective: str,
        *,
        budget_tokens: int | None = None,
        budget_usd: float | None = None,
        max_turns: int | None = None,
    ) -> SessionView:
        """Have the session work until its agent says that `objective` is reached.

        Ends sooner when a bound is reached, when the agent is stuck, or when somebody interrupts
        it; `record.goal.status` says how.
        """
        bounds = {"budget_tokens": budget_tokens, "budget_usd": budget_usd, "max_turns": max_turns}
        body = {name: value for name, value in bounds.items() if value is not None}
        return await self._renew("PUT", "/goal", body=body | {"objective": objective})

    async def change_goal(self, status: Literal["paused", "active", "cleared"]) -> SessionView:
        """Pause the goal after the running turn, go on with it, or drop it.

        Raises:
            GoalMissing: there is none.
        """
        return await self._renew("PATCH", "/goal", body={"status": status})

    async def await_goal(self, *, timeout: float | None = None) -> SessionView:
        """Wait until no goal is active any more, or the session is over.

        Raises:
            WaitTimedOut: `timeout` seconds went by; the session goes on.
        """
        waited = await Pen(self._link).wait([self.id], goal=True, timeout=timeout)
        self.record = waited.sessions.get(self.id, self.record)
        if waited.timed_out:
            raise WaitTimedOut(self.id, timeout or 0.0)
        return self.record

    async def set_budget(
        self, *, usd: float | None = None, tokens: int | None = None
    ) -> SessionView:
        """Set the hard budget; without both there is none any more."""
        return await self._renew("PUT", "/budget", body={"usd": usd, "tokens": tokens})

    async def switch(
        self, interface: Literal["structured", "terminal"], *, interrupt: bool = False
    ) -> SessionView:
        """Hand the conversation over to the agent's own screen, or back.

        Raises:
            SessionBusy: a turn runs, and no `interrupt`. Nothing was changed.
            InterfaceUnsupported, ModeUnsupported: the agent has no such interface, or cannot honour
                the session's launch mode there. Nothing was changed.
        """
        body = {"interface": interface, "interrupt": interrupt}
        return await self._renew("POST", "/switch", body=body)

    async def changes(self) -> Changes:
        """Count what the session changed."""
        return msgspec.convert(await self._json("GET", "/changes"), Changes)

    async def diff(self) -> bytes:
        """Return what the session changed as a unified diff. Bytes: files need not be UTF-8."""
        return (await self._link.request("GET", self._path("/diff"))).content

    async def land(
        self, *, target: str | None = None, message: str | None = None, commit: bool = True
    ) -> Landed:
        """Merge the session's branch into `target`, left out the repository's current branch.

        Args:
            commit: First commit what the agent left uncommitted.

        Raises:
            LandingConflict, CheckoutDirty, NothingToLand: nothing was changed.
        """
        named = {"target": target, "message": message, "commit": commit}
        body = {name: value for name, value in named.items() if value is not None}
        return msgspec.convert(await self._json("POST", "/land", body=body), Landed)

    async def _outcome(self, turn: int) -> str:
        last = self.record.turn
        if last is None or last.number == turn:
            return self.record.outcome
        # Somebody else's prompt runs already, and the record speaks of that one.
        state = (await self.turns(after=turn - 1))[0].state
        return "completed" if state == TurnState.DONE else state

    def _path(self, tail: str) -> str:
        return f"/v1/sessions/{quoted(self.id)}{tail}"

    async def _json(self, method: str, tail: str, **rest: Any) -> Any:
        return await self._link.json(method, self._path(tail), **rest)

    async def _renew(self, method: str, tail: str, *, body: Any = None) -> SessionView:
        self.record = _view(await self._json(method, tail, body=body))
        return self.record


def _view(found: Any) -> SessionView:
    return msgspec.convert(found, SessionView)


def _fresh() -> str:
    return uuid.uuid4().hex
