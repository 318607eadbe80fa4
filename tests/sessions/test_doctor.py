import os
import shutil
import subprocess
import sys
from pathlib import Path

from bullpen.api import Bullpen
from bullpen.process import marked
from bullpen.sessions.doctor import Finding
from kit.world import World, ask, eventually


def left_behind(marks: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process as an agent might have left it: in a group of its own, with our marks."""
    argv = [sys.executable, "-c", "import signal; signal.alarm(60); signal.pause()"]
    return subprocess.Popen(argv, env=os.environ | marks, start_new_session=True)


async def findings(bullpen: Bullpen, check: str, *, fix: bool = False) -> list[Finding]:
    return [one for one in await bullpen.doctor(fix=fix) if one.check == check]


async def test_a_healthy_host_has_no_complaint_of_its_own(world: World):
    async with world.host() as bullpen:
        await bullpen.create(world.wish())
        for one in await bullpen.doctor():
            assert one.level in ("ok", "warning", "error")
            assert one.level == "ok" or one.remedy
            if one.check in ("git", "database", "orphans", "journals", "session"):
                assert one.level == "ok", one


async def test_an_orphaned_process_is_found_and_ended(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(id="calm-otter"))
        await bullpen.stop(record.id)
        journal = (world.home.sessions / "calm-otter").resolve()
        marks = {"BULLPEN_SESSION": "calm-otter", "BULLPEN_RUN": "1"}
        orphan = left_behind(marks | {"BULLPEN_JOURNAL": str(journal)})
        try:
            await eventually(lambda: any(one.pid == orphan.pid for one in marked()))
            found = await findings(bullpen, "orphans")
            assert [one.fixable for one in found] == [True]
            assert str(orphan.pid) in found[0].message
            await findings(bullpen, "orphans", fix=True)
            await eventually(lambda: orphan.poll() is not None)
            assert [one.level for one in await findings(bullpen, "orphans")] == ["ok"]
        finally:
            orphan.kill()
            orphan.wait()


async def test_the_agents_of_another_host_are_none_of_its_business(world: World, tmp_path: Path):
    (tmp_path / "second").mkdir()
    other = World(tmp_path / "second")
    async with world.host() as bullpen, other.host() as theirs:
        await bullpen.create(world.wish(id="calm-otter"))
        record, _ = await theirs.create(other.wish(id="calm-otter"))
        await bullpen.stop("calm-otter")
        await bullpen.doctor(fix=True)
        assert (await ask(theirs, record.id, "%% say alive")).last_line == "alive"


async def test_a_journal_without_a_session_is_found_and_deleted(world: World):
    async with world.host() as bullpen:
        stray = world.home.sessions / "gone-wren"
        stray.mkdir(parents=True)
        (stray / "out.jsonl").write_text("{}\n")
        assert [one.level for one in await findings(bullpen, "journals")] == ["warning"]
        await findings(bullpen, "journals", fix=True)
        assert not stray.exists()


async def test_a_worktree_without_a_session_is_shown_and_left_for_a_person(world: World):
    async with world.host() as bullpen:
        stray = world.home.worktrees / "repo-1" / "gone-wren"
        stray.mkdir(parents=True)
        found = await findings(bullpen, "worktrees", fix=True)
        assert [str(stray) in one.message for one in found] == [True]
        assert found[0].remedy
        assert stray.exists()
        shutil.rmtree(stray)


async def test_agents_are_told_apart_by_what_is_here(world: World):
    programs = world.folder / "bin"
    programs.mkdir()
    for name in ("goose", "opencode"):
        (programs / name).write_text("#!/bin/sh\necho version 9.8\n")
        (programs / name).chmod(0o755)
    world.environment["PATH"] = f"{programs}:{world.environment['PATH']}"
    (world.folder / "config" / "agents").mkdir(parents=True)
    (world.folder / "config" / "agents" / "bad.toml").write_text("id = 3")
    (world.folder / "config" / "agents" / "mine.toml").write_text(
        'id = "mine"\nname = "Mine"\nvendor = "Me"\ndialect = "acp"\ncommand = ["goose"]\n'
        'login_evidence = ["~/.mine/token", "$MINE_KEY"]\nlogin_hint = "mine login"\n'
    )
    async with world.host() as bullpen:
        agents = {one.id: one for one in await bullpen.agents(versions=True)}
        assert agents["goose"].version == "version 9.8"
        assert agents["goose"].status in ("found", "needs-login")
        assert agents["demo"].status == "found"
        assert agents["kiro"].status == "not-found"
        assert agents["kiro"].install_hint
        assert (agents["mine"].status, agents["mine"].login_hint) == ("needs-login", "mine login")
        assert len(bullpen.catalog_faults()) == 1
        assert [one.level for one in await findings(bullpen, "catalog")] == ["error"]
    (world.folder / "home" / ".mine").mkdir()
    (world.folder / "home" / ".mine" / "token").touch()
    async with world.host() as bullpen:
        agents = {one.id: one for one in await bullpen.agents()}
        assert agents["mine"].status == "found"
