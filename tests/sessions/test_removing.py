import time
from pathlib import Path

import pytest

from bullpen.errors import (
    CheckoutDirty,
    LandingConflict,
    NothingToLand,
    RepositoryMoved,
    ResumeUnsupported,
    SessionBusy,
    SessionNotFound,
    WorktreeGone,
    WorkUnsaved,
)
from kit.world import World, ask, until


async def test_a_directory_session_leaves_the_users_files_alone(world: World):
    (world.work / "mine.txt").write_text("mine")
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await ask(bullpen, record.id, "%% write theirs.txt x")
        with pytest.raises(SessionBusy):
            await bullpen.remove(record.id)
        await bullpen.stop(record.id)
        assert await bullpen.remove(record.id) is None
        assert {one.name for one in world.work.iterdir()} == {"mine.txt", "theirs.txt"}
        assert not (world.home.sessions / record.id).exists()
        with pytest.raises(SessionNotFound):
            await bullpen.session(record.id)


async def test_unsaved_work_is_refused_and_rescued_when_forced(world: World):
    world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(id="calm-otter", place="worktree"))
        path = Path(record.path)
        await ask(bullpen, record.id, "%% write b.txt kept\n%% commit b\n%% write c.txt too")
        await bullpen.stop(record.id)
        with pytest.raises(WorkUnsaved, match="1 uncommitted file and 1 commit not in main"):
            await bullpen.remove(record.id)
        assert (path / "c.txt").exists()
        rescue = await bullpen.remove(record.id, force=True)
        assert rescue == "refs/bullpen/rescue/calm-otter"
        assert not path.exists()
        assert world.git("branch", "--list", "bullpen/*") == ""
        assert world.git("show", f"{rescue}:c.txt") == "too"
        assert world.git("show", f"{rescue}:b.txt") == "kept"


async def test_work_that_landed_goes_without_force(world: World):
    repo = world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(place="worktree"))
        await ask(bullpen, record.id, "%% write b.txt new\n%% commit b")
        done = await bullpen.land(record.id)
        assert (done.target, (repo / "b.txt").read_text()) == ("main", "new\n")
        assert (await bullpen.session(record.id)).landed == done.commit
        await bullpen.stop(record.id)
        assert await bullpen.remove(record.id) is None
        assert world.git("branch", "--list", "bullpen/*") == ""


async def test_landing_commits_what_was_left_when_asked_and_says_whose_it_is(world: World):
    repo = world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(place="worktree", title="Add b"))
        with pytest.raises(NothingToLand):
            await bullpen.land(record.id)
        await ask(bullpen, record.id, "%% write b.txt new")
        with pytest.raises(NothingToLand):
            await bullpen.land(record.id)
        await bullpen.land(record.id, commit=True)
        assert (repo / "b.txt").read_text() == "new\n"
        message = world.git("log", "-1", "--format=%B")
        assert message.startswith("Add b")
        assert f"Bullpen-Session: {record.id}" in message


async def test_a_conflict_changes_nothing_and_names_the_files(world: World):
    repo = world.repository()
    async with world.host() as bullpen:
        one, _ = await bullpen.create(world.wish(place="worktree"))
        two, _ = await bullpen.create(world.wish(place="worktree"))
        await ask(bullpen, one.id, "%% write a.txt mine\n%% commit mine")
        await ask(bullpen, two.id, "%% write a.txt theirs\n%% commit theirs")
        await bullpen.land(one.id)
        before = world.git("rev-parse", "HEAD")
        with pytest.raises(LandingConflict) as conflict:
            await bullpen.land(two.id)
        assert conflict.value.files == ("a.txt",)
        assert (world.git("rev-parse", "HEAD"), (repo / "a.txt").read_text()) == (before, "mine\n")
        (repo / "a.txt").write_text("local")
        await ask(bullpen, one.id, "%% write a.txt mine again\n%% commit again")
        with pytest.raises(CheckoutDirty):
            await bullpen.land(one.id)
        assert (repo / "a.txt").read_text() == "local"


async def test_a_worktree_that_was_deleted_comes_back_when_its_session_is_resumed(world: World):
    world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(place="worktree"))
        await ask(bullpen, record.id, "%% write b.txt new\n%% commit b\n%% say remember me")
        await bullpen.stop(record.id)
        world.git("worktree", "remove", "--force", record.path)
        resumed = await bullpen.resume(record.id)
        assert (resumed.path, resumed.branch) == (record.path, record.branch)
        assert (Path(record.path) / "b.txt").read_text() == "new\n"
        await ask(bullpen, record.id, "%% memory")
        said = "".join(one.text for one in await bullpen.messages(record.id, count=9))
        assert "remember me" in said


async def test_a_conversation_that_cannot_come_back_is_said_so_and_may_begin_afresh(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await ask(bullpen, record.id, "%% say remember me")
        await bullpen.stop(record.id)
        ledger = await bullpen._supervisor.ledger(record.id)
        ledger.record.abilities = ["close"]
        with pytest.raises(ResumeUnsupported):
            await bullpen.resume(record.id)
        assert (await bullpen.session(record.id)).state == "stopped"
        assert (await bullpen.resume(record.id, fresh=True)).state == "idle"
        await ask(bullpen, record.id, "%% memory")
        assert "remember me" not in (await bullpen.messages(record.id))[-1].text


async def test_pruning_shows_first_frees_what_is_old_and_keeps_what_is_unsaved(world: World):
    world.repository()
    async with world.host() as bullpen:
        done, _ = await bullpen.create(world.wish(id="done-wren", place="worktree"))
        kept, _ = await bullpen.create(world.wish(id="kept-wren", place="worktree"))
        live, _ = await bullpen.create(world.wish(id="live-wren"))
        done_path, kept_path = Path(done.path), Path(kept.path)
        await ask(bullpen, kept.id, "%% write b.txt new")
        await bullpen.stop(done.id)
        await bullpen.stop(kept.id)
        assert (await bullpen.prune(older_than=3600, dry_run=False)).items == []
        shown = await bullpen.prune(older_than=0, dry_run=True)
        assert {one.session for one in shown.items} == {"done-wren", "kept-wren"}
        assert done_path.is_dir()
        freed = await bullpen.prune(older_than=0, dry_run=False)
        assert {one.session for one in freed.items if one.kept is None} == {"done-wren"}
        assert all("uncommitted" in (one.kept or "") for one in freed.items if one.kept)
        assert not done_path.exists()
        assert (kept_path / "b.txt").exists()
        assert {one.id for one in await bullpen.sessions()} == {"kept-wren", "live-wren"}
        assert live.state == "idle"
        assert freed.freed_bytes > 0
        assert (await bullpen.session("kept-wren")).used_at <= time.time()


async def test_a_session_below_the_root_of_a_repository_works_below_the_root_of_its_worktree(
    world: World,
):
    repo = world.repository()
    (repo / "part").mkdir()
    (repo / "part" / "x.txt").write_text("x\n")
    world.git("add", "-A")
    world.git("commit", "-qm", "a part")
    async with world.host() as bullpen:
        wish = world.wish(directory=str(repo / "part"), place="worktree")
        record, _ = await bullpen.create(wish)
        await ask(bullpen, record.id, "%% write y.txt new\n%% commit y")
        assert (Path(record.path) / "part" / "y.txt").exists()
        assert (await bullpen.changes(record.id)).files == 1
        await bullpen.land(record.id)
        assert (repo / "part" / "y.txt").exists()


async def test_work_in_a_plain_directory_is_told_from_where_the_session_began(world: World):
    world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await ask(bullpen, record.id, "%% write b.txt new\n%% commit b\n%% write c.txt new")
        assert (await bullpen.changes(record.id)).files == 2


async def test_a_worktree_that_is_gone_is_said_so_with_the_way_back(world: World):
    world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(place="worktree"))
        world.git("worktree", "remove", "--force", record.path)
        with pytest.raises(WorktreeGone) as gone:
            await bullpen.diff(record.id)
        assert f"bullpen resume {record.id}" in gone.value.hint


async def test_a_repository_that_was_moved_keeps_its_sessions_work_from_being_forgotten(
    world: World,
):
    repo = world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(place="worktree"))
        path = Path(record.path)
        await ask(bullpen, record.id, "%% write b.txt new")
        await bullpen.stop(record.id)
        repo.rename(repo.with_name("moved"))
        for verb in (bullpen.diff, bullpen.land, bullpen.remove):
            with pytest.raises(RepositoryMoved):
                await verb(record.id)
        await bullpen.remove(record.id, force=True)
        assert (path / "b.txt").exists()


async def test_a_session_that_failed_is_laid_to_rest_by_stopping_it(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish())
        await ask(bullpen, record.id, "%% crash 3")
        record = await until(bullpen, record.id, lambda one: one.state == "failed")
        assert (await bullpen.stop(record.id)).state == "stopped"
        assert (await bullpen.session(record.id)).exit_code == 3
        assert (await bullpen.resume(record.id)).state == "idle"
