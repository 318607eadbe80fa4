"""Removing and pruning where something else went wrong before."""

import shutil
from pathlib import Path

import pytest

from bullpen.errors import BullpenError, WorkUnsaved
from kit.world import World, ask


async def worked(world: World, session: str, *, base: str | None = None) -> Path:
    """Make a session with a commit of its own in a worktree, stopped; return its folder."""
    async with world.host() as bullpen:
        wish = world.wish(id=session, place="worktree", base=base)
        record, _ = await bullpen.create(wish)
        await ask(bullpen, record.id, "%% write b.txt new\n%% commit add b")
        return Path(record.path)


async def test_a_session_whose_base_is_gone_is_still_refused_and_still_rescued(world: World):
    world.repository()
    world.git("branch", "feature")
    await worked(world, "calm-otter", base="feature")
    world.git("branch", "-D", "feature")
    async with world.host() as bullpen:
        with pytest.raises(WorkUnsaved):
            await bullpen.remove("calm-otter")
        rescue = await bullpen.remove("calm-otter", force=True)
        assert rescue is not None
        assert world.git("show", f"{rescue}:b.txt") == "new"


async def test_a_session_whose_base_was_merged_and_deleted_goes_without_force(world: World):
    world.repository()
    world.git("branch", "feature")
    await worked(world, "calm-otter", base="feature")
    world.git("merge", "-q", "--squash", "bullpen/calm-otter")
    world.git("commit", "-qm", "squashed")
    world.git("branch", "-D", "feature")
    async with world.host() as bullpen:
        assert await bullpen.remove("calm-otter") is None
        assert world.git("branch", "--list", "bullpen/*") == ""


@pytest.mark.parametrize("damage", ["repository", "worktree", "git-file"])
async def test_one_session_that_cannot_be_looked_at_keeps_no_other_from_being_pruned(
    world: World, damage: str
):
    world.repository()
    folder = await worked(world, "calm-otter")
    if damage == "repository":
        (world.work / ".git" / "HEAD").write_text("nonsense")
    elif damage == "worktree":
        shutil.rmtree(folder)
    else:
        (folder / ".git").unlink()
    async with world.host() as bullpen:
        plain, _ = await bullpen.create(world.wish(directory=str(world.folder / "home")))
        await bullpen.stop(plain.id)
        shown = await bullpen.prune(older_than=0, dry_run=True)
        assert {one.session for one in shown.items} == {"calm-otter", plain.id}
        assert all(one.kept for one in shown.items if one.session == "calm-otter")
        freed = await bullpen.prune(older_than=0, dry_run=False)
        assert [one.id for one in await bullpen.sessions()] == ["calm-otter"]
        assert {one.session for one in freed.items if one.kept is None} == {plain.id}


async def test_what_is_pruned_was_shown_even_when_nothing_of_it_is_on_disk(world: World):
    world.configure("[caps]\nlive = 1\n")
    async with world.host() as bullpen:
        live, _ = await bullpen.create(world.wish())
        never, _ = await bullpen.create(world.wish(id="never-wren"))
        assert never.state == "queued"
        await bullpen.stop("never-wren")
        shown = await bullpen.prune(older_than=0, dry_run=True)
        assert [(one.kind, one.session) for one in shown.items] == [("session", "never-wren")]
        freed = await bullpen.prune(older_than=0, dry_run=False)
        assert freed == shown
        assert [one.id for one in await bullpen.sessions()] == [live.id]


@pytest.mark.parametrize("damage", ["repository", "git-file"])
async def test_what_cannot_be_looked_at_stays_even_when_its_session_goes_by_force(
    world: World, damage: str
):
    world.repository()
    folder = await worked(world, "calm-otter")
    if damage == "repository":
        (world.work / ".git" / "HEAD").write_text("nonsense")
    else:
        (folder / ".git").unlink()
    async with world.host() as bullpen:
        with pytest.raises(BullpenError):
            await bullpen.remove("calm-otter")
        assert await bullpen.remove("calm-otter", force=True) is None
        assert await bullpen.sessions() == []
        assert (folder / "b.txt").read_text() == "new\n"


async def test_commits_on_no_branch_are_not_lost_with_their_worktree(world: World):
    world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(id="calm-otter", place="worktree"))
        steps = "%% run git checkout -q --detach\n%% write b.txt new\n%% commit add b"
        await ask(bullpen, record.id, steps)
        await bullpen.stop(record.id)
        with pytest.raises(WorkUnsaved, match="no branch"):
            await bullpen.remove(record.id)
        rescue = await bullpen.remove(record.id, force=True)
        assert rescue is not None
        assert world.git("show", f"{rescue}:b.txt") == "new"


async def test_a_worktree_that_only_looks_at_an_older_commit_goes(world: World):
    world.repository()
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(id="calm-otter", place="worktree"))
        await ask(bullpen, record.id, "%% run git checkout -q --detach")
        await bullpen.stop(record.id)
        assert await bullpen.remove(record.id) is None
        assert world.git("branch", "--list", "bullpen/*") == ""
