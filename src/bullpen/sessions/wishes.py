"""What somebody wants, checked and given a name before anything is made."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from bullpen.errors import InvalidSessionId, MessageInvalid, PolicyInvalid, SessionIdTaken
from bullpen.model.agent import AgentProfile
from bullpen.model.fact import SessionCreated
from bullpen.model.session import SessionRecord
from bullpen.model.wanted import NewSession
from bullpen.places import check_directory
from bullpen.sessions import placing
from bullpen.sessions.launch import mode_of
from bullpen.sessions.ledger import check_storable
from bullpen.sessions.names import is_valid, propose
from bullpen.sessions.rehearsing import check_script, check_supported
from bullpen.sessions.screens import check_interface
from bullpen.sessions.stage import Stage


class Wishes:
    """Names and idempotency keys that are being given out, so that none is given twice."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._names: set[str] = set()
        self._keys: dict[str, anyio.Event] = {}

    @asynccontextmanager
    async def alone(self, key: str | None) -> AsyncGenerator[None]:
        """Let one caller at a time look for a session with `key` and make one; None waits for
        nobody."""
        if key is None:
            yield
            return
        while key in self._keys:
            await self._keys[key].wait()
        self._keys[key] = anyio.Event()
        try:
            yield
        finally:
            self._keys.pop(key).set()

    async def settle(self, wanted: NewSession) -> tuple[str, SessionCreated]:
        """Check all that can be checked before anything is made; return the id and the wish.

        Raises:
            What `Supervisor.create` raises of a wish. No name was given out.
        """
        profile = self._stage.catalog.find(wanted.agent)
        mode = mode_of(profile, wanted.mode)
        self._check_policy(wanted)
        check_interface(profile, wanted.interface, mode)
        if wanted.rehearsal is not None:
            check_supported(profile)
            environment = self._stage.environment
            await check_script(Path(wanted.rehearsal), environment=environment)
        directory = check_directory(Path(wanted.directory))
        if wanted.prompt is not None:
            check_message(wanted.prompt)
        session = await self._name(wanted.id)
        try:
            fact = await self._settled(wanted, session, profile, directory)
            check_storable(fact)
        except BaseException:
            self.release(session)
            raise
        return session, fact

    def _goal_tool(
        self, session: str, wanted: NewSession, profile: AgentProfile
    ) -> list[dict[str, Any]]:
        """Return the tool by which an agent reports its goal, for agents that take tools of ours
        and do not pursue goals by themselves."""
        if wanted.goal is None or "mcp" not in profile.abilities or "goal" in profile.abilities:
            return []
        program = Path(__file__).parents[1] / "adapters" / "goal_tool.py"
        args = ["-I", str(program), str(self._stage.home.socket), session]
        return [{"name": "bullpen", "command": sys.executable, "args": args, "env": []}]

    def _check_policy(self, wanted: NewSession) -> None:
        """Refuse a session whose rules cannot be read: it would ask for everything.

        Raises:
            PolicyInvalid: a file of rules is not whole, or the one asked for does not exist.
        """
        if wanted.policy is not None and not Path(wanted.policy).is_file():
            raise PolicyInvalid(Path(wanted.policy), "there is no such file")
        record = SessionRecord(
            id=wanted.id or "new",
            agent=wanted.agent,
            directory=wanted.directory,
            policy=wanted.policy,
        )
        self._stage.policies.rules(record)

    def release(self, session: str) -> None:
        """Let the name of a session that never was be given out again."""
        self._names.discard(session)

    async def _settled(
        self, wanted: NewSession, session: str, profile: AgentProfile, directory: Path
    ) -> SessionCreated:
        """Return the wish with its branch and base settled."""
        site = None
        if wanted.place == "worktree":
            names = {"session": session, "agent": profile.id, "title": wanted.title}
            site = await placing.site_of(
                directory,
                branch=wanted.branch,
                base=wanted.base,
                names=names,
                template=self._stage.settings.branch,
            )
        return SessionCreated(
            agent=profile.id,
            directory=str(directory),
            place=wanted.place,
            repo=site.repo if site else None,
            branch=site.branch if site else None,
            base=site.base if site else None,
            mode=wanted.mode,
            model=wanted.model,
            title=wanted.title,
            parent=wanted.parent,
            key=wanted.key,
            environment=wanted.environment,
            mcp_servers=[*wanted.mcp_servers, *self._goal_tool(session, wanted, profile)],
            setup=wanted.setup,
            setup_timeout=wanted.setup_timeout,
            sparse=wanted.sparse,
            labels=wanted.labels,
            interface=wanted.interface,
            rehearsal=wanted.rehearsal,
            policy=wanted.policy,
            fallback=wanted.fallback,
            budget_usd=wanted.budget_usd,
            budget_tokens=wanted.budget_tokens,
        )

    async def _name(self, asked: str | None) -> str:
        if asked is None:
            name = propose(self._names)
            while await self._stage.store.records(ids=[name]):
                self._names.add(name)
                name = propose(self._names)
        else:
            if not is_valid(asked):
                raise InvalidSessionId(asked)
            if asked in self._names or await self._stage.store.records(ids=[asked]):
                raise SessionIdTaken(asked)
            name = asked
        # Nobody else may pick it between here and the commit: both are looked up in this set.
        if name in self._names:
            return await self._name(asked)
        self._names.add(name)
        return name


def check_message(text: str) -> None:
    """Refuse a prompt that says nothing, or cannot be said.

    Raises:
        MessageInvalid: it is empty or white space, or not valid Unicode.
    """
    if not text.strip():
        raise MessageInvalid("it is empty")
    try:
        text.encode()
    except UnicodeEncodeError as fault:
        raise MessageInvalid("it is not valid Unicode") from fault
