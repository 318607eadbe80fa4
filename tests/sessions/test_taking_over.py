"""One damaged session must not keep a service from all the others."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from bullpen import places
from bullpen.errors import StoreRefused
from bullpen.model.fact import (
    InterruptRequested,
    MessageStreamed,
    SessionCreated,
    StateChanged,
    TurnEnded,
    TurnFailed,
    Unrecognised,
)
from bullpen.model.session import OVER, SessionRecord
from bullpen.process import Identity, marked
from bullpen.sessions.hub import Hub
from bullpen.sessions.ledger import Ledger
from bullpen.store import Store
from kit.agents import add_demo
from kit.world import World, all_events, ask, eventually, until


def folder_of(world: World, session: str) -> Path:
    return world.home.sessions / session


def delete_folder(world: World, record: SessionRecord) -> None:
    shutil.rmtree(folder_of(world, record.id))


def delete_fifo(world: World, record: SessionRecord) -> None:
    (folder_of(world, record.id) / "in").unlink()


def delete_output(world: World, record: SessionRecord) -> None:
    (folder_of(world, record.id) / "out.jsonl").unlink()


def cut_output(world: World, record: SessionRecord) -> None:
    os.truncate(folder_of(world, record.id) / "out.jsonl", 3)


def forget_agent(world: World, record: SessionRecord) -> None:
    del record
    (world.folder / "config" / "agents" / "passing.toml").unlink()


def lose_beginning(world: World, record: SessionRecord) -> None:
    with sqlite3.connect(world.home.folder / "events.db") as events:
        events.execute("DELETE FROM events WHERE session = ? AND seq = 1", (record.id,))
    events.close()


def damage_snapshot(world: World, record: SessionRecord) -> None:
    with sqlite3.connect(world.home.folder / "events.db") as events:
        events.execute("UPDATE progress SET snapshot = x'00ff' WHERE session = ?", (record.id,))
    events.close()


def kill(record: SessionRecord) -> None:
    assert record.pid is not None
    assert record.start_time is not None
    identity = Identity(record.pid, record.start_time)
    os.killpg(record.pid, signal.SIGKILL)
    while identity.alive():
        pass


DAMAGES = [delete_folder, delete_fifo, delete_output, cut_output, forget_agent, lose_beginning]


@pytest.mark.parametrize("is_alive", [True, False], ids=["alive", "dead"])
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_session_that_was_damaged_meanwhile_is_over_and_the_others_go_on(
    world: World, damage: Callable[[World, SessionRecord], None], is_alive: bool
):
    add_demo(world, "passing")
    world.configure("stop_grace = 0.5\n")
    async with world.host(end=False) as bullpen:
        broken, _ = await bullpen.create(world.wish(agent="passing", prompt="%% sleep 60"))
        sound, _ = await bullpen.create(world.wish())
        broken = await until(bullpen, broken.id, lambda one: one.state == "working")
    if not is_alive:
        kill(broken)
    damage(world, broken)
    async with world.host() as bullpen:
        record = await bullpen.session(broken.id)
        assert record.state in OVER
        assert record.reason
        assert record.pid is None
        # A turn that can never end would make the resumed session look busy for ever.
        assert record.turn is not None
        assert record.turn.state == "failed"
        assert [one for one in marked() if one.journal == folder_of(world, broken.id)] == []
        assert (await ask(bullpen, sound.id, "%% say unharmed")).last_line == "unharmed"
        await bullpen.remove(broken.id)
    async with world.host() as bullpen:
        assert [one.id for one in await bullpen.sessions()] == [sound.id]


@pytest.mark.parametrize("damage", [damage_snapshot])
async def test_an_unreadable_snapshot_costs_nothing_but_time(
    world: World, damage: Callable[[World, SessionRecord], None]
):
    gate = world.folder / "gate"
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish())
        await ask(bullpen, record.id, "%% say first")
        await bullpen.send(record.id, f"%% say second\n%% wait-file {gate}\n%% say third")
        await until(bullpen, record.id, lambda one: one.last_line == "second")
    damage(world, record)
    async with world.host() as bullpen:
        gate.touch()
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        said = [one.text for one in await bullpen.messages(record.id, count=9)]
        assert said == ["first", "second", "third"]
        assert (await bullpen.session(record.id)).run == 1


async def test_a_turn_can_be_interrupted_after_an_unreadable_snapshot(world: World):
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.send(record.id, "%% say on it\n%% sleep 60")
        record = await until(bullpen, record.id, lambda one: one.last_line == "on it")
    damage_snapshot(world, record)
    async with world.host() as bullpen:
        await bullpen.interrupt(record.id)
        record = await until(bullpen, record.id, lambda one: one.state != "working")
        assert record.turn is not None
        assert (record.state, record.turn.state) == ("idle", "cancelled")


async def test_an_interrupt_that_is_ignored_is_not_forgotten_by_a_restart(world: World):
    world.configure("interrupt_grace = 0.5\nstop_grace = 0.3\n")
    async with world.host(end=False) as bullpen:
        prompt = "%% say on it\n%% ignore-cancel\n%% sleep 60"
        record, _ = await bullpen.create(world.wish(prompt=prompt))
        await until(bullpen, record.id, lambda one: one.last_line == "on it")
        await bullpen.interrupt(record.id)
    async with world.host() as bullpen:
        record = await until(bullpen, record.id, lambda one: one.state in OVER, timeout=10)
        assert "interrupted" in record.reason
        facts = [event.fact for event in await all_events(bullpen, record.id)]
        assert sum(isinstance(fact, InterruptRequested) for fact in facts) == 1


async def test_last_words_are_stored_once_even_when_their_burial_is_cut_short(world: World):
    """The end of an agent takes two commits; a service may die between them."""
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await bullpen.send(record.id, "%% say last words\n%% die-mid-line")
        await until(bullpen, record.id, lambda one: one.state == "failed")
    with sqlite3.connect(world.home.folder / "events.db") as events:
        (ended,) = events.execute(
            "SELECT seq FROM events WHERE session = ? AND kind = 'agent-ended'", (record.id,)
        ).fetchone()
        # All that was committed together with the end is not there yet.
        events.execute("DELETE FROM events WHERE session = ? AND seq >= ?", (record.id, ended - 1))
    events.close()
    (world.home.folder / "state.db").unlink()
    async with world.host() as bullpen:
        record = await bullpen.session(record.id)
        assert (record.state, record.exit_code) == ("failed", 1)
        facts = [event.fact for event in await all_events(bullpen, record.id)]
        assert [f.text for f in facts if isinstance(f, MessageStreamed)] == ["last words"]
        assert sum(fact.__struct_config__.tag == "faulted" for fact in facts) == 1
        assert sum(isinstance(fact, TurnFailed | TurnEnded) for fact in facts) == 1


SERVE = """
import os, sys
from bullpen.model.home import Home
from bullpen.service.serve import main
sys.exit(main(Home.of(os.environ)))
"""


async def test_a_setup_the_service_died_over_is_ended_and_done_again(world: World):
    repo = world.repository()
    setup = "echo $$ >> pids; test -e proceed || exec sleep 60"
    async with killed_service(world) as service:
        await service("calm-otter", place="worktree", setup=setup)
        folder = places.worktree_path(world.home.folder, repo, "calm-otter")
        await eventually((folder / "pids").exists)
        first = Identity.of(int((folder / "pids").read_text()))
    assert first is not None
    assert first.alive()
    (repo / "proceed").touch()
    world.git("add", "proceed")
    world.git("commit", "-qm", "proceed")
    (folder / "proceed").touch()
    async with world.host() as bullpen:
        assert not first.alive()
        record = await until(bullpen, "calm-otter", lambda one: one.state == "idle")
        assert len((Path(record.path) / "pids").read_text().split()) >= 1


class killed_service:
    """A real service that is killed when the block is left."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def __aenter__(self) -> Callable[..., Coroutine[Any, Any, None]]:
        self._process = subprocess.Popen(  # noqa: ASYNC220 - not waited for
            [sys.executable, "-c", SERVE],
            env=self._world.environment,
            stderr=subprocess.DEVNULL,
        )
        await eventually(self._world.home.socket.exists)
        return self._create

    async def _create(self, session: str, **wish: object) -> None:
        transport = httpx.AsyncHTTPTransport(uds=str(self._world.home.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as http:
            body = {"agent": "demo", "path": str(self._world.work), "id": session, "wait": False}
            answer = await http.post("/v1/sessions", json=body | wish)
            assert answer.status_code == 201, answer.text

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


async def begun(world: World) -> Path:
    """Store a session whose start had begun; return where its worktree belongs."""
    repo = world.repository()
    created = SessionCreated(
        agent="demo",
        directory=str(repo),
        place="worktree",
        repo=str(repo),
        branch="bullpen/calm-otter",
        base="main",
    )
    async with Store.open(world.home.folder, lock=world.home.service_lock) as store:
        ledger = Ledger.begin("calm-otter", created, store=store, hub=Hub())
        starting = StateChanged(before="queued", after="starting", reason="there is room")
        await ledger.write(starting).wait()
    return places.worktree_path(world.home.folder, repo, "calm-otter")


@pytest.mark.parametrize("made", ["branch", "worktree"])
async def test_a_worktree_the_service_died_over_is_made_anew(world: World, made: str):
    folder = await begun(world)
    if made == "branch":
        world.git("branch", "bullpen/calm-otter")
    else:
        world.git("worktree", "add", "-q", "-b", "bullpen/calm-otter", str(folder))
    (world.work / "a.txt").write_text("two\n")
    world.git("commit", "-qam", "second")
    async with world.host() as bullpen:
        record = await until(bullpen, "calm-otter", lambda one: one.state in {"idle", *OVER})
        assert (record.state, record.branch) == ("idle", "bullpen/calm-otter")
        assert Path(record.path) == folder.resolve()
        assert (folder / "a.txt").read_text() == "two\n"


async def test_a_branch_with_commits_is_not_taken_for_half_made(world: World):
    await begun(world)
    world.git("checkout", "-qb", "bullpen/calm-otter")
    (world.work / "a.txt").write_text("mine\n")
    world.git("commit", "-qam", "of a person")
    world.git("checkout", "-q", "main")
    async with world.host() as bullpen:
        record = await until(bullpen, "calm-otter", lambda one: one.state in {"idle", *OVER})
        assert record.state == "failed"
        assert "exists already" in record.reason
        assert "of a person" in world.git("log", "--oneline", "bullpen/calm-otter")


async def test_a_database_that_refuses_at_the_start_costs_no_agent_its_life(world: World):
    async with world.host(end=False) as bullpen:
        one, _ = await bullpen.create(world.wish())
        two, _ = await bullpen.create(world.wish())
        dead, _ = await bullpen.create(world.wish())
    kill(dead)
    events = world.home.folder / "events.db"
    with sqlite3.connect(events) as outsider:
        outsider.execute(
            "CREATE TRIGGER full BEFORE INSERT ON events "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    outsider.close()
    with pytest.raises(ExceptionGroup) as refused:
        async with world.host(end=False):
            pass
    assert refused.group_contains(StoreRefused)
    with sqlite3.connect(events) as outsider:
        outsider.execute("DROP TRIGGER full")
    outsider.close()
    async with world.host() as bullpen:
        states = {record.id: (record.state, record.run) for record in await bullpen.sessions()}
        assert states == {one.id: ("idle", 1), two.id: ("idle", 1), dead.id: ("lost", 1)}


async def test_a_row_that_cannot_be_read_is_made_again_from_the_events(world: World):
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish(title="t"))
    with sqlite3.connect(world.home.folder / "state.db") as state:
        state.execute("UPDATE sessions SET record = '{\"id\":'")
    state.close()
    async with world.host() as bullpen:
        assert (await ask(bullpen, record.id, "%% say well")).title == "t"
        assert (await bullpen.session(record.id)).run == 1


async def test_facts_of_another_version_are_read_past_and_kept_whole(world: World):
    async with world.host(end=False) as bullpen:
        record, _ = await bullpen.create(world.wish())
    body = '{"kind":"dream-dreamt","of":"sheep"}'
    with sqlite3.connect(world.home.folder / "events.db") as events:
        events.execute(
            "INSERT INTO events (session, seq, at, kind, body) VALUES (?, ?, 0, 'dream-dreamt', ?)",
            (record.id, record.seq + 2, body),
        )
        events.execute(
            "INSERT INTO events (session, seq, at, kind, body) VALUES (?, ?, 0, 'dream-dreamt', ?)",
            (record.id, record.seq + 1, body),
        )
    events.close()
    async with world.host() as bullpen:
        assert (await ask(bullpen, record.id, "%% say well")).run == 1
        facts = [event.fact for event in await all_events(bullpen, record.id)]
        strange = [fact for fact in facts if isinstance(fact, Unrecognised)]
        assert [(one.what, one.raw["of"]) for one in strange] == [("dream-dreamt", "sheep")] * 2


HEIR = """
import fcntl, os, sys, time
lock = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(0.5)
"""


async def test_a_lock_that_outlives_its_holder_for_a_moment_is_waited_for(world: World):
    """As when a service is killed while it forks: the child still has the lock."""
    async with world.host(end=False):
        pass
    lock = world.home.service_lock
    gone = subprocess.Popen([sys.executable, "-c", ""])  # noqa: ASYNC220 - ends by itself
    gone.wait()
    lock.write_text(f"{gone.pid}\n")
    argv = [sys.executable, "-c", HEIR, str(lock)]
    heir = subprocess.Popen(argv, stdout=subprocess.PIPE)  # noqa: ASYNC220 - ends by itself
    with heir:
        assert heir.stdout is not None
        assert heir.stdout.readline() == b"held\n"
        async with world.host() as bullpen:
            assert await bullpen.sessions() == []
