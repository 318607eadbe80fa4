import os
from pathlib import Path
from typing import Any

import pytest

from bullpen.errors import CommandFailed, RefUnknown
from bullpen.git import (
    Changes,
    Numbers,
    add_worktree,
    diff,
    ignored_files,
    numbers,
    printable,
    status,
    untracked_matching,
)


def make_every_kind_of_change(tree: Any) -> None:
    """Committed, staged, unstaged, untracked, deleted, renamed, mode, link, binary, ignored."""
    for name in ("gone.txt", "old name.txt", "mode.sh", "both.txt", "unstaged-gone.txt"):
        tree.write(name, f"{name}\nline\n")
    tree.commit("base")
    tree.git("tag", "base")
    tree.write("committed.txt", "1\n2\n3\n")
    tree.commit("work")
    tree.write("staged.txt", "staged\n")
    tree.write("both.txt", "staged version\n")
    tree.git("rm", "-q", "gone.txt")
    tree.git("mv", "old name.txt", "new\nname.txt")
    tree.git("add", "staged.txt", "both.txt")
    tree.write("both.txt", "later version\nof it\n")
    tree.write("a.txt", "one\n")
    (tree.path / "unstaged-gone.txt").unlink()
    (tree.path / "mode.sh").chmod(0o755)
    tree.write("-untracked ünï.txt", "no newline")
    tree.write("dir/inner.bin", b"\0\1\2" * 100)
    (tree.path / "link").symlink_to("a.txt")
    (tree.path / "dangling").symlink_to("/nowhere/at/all")
    tree.write("noise.log", "ignored")


async def test_each_kind_of_change_is_told(tree: Any):
    assert await status(tree.path) == Changes()
    make_every_kind_of_change(tree)
    assert await status(tree.path / "src") == Changes(
        staged=("both.txt", "gone.txt", "new\nname.txt", "old name.txt", "staged.txt"),
        unstaged=("a.txt", "both.txt", "mode.sh", "unstaged-gone.txt"),
        untracked=("-untracked ünï.txt", "dangling", "dir/inner.bin", "link"),
    )


async def test_conflicted_files_are_told_apart(tree: Any):
    tree.git("checkout", "-q", "-b", "side")
    tree.write("a.txt", "theirs\n")
    tree.commit()
    tree.git("checkout", "-q", "main")
    tree.write("a.txt", "ours\n")
    tree.commit()
    with pytest.raises(Exception, match="exit status"):
        tree.git("merge", "side")
    assert await status(tree.path) == Changes(conflicted=("a.txt",))


async def test_settings_that_hide_or_colour_do_not_change_what_is_told(tree: Any):
    make_every_kind_of_change(tree)
    before = [
        await status(tree.path),
        await numbers(tree.path, "base"),
        await diff(tree.path, "base"),
    ]
    for key, value in (
        ("status.showUntrackedFiles", "no"),
        ("status.renames", "copies"),
        ("status.relativePaths", "false"),
        ("status.submoduleSummary", "true"),
        ("color.ui", "always"),
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.external", "false"),
        ("diff.orderFile", "/nowhere"),
        ("diff.renames", "false"),
        ("diff.context", "0"),
        ("diff.relative", "true"),
        ("diff.ignoreSubmodules", "all"),
        ("core.quotePath", "true"),
        ("core.pager", "false"),
        ("core.safecrlf", "true"),
        ("core.untrackedCache", "true"),
    ):
        tree.git("config", key, value)
    where = tree.path / "src"
    assert [await status(where), await numbers(where, "base"), await diff(where, "base")] == before


async def test_numbers_count_committed_uncommitted_and_untracked_work(tree: Any):
    make_every_kind_of_change(tree)
    assert await numbers(tree.path, "base") == Numbers(files=13, insertions=11, deletions=9)


async def test_numbers_and_diff_leave_out_what_others_did_to_the_base(tree: Any, tmp_path: Path):
    path = tmp_path / "wt"
    await add_worktree(tree.path, path, branch="side", base="main")
    tree.write("others.txt", "x\n" * 50)
    tree.commit()
    (path / "mine.txt").write_text("mine\n")
    assert await numbers(path, "main") == Numbers(files=1, insertions=1, deletions=0)
    patch = await diff(path, "main")
    assert b"mine.txt" in patch
    assert b"others.txt" not in patch


async def test_a_large_or_binary_untracked_file_counts_without_lines(tree: Any):
    tree.write("large", b"\n" * 5_000_000)
    tree.write("binary", b"\0\n\n")
    tree.write("empty", b"")
    assert await numbers(tree.path, "HEAD") == Numbers(files=3, insertions=0, deletions=0)


@pytest.mark.parametrize("base", ["missing", "", "-x", "a\nb"])
async def test_a_base_that_is_unknown_is_told(tree: Any, base: str):
    with pytest.raises(RefUnknown):
        await numbers(tree.path, base)
    with pytest.raises(RefUnknown):
        await diff(tree.path, base)


async def test_asking_changes_neither_index_nor_objects(tree: Any):
    make_every_kind_of_change(tree)

    def state() -> tuple[list[Path], bytes, int]:
        index = tree.path / ".git" / "index"
        files = sorted((tree.path / ".git").rglob("*"))
        return files, index.read_bytes(), index.stat().st_mtime_ns

    before = state()
    await status(tree.path)
    await numbers(tree.path, "base")
    await diff(tree.path, "base")
    assert state() == before


async def test_asking_works_while_the_index_is_locked(tree: Any):
    make_every_kind_of_change(tree)
    tree.write(".git/index.lock", "")
    await status(tree.path)
    await numbers(tree.path, "base")
    assert b"staged.txt" in await diff(tree.path, "base")


async def test_the_diff_applied_to_the_base_gives_the_same_files(tree: Any, tmp_path: Path):
    make_every_kind_of_change(tree)
    patch = await diff(tree.path, "base")
    await add_worktree(tree.path, tmp_path / "wt", branch="copy", base="base")
    copy = type(tree)(tmp_path / "wt")
    copy.git("apply", "--index", "-", stdin=patch)
    for name in ("new\nname.txt", "both.txt", "-untracked ünï.txt", "dir/inner.bin", "a.txt"):
        assert (copy.path / name).read_bytes() == (tree.path / name).read_bytes()
    assert (copy.path / "dangling").readlink() == Path("/nowhere/at/all")
    assert os.access(copy.path / "mode.sh", os.X_OK)
    for name in ("gone.txt", "old name.txt", "unstaged-gone.txt", "noise.log"):
        assert not (copy.path / name).exists()


async def test_a_diff_is_made_in_a_repository_whose_path_needs_quoting(make_tree: Any):
    tree = make_tree('a:b"c\\d\ne')
    tree.write("a", "1\n")
    tree.commit()
    tree.write("a", "2\n")
    assert b"-1\n+2\n" in await diff(tree.path, "HEAD")


async def test_a_change_too_soon_for_file_times_is_seen(tree: Any):
    tree.git("config", "core.trustctime", "false")
    moment = (10**18, 10**18)
    os.utime(tree.write("a.txt", "0001\n"), ns=moment)
    tree.git("add", "a.txt")
    os.utime(tree.path / ".git" / "index", ns=moment)
    os.utime(tree.write("a.txt", "0002\n"), ns=moment)
    assert b"+0002\n" in await diff(tree.path, "HEAD")
    assert (await status(tree.path)).unstaged == ("a.txt",)


async def test_outside_of_a_repository_nothing_is_told(tmp_path: Path):
    with pytest.raises(CommandFailed):
        await status(tmp_path)


async def test_ignored_files_are_listed_and_whole_folders_once(tree: Any):
    tree.write("node_modules/x/index.js", "x")
    tree.write("src/debug.log", "x")
    tree.write("logs/one.log", "x")
    tree.write("logs/deep/two.log", "x")
    tree.write("untracked.txt", "x")
    assert await ignored_files(tree.path / "src") == [
        "logs/deep/two.log",
        "logs/one.log",
        "node_modules/",
        "src/debug.log",
    ]


async def test_patterns_choose_among_untracked_files_as_gitignore_would(tree: Any):
    for name in (".env", "src/.env", "build/a", "build/b", "-dash", "new\nline", "keep.txt"):
        tree.write(name, "x")
    assert await untracked_matching(tree.path, []) == []
    assert await untracked_matching(tree.path, [".env"]) == [".env", "src/.env"]
    assert await untracked_matching(tree.path, ["/.env", "build/*", "!build/b"]) == [
        ".env",
        "build/a",
    ]
    assert await untracked_matching(tree.path, ["build/"]) == ["build/"]
    assert await untracked_matching(tree.path, ["-d*", "new*"]) == ["-dash", "new\nline"]
    assert await untracked_matching(tree.path, ["a.txt"]) == []


def test_a_path_that_is_not_utf8_can_be_shown():
    assert printable(os.fsdecode(b"a\xffb")) == "a\\xffb"
    assert printable("ünï") == "ünï"
