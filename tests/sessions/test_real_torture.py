"""Real agents, and a service and agents that are killed at random moments of their turns."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from bullpen.model.fact import Event, MessageStreamed, TurnEnded, TurnFailed, TurnStarted
from bullpen.process import marked
from kit.door import door, service
from kit.model import running_model
from kit.real import settle
from kit.world import World, all_events

pytestmark = pytest.mark.torture
AGENTS = ("claude", "codex", "pi")
SECONDS = float(os.environ.get("BULLPEN_TORTURE_SECONDS", "40"))
OVER = {"failed", "lost", "stopped"}


class Storm:
    """A service that is killed and started again, and those who use it all the while."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.deadline = time.monotonic() + SECONDS
        self.kills = Counter[str]()
        self.sent: dict[str, int] = dict.fromkeys(AGENTS, 0)
        self._service = AsyncExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.deadline

    async def start(self) -> None:
        self._process = self._service.enter_context(service(self.world))

    async def end(self) -> None:
        await self._service.aclose()

    async def call(self, method: str, route: str, *, key: str = "", **body: Any) -> dict[str, Any]:
        """Ask the service that runs, or the one after it; say it again when nobody answered."""
        headers = {"Idempotency-Key": key} if key else {}
        with anyio.fail_after(90):
            while True:
                answer = await self._ask(method, f"/v1/sessions{route}", headers, body)
                if answer is not None:
                    return answer
                await anyio.sleep(0.05)

    async def _ask(
        self, method: str, route: str, headers: dict[str, str], body: dict[str, Any]
    ) -> dict[str, Any] | None:
        try:
            async with door(self.world) as http:
                sent = await http.request(method, route, json=body or None, headers=headers)
                return {"status": sent.status_code} | sent.json()
        except httpx.TransportError:
            return None

    async def begin(self, agent: str) -> None:
        made = await self.call(
            "POST",
            "",
            key=f"create-{agent}",
            agent=agent,
            path=str(self.world.work),
            id=agent,
            mode="bypass",
            environment=self.world.agents[agent],
        )
        assert made["status"] < 300, made

    async def work(self, agent: str) -> None:
        """Give the agent turn after turn; bring it back when it was killed."""
        while not self.is_over:
            await self.turn(agent)

    async def turn(self, agent: str) -> dict[str, Any]:
        """Have one turn that leaves a line in a file and says a word, each its own."""
        self.sent[agent] += 1
        token = f"{agent}{self.sent[agent]:04}x"
        text = f"%%run echo {token} >> {self.log(agent)};;text said-{token}"
        said = await self.call("POST", f"/{agent}/turns", key=token, text=text)
        while said["status"] == 409:
            await self.rested(agent)
            said = await self.call("POST", f"/{agent}/turns", key=token, text=text)
        assert said["status"] < 300, said
        return await self.rested(agent)

    async def rested(self, agent: str) -> dict[str, Any]:
        """Return the record once nothing runs or waits."""
        with anyio.fail_after(90):
            while True:
                record = await self.call("GET", f"/{agent}")
                turn: dict[str, Any] = record.get("turn") or {}
                if record["state"] in OVER:
                    await self.call("POST", f"/{agent}/resume")
                elif record["state"] == "idle" and not record.get("queue"):
                    return record
                elif turn.get("doubted") and not turn.get("interrupted"):
                    # Nobody knows whether the agent has it, and nobody but us may decide.
                    await self.call("POST", f"/{agent}/interrupt")
                await anyio.sleep(0.03)

    async def rage(self) -> None:
        """Kill the service, or an agent with all of its group, at random moments."""
        while not self.is_over:
            await anyio.sleep(self.chance.uniform(0.1, 1.5))
            if self.chance.random() < 0.5:
                assert self._process is not None
                self._process.kill()
                self._process.wait()
                self.kills["service"] += 1
                await self.start()
                continue
            agent = self.chance.choice(AGENTS)
            record = await self.call("GET", f"/{agent}")
            pid = record.get("pid")
            if pid and record["state"] not in OVER:
                self.kills[agent] += 1
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)

    def log(self, agent: str) -> Path:
        return self.world.folder / f"{agent}.log"


async def test_real_agents_and_a_service_killed_at_random_lose_and_double_nothing(
    world: World, tmp_path: Path
):
    seed = int(os.environ.get("BULLPEN_TORTURE_SEED", "0")) or random.randrange(2**32)
    print(f"BULLPEN_TORTURE_SEED={seed}")
    world.configure("interrupt_grace = 1.0\nstop_grace = 0.5\n")
    with running_model(tmp_path / "model") as model:
        for agent in AGENTS:
            settle(world, agent, model)
        storm = Storm(world, seed)
        lasts = await _weathered(storm)
        async with world.host() as pen:
            for agent in AGENTS:
                assert lasts[agent]["turn"]["state"] == "done"
                assert lasts[agent]["turn"]["number"] == storm.sent[agent]
                _check(await all_events(pen, agent), storm.log(agent))
    folder = world.home.sessions.resolve()
    assert [one for one in marked() if one.journal.is_relative_to(folder)] == []
    print(f"turns {storm.sent}, kills {dict(storm.kills)}")
    assert storm.kills["service"] >= 3
    assert sum(storm.kills.values()) - storm.kills["service"] >= 3


async def _weathered(storm: Storm) -> dict[str, dict[str, Any]]:
    """Let it rage; return the records after one more turn of each agent in calm weather."""
    try:
        await storm.start()
        async with anyio.create_task_group() as tasks:
            for agent in AGENTS:
                await storm.begin(agent)
            for agent in AGENTS:
                tasks.start_soon(storm.work, agent)
            tasks.start_soon(storm.rage)
        return {agent: await storm.turn(agent) for agent in AGENTS}
    finally:
        await storm.end()


def _check(events: Sequence[Event], log: Path) -> None:
    """Every event once and in order; each turn's line and word at most once, and exactly once when
    it ended well."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    facts = [event.fact for event in events]
    lines = Counter(log.read_text().split())
    said = "".join(fact.text for fact in facts if isinstance(fact, MessageStreamed))
    begun = Counter(fact.turn for fact in facts if isinstance(fact, TurnStarted))
    ends = [fact for fact in facts if isinstance(fact, TurnEnded | TurnFailed)]
    assert max(begun.values()) == 1
    assert Counter(end.turn for end in ends) == begun
    done = 0
    for end in ends:
        token = f"{log.stem}{end.turn:04}x"
        seen = (lines[token], said.count(f"said-{token}"))
        if isinstance(end, TurnEnded) and end.stop == "end_turn":
            done += 1
            assert seen == (1, 1), (token, seen)
        assert max(seen) <= 1, (token, seen)
    print(f"{log.stem}: {done} of {len(ends)} turns ended well")
    assert done >= 1
