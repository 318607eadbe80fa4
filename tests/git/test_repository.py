from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bullpen.errors import (
    BranchBusy,
    BranchInvalid,
    BranchMoved,
    BranchTaken,
    CommandFailed,
    NotARepository,
    RefUnknown,
)
from bullpen.git import (
    branch_exists,
    branches_in_use,
    create_branch,
    delete_branch,
    head_branch,
    move_branch,
    operation_under_way,
    repository_of,
    resolve,
    unmerged_commits,
    version,
    worktrees,
)


async def test_the_version_is_numbers_that_compare():
    assert await version() >= (2, 38)


async def test_a_repository_is_found_from_a_folder_inside_of_it(tree: Any):
    found = await repository_of(tree.path / "src")
    assert found.root == tree.path
    assert found.common_dir == tree.path / ".git"
    assert found.head_branch == "main"
    assert found.head_commit == tree.git("rev-parse", "HEAD")
    assert not found.is_bare


async def test_a_linked_worktree_has_its_own_root_and_the_common_folder(tree: Any, tmp_path: Path):
    tree.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    found = await repository_of(tmp_path / "side")
    assert (found.root, found.common_dir) == (tmp_path / "side", tree.path / ".git")
    assert found.head_branch == "side"


@pytest.mark.parametrize(
    "name", ["with space", "new\nline", "ünïcode-☃", "-dash", "a'b\"c$(d)", "a:b"]
)
async def test_a_repository_may_have_any_name(make_tree: Callable[[str], Any], name: str):
    tree = make_tree(name)
    commit = tree.commit()
    found = await repository_of(tree.path)
    assert (found.root, found.common_dir) == (tree.path, tree.path / ".git")
    assert found.head_commit == commit


async def test_a_bare_repository_is_its_own_root(tree: Any, tmp_path: Path):
    bare = tmp_path / "bare.git"
    tree.git("clone", "-q", "--bare", ".", str(bare))
    found = await repository_of(bare)
    assert (found.root, found.is_bare, found.head_branch) == (bare, True, "main")


async def test_an_unborn_branch_has_a_name_and_no_commit(make_tree: Callable[[str], Any]):
    found = await repository_of(make_tree("empty").path)
    assert (found.head_branch, found.head_commit) == ("main", None)


async def test_a_detached_head_has_a_commit_and_no_branch(tree: Any):
    tree.git("checkout", "-q", "--detach")
    found = await repository_of(tree.path)
    assert (found.head_branch, found.head_commit) == (None, tree.git("rev-parse", "HEAD"))


async def test_what_is_no_working_tree_is_told_apart(tree: Any, tmp_path: Path):
    for path in (tmp_path / "home", tmp_path / "missing", tree.path / "a.txt", tree.path / ".git"):
        with pytest.raises(NotARepository):
            await repository_of(path)


async def test_a_damaged_repository_is_not_called_a_missing_one(tree: Any):
    tree.write(".git/config", "[core\n")
    with pytest.raises(CommandFailed) as caught:
        await repository_of(tree.path)
    assert "config" in caught.value.hint


async def test_variables_of_a_surrounding_git_hook_do_not_lead_us_astray(
    tree: Any, make_tree: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
):
    other = make_tree("other")
    monkeypatch.setenv("GIT_DIR", str(other.path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.path))
    monkeypatch.setenv("GIT_INDEX_FILE", "elsewhere")
    found = await repository_of(tree.path)
    assert (found.root, found.common_dir) == (tree.path, tree.path / ".git")


async def test_a_ref_is_resolved_to_the_commit_behind_it(tree: Any):
    head = tree.git("rev-parse", "HEAD")
    tree.git("tag", "-a", "v1", "-m", "annotated")
    for ref in ("main", "HEAD", "v1", head, head[:10], "refs/heads/main"):
        assert await resolve(tree.path, ref) == head


@pytest.mark.parametrize(
    "ref",
    [
        "missing",
        "",
        "--all",
        "-x",
        "^main",
        "main..main",
        "a\nb",
        "a\0b",
        "HEAD:a.txt",
        "HEAD^{tree}",
    ],
)
async def test_what_names_no_commit_is_refused(tree: Any, ref: str):
    with pytest.raises(RefUnknown):
        await resolve(tree.path, ref)


async def test_a_branch_is_made_once(tree: Any):
    head = tree.git("rev-parse", "HEAD")
    await create_branch(tree.path, "x/y", head)
    assert await branch_exists(tree.path, "x/y")
    for taken, named in (("x/y", "x/y"), ("x", "x/y"), ("x/y/z", "x/y")):
        with pytest.raises(BranchTaken) as caught:
            await create_branch(tree.path, taken, head)
        assert caught.value.branch == named


@pytest.mark.parametrize(
    "name", ["", "-b", "a b", "a..b", "a.lock", "x//y", "/x", "HEAD", "@{-1}", "a\nb", "ü~", "a\0b"]
)
async def test_a_name_git_would_not_take_is_refused(tree: Any, name: str):
    with pytest.raises(BranchInvalid):
        await create_branch(tree.path, name, tree.git("rev-parse", "HEAD"))
    assert tree.refs() == ["refs/heads/main"]


async def test_a_tag_is_not_taken_for_a_branch(tree: Any):
    tree.git("tag", "v1")
    assert not await branch_exists(tree.path, "v1")


async def test_a_branch_moves_only_from_where_it_was_seen(tree: Any):
    first = tree.git("rev-parse", "HEAD")
    tree.git("branch", "side")
    second, third = tree.commit(), tree.commit()
    await move_branch(tree.path, "side", new=second, old=first)
    with pytest.raises(BranchMoved):
        await move_branch(tree.path, "side", new=third, old=first)
    assert tree.git("rev-parse", "side") == second


async def test_a_branch_is_deleted_only_where_it_was_seen(tree: Any):
    first = tree.git("rev-parse", "HEAD")
    tree.git("branch", "side")
    tree.git("config", "branch.side.remote", "origin")
    with pytest.raises(BranchMoved):
        await delete_branch(tree.path, "side", expected=tree.commit())
    await delete_branch(tree.path, "side", expected=first)
    await delete_branch(tree.path, "side", expected=first)
    assert not await branch_exists(tree.path, "side")
    assert "branch.side" not in tree.git("config", "--list")


async def test_a_branch_that_somebody_is_on_is_not_deleted(tree: Any):
    with pytest.raises(BranchBusy) as caught:
        await delete_branch(tree.path, "main", expected=tree.git("rev-parse", "HEAD"))
    assert caught.value.worktree == tree.path


async def test_worktrees_are_listed_with_their_state(tree: Any, tmp_path: Path):
    head = tree.git("rev-parse", "HEAD")
    odd = tmp_path / "odd\nname"
    tree.git("worktree", "add", "-q", "-b", "odd", str(odd))
    tree.git("worktree", "add", "-q", "--detach", str(tmp_path / "loose"))
    tree.git("worktree", "lock", str(tmp_path / "loose"))
    tree.git("worktree", "add", "-q", "-b", "gone", str(tmp_path / "gone"))
    (tmp_path / "gone" / ".git").rename(tmp_path / "elsewhere")
    main, *rest = await worktrees(tree.path)
    assert (main.path, main.branch, main.commit) == (tree.path, "main", head)
    found = {entry.path: entry for entry in rest}
    assert found[odd].branch == "odd"
    assert found[tmp_path / "loose"].branch is None
    assert found[tmp_path / "loose"].is_locked
    assert found[tmp_path / "gone"].is_missing
    assert await branches_in_use(odd) == {"main": tree.path, "odd": odd}


def begin_conflict(tree: Any) -> None:
    tree.git("checkout", "-q", "-b", "side")
    tree.write("a.txt", "theirs\n")
    tree.commit()
    tree.git("checkout", "-q", "main")
    tree.write("a.txt", "ours\n")
    tree.commit()


async def test_an_operation_under_way_has_a_name(tree: Any):
    assert await operation_under_way(tree.path) is None
    begin_conflict(tree)
    for operation, argument in (("merge", "side"), ("rebase", "side"), ("cherry-pick", "side")):
        with pytest.raises(Exception, match="exit status"):
            tree.git(operation, argument)
        assert await operation_under_way(tree.path) == operation
        if operation == "rebase":
            assert await head_branch(tree.path) is None
            assert await branches_in_use(tree.path) == {"main": tree.path}
        tree.git(operation, "--abort")
    assert await operation_under_way(tree.path) is None


async def test_merged_rebased_and_squashed_branches_have_nothing_unmerged(tree: Any):
    for name in ("plain", "picked", "squashed", "open"):
        tree.git("checkout", "-q", "-b", name, "main")
        for step in ("1", "2"):
            tree.write(f"{name}{step}", step)
            tree.commit(f"{name}{step}")
        tree.git("checkout", "-q", "main")
    tree.git("merge", "-q", "--no-ff", "-m", "merge", "plain")
    tree.git("cherry-pick", "picked~1", "picked")
    tree.git("merge", "-q", "--squash", "squashed")
    tree.commit("squashed")
    tree.write("later", "more on top")
    tree.commit("later")
    left = {
        name: await unmerged_commits(tree.path, name, into="main")
        for name in ("plain", "picked", "squashed", "open")
    }
    assert left == {"plain": 0, "picked": 0, "squashed": 0, "open": 2}


async def test_work_that_was_merged_by_half_or_taken_back_counts_as_unmerged(tree: Any):
    tree.git("checkout", "-q", "-b", "half")
    tree.write("one", "1")
    tree.commit("one")
    tree.write("two", "2")
    tree.commit("two")
    tree.git("checkout", "-q", "main")
    tree.git("cherry-pick", "half~1")
    assert await unmerged_commits(tree.path, "half", into="main") == 1
    tree.git("merge", "-q", "--squash", "half")
    tree.commit("squashed")
    tree.git("revert", "--no-edit", "HEAD")
    assert await unmerged_commits(tree.path, "half", into="main") > 0


async def test_a_branch_that_shares_no_history_is_unmerged(tree: Any):
    tree.git("checkout", "-q", "--orphan", "alone")
    tree.commit("alone")
    assert await unmerged_commits(tree.path, "alone", into="main") == 1
