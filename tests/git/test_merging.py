from typing import Any

import pytest

from bullpen.errors import CheckoutDirty, CommandFailed, CommitUnreachable
from bullpen.git import (
    Conflicted,
    Merged,
    Signature,
    commit_tree,
    fast_forward,
    files_changed,
    merge_tree,
    tree_of,
)


def fork(tree: Any, name: str, content: str) -> str:
    """A commit on branch `side` and another on `main`; returns the one on `side`."""
    tree.git("checkout", "-q", "-b", "side")
    tree.write(name, content)
    commit = tree.commit()
    tree.git("checkout", "-q", "main")
    return commit


async def test_a_clean_merge_is_a_tree_with_both_sides(tree: Any):
    theirs = fork(tree, "new\nfile", "x")
    tree.write("mine", "x")
    ours = tree.commit()
    before = tree.refs()
    merged = await merge_tree(tree.path, ours, theirs)
    assert isinstance(merged, Merged)
    names = set(tree.git("ls-tree", "-r", "-z", "--name-only", merged.tree).split("\0"))
    assert {"new\nfile", "mine"} < names
    assert (tree.refs(), tree.git("status", "--porcelain")) == (before, "")


async def test_conflicts_are_named_once_and_in_order(tree: Any):
    names = ["z", "a.txt", "new\nline", "-d", "ü"]
    for name in names:
        tree.write(name, "base\n")
    tree.commit()
    theirs = fork(tree, "only-theirs", "x")
    tree.git("checkout", "-q", "side")
    for name in names:
        tree.write(name, "theirs\n")
    theirs = tree.commit()
    tree.git("checkout", "-q", "main")
    for name in names:
        tree.write(name, "ours\n")
    (tree.path / "z").unlink()
    ours = tree.commit()
    assert await merge_tree(tree.path, ours, theirs) == Conflicted(tuple(sorted(names)))


async def test_histories_that_share_nothing_are_not_merged(tree: Any):
    ours = tree.git("rev-parse", "HEAD")
    tree.git("checkout", "-q", "--orphan", "alone")
    theirs = tree.commit()
    with pytest.raises(CommandFailed):
        await merge_tree(tree.path, ours, theirs)


async def test_a_commit_is_made_with_its_parents_and_its_message_as_given(
    tree: Any, monkeypatch: pytest.MonkeyPatch
):
    head = tree.git("rev-parse", "HEAD")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "From Environment")
    side = fork(tree, "x", "x")
    message = "# subject\n\n  indented ü\n"
    tip = await tree_of(tree.path, head)
    commit = await commit_tree(tree.path, tip, parents=[head, side], message=message)
    assert tree.git("log", "-1", "--format=%P", commit) == f"{head} {side}"
    assert tree.git("log", "-1", "--format=%an", commit) == "From Environment"
    assert tree.git("cat-file", "commit", commit).split("\n\n", 1)[1] == message.rstrip("\n")
    assert tree.git("rev-parse", "HEAD") == head


async def test_a_commit_without_message_or_user_can_be_made(tree: Any, home: Any):
    (home / "gitconfig").unlink()
    top = await tree_of(tree.path, "HEAD")
    commit = await commit_tree(
        tree.path, top, parents=[], message="\n", fallback=Signature("Bot", "bot@x")
    )
    assert (
        tree.git("log", "-1", "--format=%an %ae %B", commit).split("\n")[0]
        == "Bot bot@x (no message)"
    )


async def test_a_checkout_is_moved_forward_with_its_files(tree: Any):
    side = fork(tree, "new", "x")
    await fast_forward(tree.path, side)
    assert tree.git("rev-parse", "main") == side
    assert (tree.path / "new").read_text() == "x"
    assert tree.git("status", "--porcelain") == ""


async def test_local_changes_elsewhere_stay_as_they_are(tree: Any):
    side = fork(tree, "new", "x")
    tree.write("a.txt", "staged\n")
    tree.git("add", "a.txt")
    tree.write("src/b.py", "unstaged\n")
    tree.write("untracked", "x")
    before = tree.git("status", "--porcelain")
    await fast_forward(tree.path, side)
    assert tree.git("status", "--porcelain") == before


@pytest.mark.parametrize("kind", ["unstaged", "staged", "untracked", "ignored", "folder"])
async def test_local_changes_in_the_way_stop_it_and_nothing_changes(tree: Any, kind: str):
    names = {"untracked": "new", "ignored": "secret.log", "folder": "new"}
    name = names.get(kind, "a.txt")
    tree.git("checkout", "-q", "-b", "side")
    tree.write(name, "theirs\n")
    tree.git("add", "--force", name)
    side = tree.commit()
    tree.git("checkout", "-q", "main")
    mine = tree.write("new/inner" if kind == "folder" else name, "mine\n")
    if kind == "staged":
        tree.git("add", name)
    before = (tree.git("status", "--porcelain"), tree.git("rev-parse", "main"))
    with pytest.raises(CheckoutDirty) as caught:
        await fast_forward(tree.path, side)
    assert mine.read_text() == "mine\n"
    assert (tree.git("status", "--porcelain"), tree.git("rev-parse", "main")) == before
    assert name in caught.value.why


async def test_a_checkout_that_went_on_cannot_be_moved(tree: Any):
    side = fork(tree, "new", "x")
    head = tree.commit()
    with pytest.raises(CommitUnreachable):
        await fast_forward(tree.path, side)
    assert tree.git("rev-parse", "main") == head


async def test_settings_and_hooks_of_the_user_do_not_change_a_move(tree: Any, tmp_path: Any):
    side = fork(tree, "new", "x")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "post-merge").write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
    (hooks / "post-merge").chmod(0o755)
    for key, value in (
        ("core.hooksPath", str(hooks)),
        ("merge.ff", "false"),
        ("merge.autoStash", "true"),
        ("merge.verifySignatures", "true"),
        ("branch.main.mergeOptions", "--squash --no-commit"),
        ("merge.stat", "true"),
    ):
        tree.git("config", key, value)
    await fast_forward(tree.path, side)
    assert tree.git("rev-parse", "main") == side
    assert not (tmp_path / "ran").exists()


async def test_changed_files_are_named_exactly(tree: Any):
    before = tree.git("rev-parse", "HEAD")
    tree.git("mv", "a.txt", "new\nname")
    after = tree.commit()
    assert await files_changed(tree.path, before, after) == ["a.txt", "new\nname"]
