import os
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from bullpen.errors import (
    BranchBusy,
    BranchMoved,
    CheckoutDirty,
    CommandFailed,
    LandingConflict,
    NotARepository,
    NothingToLand,
    OperationUnfinished,
    RefUnknown,
    TargetMissing,
    WorktreeUnknown,
)
from bullpen.landing import Landed, land

LANDER = """
import sys, anyio
from pathlib import Path
from bullpen.landing import land

async def main(repo, *branches):
    async def one(branch):
        await land(Path(repo), branch=branch, checkout=Path(repo), message=f"land {branch}")
    async with anyio.create_task_group() as group:
        for branch in branches:
            group.start_soon(one, branch)

anyio.run(main, *sys.argv[1:])
"""


async def land_here(tree: Any, branch: str = "work", target: str | None = None) -> Landed:
    return await land(
        tree.path, branch=branch, target=target, message=f"land {branch}", checkout=tree.path
    )


async def test_a_branch_lands_as_a_merge_and_the_checkout_moves_along(tree: Any):
    before = tree.git("rev-parse", "HEAD")
    work = tree.branch_with("work", "new.txt", "new\n")
    landed = await land_here(tree)
    assert landed == Landed(target="main", commit=tree.git("rev-parse", "main"), files=1)
    assert tree.git("log", "-1", "--format=%P %s %an") == f"{before} {work} land work Ann"
    assert (tree.path / "new.txt").read_text() == "new\n"
    assert tree.git("status", "--porcelain") == ""
    assert tree.git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert tree.git("rev-parse", "work") == work


async def test_branches_that_touch_different_files_land_one_after_the_other(tree: Any):
    for name in ("one", "two", "three"):
        tree.branch_with(name, name, name)
    for name in ("one", "two", "three"):
        await land_here(tree, name)
    assert {"one", "two", "three"} <= {file.name for file in tree.path.iterdir()}
    assert tree.git("fsck", "--strict") == ""


async def test_local_changes_out_of_the_way_stay_as_they_are(tree: Any):
    tree.branch_with("work", "new.txt", "new\n")
    tree.write("a.txt", "mine\n")
    tree.write("untracked", "mine\n")
    before = tree.git("status", "--porcelain")
    await land_here(tree)
    assert tree.git("status", "--porcelain") == before
    assert (tree.path / "a.txt").read_text() == "mine\n"


@pytest.mark.parametrize("name", ["a.txt", "new.txt", "secret.log"])
async def test_local_changes_in_the_way_stop_the_landing(tree: Any, name: str):
    tree.git("checkout", "-q", "-b", "work")
    tree.write(name, "theirs\n")
    tree.git("add", "--force", name)
    tree.commit()
    tree.git("checkout", "-q", "main")
    tree.write(name, "mine\n")
    before = tree.state()
    with pytest.raises(CheckoutDirty):
        await land_here(tree)
    assert tree.state() == before


async def test_a_conflict_is_named_and_changes_nothing(tree: Any):
    tree.branch_with("work", "a.txt", "theirs\n")
    tree.write("a.txt", "ours\n")
    tree.commit()
    odd = os.fsdecode(b"odd-\xff")
    tree.git("checkout", "-q", "work")
    tree.write(odd, "theirs")
    tree.commit()
    tree.git("checkout", "-q", "main")
    tree.write(odd, "ours")
    tree.commit()
    before = tree.state()
    with pytest.raises(LandingConflict) as caught:
        await land_here(tree)
    assert caught.value.files == ("a.txt", "odd-\\xff")
    assert tree.state() == before


async def test_what_has_landed_before_in_any_form_is_nothing_to_land(tree: Any):
    tree.git("branch", "empty")
    tree.branch_with("merged", "one", "1")
    tree.branch_with("squashed", "two", "2")
    await land_here(tree, "merged")
    tree.git("merge", "-q", "--squash", "squashed")
    tree.commit()
    before = tree.state()
    for name in ("empty", "merged", "squashed", "main"):
        with pytest.raises(NothingToLand):
            await land_here(tree, name)
    assert tree.state() == before


async def test_an_error_names_the_session(tree: Any):
    tree.git("branch", "work")
    with pytest.raises(NothingToLand, match="'brisk-otter'"):
        await land(tree.path, branch="work", checkout=tree.path, message="x", session="brisk-otter")


async def test_a_target_that_nobody_is_on_moves_without_touching_the_checkout(tree: Any):
    work = tree.branch_with("work", "new.txt", "new\n")
    tree.git("branch", "release")
    old = tree.git("rev-parse", "release")
    tree.write("a.txt", "mine\n")
    status = tree.git("status", "--porcelain")
    landed = await land_here(tree, target="release")
    assert landed.target == "release"
    assert tree.git("log", "-1", "--format=%P", "release") == f"{old} {work}"
    assert (tree.git("rev-parse", "main"), tree.git("status", "--porcelain")) == (old, status)
    assert not (tree.path / "new.txt").exists()


async def test_a_target_in_another_worktree_is_left_alone(tree: Any, tmp_path: Path):
    tree.branch_with("work", "new.txt", "new\n")
    tree.git("worktree", "add", "-q", "-b", "release", str(tmp_path / "other"))
    before = tree.state()
    with pytest.raises(BranchBusy) as caught:
        await land_here(tree, target="release")
    assert caught.value.worktree == tmp_path / "other"
    assert tree.state() == before


async def test_a_checkout_may_be_a_linked_worktree(tree: Any, tmp_path: Path):
    tree.branch_with("work", "new.txt", "new\n")
    tree.git("worktree", "add", "-q", "-b", "release", str(tmp_path / "other"))
    landed = await land(tree.path, branch="work", checkout=tmp_path / "other", message="x")
    assert landed.target == "release"
    assert (tmp_path / "other" / "new.txt").exists()


async def test_without_a_branch_to_land_on_it_is_said_why(tree: Any, tmp_path: Path):
    tree.branch_with("work", "new.txt", "new\n")
    bare = tmp_path / "bare.git"
    tree.git("clone", "-q", "--bare", ".", str(bare))
    with pytest.raises(TargetMissing, match="bare"):
        await land(bare, branch="work", checkout=bare, message="x")
    tree.git("checkout", "-q", "--detach")
    with pytest.raises(TargetMissing, match="detached"):
        await land_here(tree)
    tree.git("checkout", "-q", "--orphan", "unborn")
    with pytest.raises(TargetMissing, match="no commit"):
        await land_here(tree)


async def test_in_a_bare_repository_a_named_target_moves(tree: Any, tmp_path: Path):
    work = tree.branch_with("work", "new.txt", "new\n")
    bare = tmp_path / "bare.git"
    tree.git("clone", "-q", "--bare", ".", str(bare))
    landed = await land(bare, branch="work", target="main", checkout=bare, message="x")
    assert tree.git("-C", str(bare), "log", "-1", "--format=%H %P", "main").split() == [
        landed.commit,
        tree.git("rev-parse", "main"),
        work,
    ]


@pytest.mark.parametrize("operation", ["merge", "rebase", "cherry-pick"])
async def test_an_operation_under_way_is_not_disturbed(tree: Any, operation: str):
    tree.branch_with("work", "new.txt", "new\n")
    tree.branch_with("side", "a.txt", "theirs\n")
    tree.write("a.txt", "ours\n")
    tree.commit()
    with pytest.raises(Exception, match="exit status"):
        tree.git(operation, "side")
    before = tree.state()
    with pytest.raises(OperationUnfinished) as caught:
        await land_here(tree)
    assert caught.value.operation == operation
    assert tree.state() == before


async def test_a_branch_that_is_being_rebased_elsewhere_is_not_moved(tree: Any, tmp_path: Path):
    tree.branch_with("work", "new.txt", "new\n")
    tree.branch_with("side", "a.txt", "theirs\n")
    tree.git("worktree", "add", "-q", "-b", "release", str(tmp_path / "other"))
    other = type(tree)(tmp_path / "other")
    other.write("a.txt", "ours\n")
    other.commit()
    with pytest.raises(Exception, match="exit status"):
        other.git("rebase", "side")
    with pytest.raises(BranchBusy):
        await land_here(tree, target="release")


async def test_unknown_branches_and_strange_checkouts_are_refused(tree: Any, tmp_path: Path):
    tree.branch_with("work", "new.txt", "new\n")
    for branch, target in (("missing", None), ("work", "missing"), ("-x", None)):
        with pytest.raises(RefUnknown):
            await land_here(tree, branch, target)
    with pytest.raises(NotARepository):
        await land(tree.path, branch="work", checkout=tmp_path / "home", message="x")
    tree.git("clone", "-q", ".", str(tmp_path / "clone"))
    with pytest.raises(WorktreeUnknown):
        await land(tree.path, branch="work", checkout=tmp_path / "clone", message="x")


async def test_histories_that_share_nothing_do_not_land(tree: Any):
    tree.git("checkout", "-q", "--orphan", "work")
    tree.commit()
    tree.git("checkout", "-q", "main")
    with pytest.raises(CommandFailed) as caught:
        await land_here(tree)
    assert "unrelated" in caught.value.hint


async def test_many_landings_at_once_in_tasks_and_processes_all_arrive(tree: Any):
    names = [f"work{number}" for number in range(8)]
    for name in names:
        tree.branch_with(name, name, name)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for mine in (names[:3], names[3:6]):
                command = [sys.executable, "-c", LANDER, str(tree.path), *mine]
                group.start_soon(anyio.run_process, command)
            for name in names[6:]:
                group.start_soon(land_here, tree, name)
    assert set(names) <= {file.name for file in tree.path.iterdir()}
    assert tree.git("status", "--porcelain") == ""
    assert tree.git("rev-list", "--count", "--merges", "main") == "8"


def move_target_while_merging(tree: Any, times: int) -> None:
    """Let a merge driver, which git runs while it merges, commit to `release`."""
    tree.write(".gitattributes", "a.txt merge=mover\n")
    tree.commit()
    tree.git("branch", "release")
    commit = "git commit-tree -p release -m moved release^{tree}"
    move = f"git update-ref refs/heads/release $({commit})"
    count = tree.path / ".git" / "count"
    body = f"echo x >> '{count}'; test $(wc -l < '{count}') -gt {times} || {move}"
    tree.git("config", "merge.mover.driver", f"{body}; cp %B %A")
    tree.git("checkout", "-q", "release")
    tree.write("a.txt", "ours\n")
    tree.commit()
    tree.git("checkout", "-q", "main")
    tree.branch_with("work", "a.txt", "theirs\n")
    tree.git("checkout", "-q", "main")


async def test_a_target_that_moves_meanwhile_is_merged_anew(tree: Any):
    move_target_while_merging(tree, times=2)
    landed = await land_here(tree, target="release")
    assert tree.git("log", "-3", "--first-parent", "--format=%s", "release").split("\n") == [
        "land work",
        "moved",
        "moved",
    ]
    assert landed.commit == tree.git("rev-parse", "release")


async def test_a_target_that_never_holds_still_is_given_up(tree: Any):
    move_target_while_merging(tree, times=1000)
    with pytest.raises(BranchMoved):
        await land_here(tree, target="release")
    assert tree.git("log", "-1", "--format=%s", "release") == "moved"


async def land_cancelled_after(tree: Any, *, checkpoints: int) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(land_here, tree)
        for _ in range(checkpoints):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


async def test_a_cancelled_landing_leaves_the_old_state_or_the_new(tree: Any):
    tree.branch_with("work", "new.txt", "new\n")
    for number in range(30):
        tree.write(f"more/{number}", str(number))
    old = tree.commit()
    seen: set[bool] = set()
    checkpoints = 0
    while True not in seen:
        await land_cancelled_after(tree, checkpoints=checkpoints)
        has_landed = tree.git("rev-parse", "main") != old
        seen.add(has_landed)
        assert (tree.path / "new.txt").exists() == has_landed
        assert tree.git("status", "--porcelain") == ""
        checkpoints += checkpoints // 2 + 5
    assert False in seen


async def test_a_landing_that_is_cancelled_while_the_checkout_moves_is_finished(
    tree: Any, tmp_path: Path
):
    begun, goes_on = tmp_path / "begun", tmp_path / "goes-on"
    os.mkfifo(begun)
    os.mkfifo(goes_on)
    tree.write(".gitattributes", "*.bin filter=slow\n")
    tree.commit()
    tree.branch_with("work", "x.bin", "x")
    tree.git("config", "filter.slow.smudge", f"echo > '{begun}'; read x < '{goes_on}'; cat")
    releasing = os.open(goes_on, os.O_RDWR)
    ended = anyio.Event()

    async def land_and_tell() -> None:
        try:
            await land_here(tree)
        finally:
            ended.set()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(land_and_tell)
            await anyio.Path(begun).read_bytes()
            group.cancel_scope.cancel()
            # Time enough for a cancellation that reaches git to end it.
            with anyio.move_on_after(0.5, shield=True):
                await ended.wait()
            os.write(releasing, b"\n")
    os.close(releasing)
    assert tree.git("log", "-1", "--format=%s") == "land work"
    assert tree.git("status", "--porcelain") == ""
    assert (tree.path / "x.bin").read_text() == "x"
