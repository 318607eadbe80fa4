import os
import shutil
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from bullpen.errors import (
    BranchBusy,
    BranchInvalid,
    BranchTaken,
    CommandFailed,
    PlaceTaken,
    RefUnknown,
    RepositoryBusy,
    WorktreeDirty,
    WorktreeUnknown,
)
from bullpen.git import (
    add_worktree,
    remove_worktree,
    repository_lock,
    restore_worktree,
    status,
    worktrees,
)

ADDER = """
import sys, anyio
from pathlib import Path
from bullpen.git import add_worktree

async def main(repo, *names):
    async with anyio.create_task_group() as group:
        for name in names:
            async def add(name=name):
                path = Path(repo).parent / "wt" / name
                await add_worktree(Path(repo), path, branch=f"bullpen/{name}", base="main")
            group.start_soon(add)

anyio.run(main, *sys.argv[1:])
"""


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def nothing_is_left(tree: Any, path: Path) -> bool:
    entries = tree.path / ".git" / "worktrees"
    left = list(entries.iterdir()) if entries.is_dir() else []
    return tree.refs() == ["refs/heads/main"] and not path.exists() and not left


async def test_a_worktree_has_the_files_of_its_base_on_a_branch_of_its_own(
    tree: Any, tmp_path: Path
):
    first = tree.git("rev-parse", "HEAD")
    tree.write("later.txt", "later")
    tree.commit()
    path = tmp_path / "deep" / "down" / "wt"
    assert await add_worktree(tree.path, path, branch="bullpen/one", base="main~1") == first
    assert names_in(path) == [".git", ".gitignore", "a.txt", "src"]
    assert (await status(path)).is_clean
    entry = (await worktrees(tree.path))[1]
    assert (entry.path, entry.branch, entry.commit) == (path, "bullpen/one", first)


async def test_a_branch_from_a_remote_one_tracks_nothing(tree: Any, tmp_path: Path):
    tree.git("config", "branch.autoSetupMerge", "always")
    tree.git("remote", "add", "origin", ".")
    tree.git("fetch", "-q", "origin")
    await add_worktree(tree.path, tmp_path / "wt", branch="side", base="origin/main")
    assert "branch.side" not in tree.git("config", "--list")


async def test_sixteen_at_once_in_tasks_and_processes_are_all_whole(tree: Any, tmp_path: Path):
    for number in range(40):
        tree.write(f"many/{number}", f"{number}\n")
    head = tree.commit()
    names = [f"{kind}{number}" for kind in "ab" for number in range(6)]
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for kind in "ab":
                mine = [name for name in names if name.startswith(kind)]
                command = [sys.executable, "-c", ADDER, str(tree.path), *mine]
                group.start_soon(anyio.run_process, command)
            for number in range(4):
                names.append(f"c{number}")

                async def add(name: str = names[-1]) -> None:
                    path = tmp_path / "wt" / name
                    await add_worktree(tree.path, path, branch=f"bullpen/{name}", base="main")

                group.start_soon(add)
    entries = {entry.path.name: entry for entry in (await worktrees(tree.path))[1:]}
    assert sorted(entries) == sorted(names)
    for name, entry in entries.items():
        assert (entry.branch, entry.commit) == (f"bullpen/{name}", head)
        assert (await status(entry.path)).is_clean
        assert len(names_in(entry.path / "many")) == 40


async def test_of_two_that_want_one_branch_the_second_leaves_nothing(tree: Any, tmp_path: Path):
    failures: list[BranchTaken] = []

    async def add(name: str) -> None:
        try:
            await add_worktree(tree.path, tmp_path / name, branch="same", base="main")
        except BranchTaken as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(add, "one")
        group.start_soon(add, "two")
    assert len(failures) == 1
    assert len(await worktrees(tree.path)) == 2
    assert (tmp_path / "one").exists() != (tmp_path / "two").exists()
    assert tree.git("rev-parse", "same") == tree.git("rev-parse", "main")


async def test_a_checkout_that_fails_leaves_neither_branch_nor_folder_nor_entry(
    tree: Any, tmp_path: Path
):
    tree.write(".gitattributes", "*.bin filter=broken\n")
    tree.write("x.bin", "x")
    tree.commit()
    tree.git("config", "filter.broken.smudge", "false")
    tree.git("config", "filter.broken.required", "true")
    with pytest.raises(CommandFailed) as caught:
        await add_worktree(tree.path, tmp_path / "wt", branch="bullpen/x", base="main")
    assert "smudge" in caught.value.hint
    assert nothing_is_left(tree, tmp_path / "wt")


async def test_a_cancelled_checkout_leaves_nothing(tree: Any, tmp_path: Path):
    started = tmp_path / "started"
    os.mkfifo(started)
    tree.write(".gitattributes", "*.bin filter=slow\n")
    tree.write("x.bin", "x")
    tree.commit()
    tree.git("config", "filter.slow.smudge", f"echo > '{started}'; exec sleep 60")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:

            async def add() -> None:
                await add_worktree(tree.path, tmp_path / "wt", branch="bullpen/x", base="main")

            group.start_soon(add)
            await anyio.Path(started).read_bytes()
            assert (tmp_path / "wt").is_dir()
            group.cancel_scope.cancel()
    assert nothing_is_left(tree, tmp_path / "wt")


async def test_work_committed_while_an_add_fails_is_kept(tree: Any, tmp_path: Path):
    tree.write(".gitattributes", "*.bin filter=busy\n")
    tree.write("x.bin", "x")
    head = tree.commit()
    commit = f"git update-ref refs/heads/busy $(git commit-tree -p {head} -m mine {head}^{{tree}})"
    tree.git("config", "filter.busy.smudge", f"{commit} && false")
    tree.git("config", "filter.busy.required", "true")
    with pytest.raises(CommandFailed):
        await add_worktree(tree.path, tmp_path / "wt", branch="busy", base="main")
    assert tree.git("log", "-1", "--format=%s", "busy") == "mine"


async def test_what_was_there_before_is_left_alone(tree: Any, tmp_path: Path):
    tree.git("branch", "taken")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("mine")
    for path, branch, base, kind in (
        (tmp_path / "wt", "taken", "main", BranchTaken),
        (tmp_path / "wt", "taken/deeper", "main", BranchTaken),
        (tmp_path / "wt", "-x", "main", BranchInvalid),
        (tmp_path / "wt", "new", "nowhere", RefUnknown),
        (full, "new", "main", PlaceTaken),
        (full / "mine", "new", "main", PlaceTaken),
    ):
        with pytest.raises(kind):
            await add_worktree(tree.path, path, branch=branch, base=base)
    assert tree.refs() == ["refs/heads/main", "refs/heads/taken"]
    assert (full / "mine").read_text() == "mine"
    assert not (tmp_path / "wt").exists()
    assert len(await worktrees(tree.path)) == 1


async def test_a_repository_without_a_commit_has_no_base(make_tree: Any, tmp_path: Path):
    with pytest.raises(RefUnknown):
        await add_worktree(make_tree("empty").path, tmp_path / "wt", branch="x", base="HEAD")


async def test_hooks_and_settings_of_the_user_do_not_get_in_the_way(tree: Any, tmp_path: Path):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "fsmonitor"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\nexit 1\n")
        (hooks / name).chmod(0o755)
    for key, value in (
        ("core.hooksPath", str(hooks)),
        ("core.fsmonitor", str(hooks / "fsmonitor")),
        ("checkout.defaultRemote", "nowhere"),
        ("worktree.guessRemote", "true"),
        ("submodule.recurse", "true"),
        ("core.safecrlf", "true"),
        ("color.ui", "always"),
    ):
        tree.git("config", key, value)
    await add_worktree(tree.path, tmp_path / "wt", branch="x", base="main")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["with space", "new\nline", "ünï☃", "-dash", "$(x);'\"", "a:b"])
async def test_a_worktree_may_have_any_name(tree: Any, tmp_path: Path, name: str):
    await add_worktree(tree.path, tmp_path / name, branch="x", base="main")
    assert (await status(tmp_path / name)).is_clean
    await remove_worktree(tree.path, tmp_path / name)
    assert not (tmp_path / name).exists()
    assert len(await worktrees(tree.path)) == 1


async def test_hostile_file_names_come_out_as_they_went_in(tree: Any, tmp_path: Path):
    names = ["-f", "new\nline", " lead", "tab\t", 'quo"te', "ü", "a\\b", "*", ":(top)x", "sub/-r"]
    for name in names:
        tree.write(name, name)
    odd = os.fsdecode(b"bad-\xff-utf8")
    tree.write(odd, "odd")
    tree.commit()
    path = tmp_path / "wt"
    await add_worktree(tree.path, path, branch="x", base="main")
    assert {name: (path / name).read_text() for name in names} == {name: name for name in names}
    for name in [*names, odd]:
        (path / name).unlink()
    assert (await status(path)).unstaged == tuple(sorted([*names, odd]))


async def test_a_sparse_worktree_holds_only_the_folders_asked_for(tree: Any, tmp_path: Path):
    tree.write("docs/c.md", "c")
    tree.commit()
    path = tmp_path / "wt"
    await add_worktree(tree.path, path, branch="x", base="main", sparse=["docs"])
    assert names_in(path) == [".git", ".gitignore", "a.txt", "docs"]
    assert (await status(path)).is_clean
    assert (tree.path / "src" / "b.py").exists()
    assert tree.git("status", "--porcelain") == ""


async def test_a_base_in_a_bare_repository_will_do(tree: Any, tmp_path: Path):
    bare = tmp_path / "bare.git"
    tree.git("clone", "-q", "--bare", ".", str(bare))
    await add_worktree(bare, tmp_path / "wt", branch="x", base="main")
    assert (tmp_path / "wt" / "a.txt").read_text() == "one\ntwo\n"


async def test_a_folder_deleted_by_hand_does_not_block_its_path_for_ever(tree: Any, tmp_path: Path):
    path = tmp_path / "wt"
    await add_worktree(tree.path, path, branch="one", base="main")
    shutil.rmtree(path)
    await add_worktree(tree.path, path, branch="two", base="main")
    assert [entry.branch for entry in await worktrees(tree.path)] == ["main", "two"]


async def test_a_removed_worktree_is_restored_on_its_branch(tree: Any, tmp_path: Path):
    path = tmp_path / "wt"
    await add_worktree(tree.path, path, branch="one", base="main")
    (path / "a.txt").write_text("changed\n")
    type(tree)(path).commit("work")
    work = tree.git("rev-parse", "one")
    await remove_worktree(tree.path, path)
    assert await restore_worktree(tree.path, path, branch="one") == work
    assert (path / "a.txt").read_text() == "changed\n"
    with pytest.raises(BranchBusy):
        await restore_worktree(tree.path, tmp_path / "second", branch="one")
    with pytest.raises(RefUnknown):
        await restore_worktree(tree.path, tmp_path / "second", branch="missing")


async def test_a_worktree_with_work_is_not_removed_unless_forced(tree: Any, tmp_path: Path):
    path = tmp_path / "wt"
    await add_worktree(tree.path, path, branch="one", base="main")
    (path / "new.txt").write_text("new")
    with pytest.raises(WorktreeDirty) as caught:
        await remove_worktree(tree.path, path)
    assert caught.value.files == ("new.txt",)
    assert (path / "new.txt").read_text() == "new"
    await remove_worktree(tree.path, path, force=True)
    assert not path.exists()
    assert tree.refs() == ["refs/heads/main", "refs/heads/one"]


async def test_a_removal_takes_what_git_ignores_and_what_is_read_only(tree: Any, tmp_path: Path):
    path = tmp_path / "wt"
    await add_worktree(tree.path, path, branch="one", base="main")
    cache = path / "node_modules" / "cache"
    cache.mkdir(parents=True)
    (cache / "file").write_text("x")
    cache.chmod(0o500)
    await remove_worktree(tree.path, path)
    assert not path.exists()


async def test_a_removal_may_be_asked_for_twice_and_after_the_folder_is_gone(
    tree: Any, tmp_path: Path
):
    path = tmp_path / "wt"
    await add_worktree(tree.path, path, branch="one", base="main")
    shutil.rmtree(path)
    await remove_worktree(tree.path, path)
    await remove_worktree(tree.path, path)
    assert len(await worktrees(tree.path)) == 1


async def test_only_a_linked_worktree_of_the_repository_is_removed(
    tree: Any, make_tree: Any, tmp_path: Path
):
    other = make_tree("other")
    other.write("precious", "x")
    for path in (tree.path, tree.path / "src", other.path):
        with pytest.raises(WorktreeUnknown):
            await remove_worktree(tree.path, path, force=True)
    assert (other.path / "precious").exists()
    assert (tree.path / "src" / "b.py").exists()


async def test_a_link_inside_of_a_worktree_is_removed_and_not_followed(tree: Any, tmp_path: Path):
    path, outside = tmp_path / "wt", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    outside.chmod(0o750)
    await add_worktree(tree.path, path, branch="one", base="main")
    (path / "link").symlink_to(outside)
    await remove_worktree(tree.path, path, force=True)
    assert (outside / "precious").exists()
    assert outside.stat().st_mode & 0o777 == 0o750


async def can_lock(tree: Any, *, wait: float) -> bool:
    try:
        async with repository_lock(tree.path, wait=wait):
            return True
    except RepositoryBusy:
        return False


async def test_whoever_waits_too_long_for_the_lock_is_told(tree: Any):
    async with repository_lock(tree.path):
        assert not await can_lock(tree, wait=0.05)
        async with repository_lock(tree.path, purpose="other", wait=0.05):
            pass


async def test_the_lock_of_a_killed_process_is_free(tree: Any, tmp_path: Path):
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    body = f"""
import anyio, pathlib
from bullpen.git import repository_lock
async def main():
    async with repository_lock(pathlib.Path({str(tree.path)!r})):
        pathlib.Path({str(ready)!r}).write_text("x")
        await anyio.sleep(60)
anyio.run(main)
"""
    async with await anyio.open_process([sys.executable, "-c", body]) as holder:
        with anyio.fail_after(20):
            await anyio.Path(ready).read_bytes()
            assert not await can_lock(tree, wait=0.05)
            holder.kill()
            await holder.wait()
            assert await can_lock(tree, wait=5)
