import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bullpen.errors import CommandFailed, OperationUnfinished
from bullpen.git import (
    Signature,
    add_worktree,
    commit_all,
    delete_branch,
    remove_worktree,
    rescues,
    save_rescue,
    status,
)


@pytest.fixture
async def work(tree: Any, tmp_path: Path) -> Any:
    """A worktree of a session, on branch `bullpen/one`."""
    await add_worktree(tree.path, tmp_path / "wt", branch="bullpen/one", base="main")
    return type(tree)(tmp_path / "wt")


def files_of(tree: Any, commit: str) -> dict[str, tuple[str, bytes]]:
    """Every file of a commit with its mode and content, read by a checkout of its own."""
    lines = tree.git("ls-tree", "-r", "-z", commit).split("\0")
    found: dict[str, tuple[str, bytes]] = {}
    for line in filter(None, lines):
        facts, name = line.split("\t", 1)
        mode, _, oid = facts.split(" ")
        found[name] = (mode, tree.bytes_of("cat-file", "blob", oid))
    return found


def files_on_disk(root: Path) -> dict[str, tuple[str, bytes]]:
    found: dict[str, tuple[str, bytes]] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in {".git", "node_modules"}]
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in files + links:
            path = Path(folder) / name
            if name == ".git" or name.endswith(".log"):
                continue
            key = str(path.relative_to(root))
            if path.is_symlink():
                found[key] = ("120000", os.fsencode(path.readlink()))
            else:
                mode = (
                    "100755"
                    if os.access(path, os.X_OK) and path.stat().st_mode & 0o100
                    else "100644"
                )
                found[key] = (mode, path.read_bytes())
    return found


NAMES = ["a.txt", "src/b.py", "src", "-n", "new\nline", "ü ☃", "deep/er/file", "x"]
STEP = st.tuples(
    st.sampled_from(
        [
            "write",
            "binary",
            "delete",
            "rename",
            "link",
            "chmod",
            "stage",
            "unstage",
            "commit",
            "ignored",
        ]
    ),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
)


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


def make_room(root: Path, name: str) -> Path:
    for parent in reversed((root / name).relative_to(root).parents):
        if parent != Path() and not ((root / parent).is_dir() and not (root / parent).is_symlink()):
            clear(root / parent)
    clear(root / name)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    return root / name


def rename(root: Path, name: str, other: str) -> None:
    if (root / name).is_file() and not (root / name).is_symlink():
        content = (root / name).read_bytes()
        clear(root / name)
        make_room(root, other).write_bytes(content)


def turn_executable(path: Path) -> None:
    if path.is_file() and not path.is_symlink():
        path.chmod(path.stat().st_mode ^ 0o111)


def perform(tree: Any, step: tuple[str, str, str], number: int) -> None:
    kind, name, other = step
    root = tree.path
    actions: dict[str, Callable[[], object]] = {
        "write": lambda: make_room(root, name).write_text(f"text {number}\n"),
        "binary": lambda: make_room(root, name).write_bytes(bytes(range(256)) * (number + 1)),
        "link": lambda: make_room(root, name).symlink_to(other),
        "delete": lambda: clear(root / name),
        "rename": lambda: rename(root, name, other),
        "chmod": lambda: turn_executable(root / name),
        "ignored": lambda: (root / f"{number}.log").write_text("ignored"),
        "stage": lambda: tree.git("add", "--all"),
        "unstage": lambda: tree.git("reset", "-q"),
        "commit": lambda: tree.git("commit", "-qm", "x", "--allow-empty"),
    }
    actions[kind]()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(steps=[("link", "src", "src")])
@given(steps=st.lists(STEP, max_size=12))
def test_a_rescue_holds_exactly_what_the_worktree_held(
    tree: Any, tmp_path: Path, steps: list[tuple[str, str, str]]
):
    # One example that fails must not stand in the way of the next.
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    anyio.run(rescued_exactly, tree, root, steps)


async def rescued_exactly(tree: Any, root: Path, steps: list[tuple[str, str, str]]) -> None:
    await add_worktree(tree.path, root, branch=root.name, base="main")
    for number, step in enumerate(steps):
        perform(type(tree)(root), step, number)
    expected = files_on_disk(root)
    before = await status(root)
    tip = tree.git("rev-parse", root.name)
    ref = await save_rescue(tree.path, root, f"one-{root.name}", branch=root.name)
    assert (await status(root), tree.git("rev-parse", root.name)) == (before, tip)
    await remove_worktree(tree.path, root, force=True)
    await delete_branch(tree.path, root.name, expected=tip)
    if ref is None:
        assert expected == files_of(tree, "main")
        assert tip == tree.git("rev-parse", "main")
    else:
        assert expected == files_of(tree, ref)
        assert tree.git("merge-base", tip, ref) == tip
        tree.git("update-ref", "-d", ref)


async def test_a_worktree_without_work_needs_no_rescue(tree: Any, work: Any):
    assert await save_rescue(tree.path, work.path, "one", branch="bullpen/one") is None
    assert await rescues(tree.path) == {}


async def test_merged_work_needs_no_rescue_and_unmerged_work_does(tree: Any, work: Any):
    work.write("new", "x")
    tip = work.commit()
    assert await save_rescue(tree.path, work.path, "one") == "refs/bullpen/rescue/one"
    assert await rescues(tree.path) == {"refs/bullpen/rescue/one": tip}
    tree.git("update-ref", "-d", "refs/bullpen/rescue/one")
    tree.git("merge", "-q", "--no-ff", "-m", "land", "bullpen/one")
    assert await save_rescue(tree.path, work.path, "one") is None


async def test_the_same_work_is_kept_once_and_other_work_beside_it(tree: Any, work: Any):
    work.write("new", "staged")
    work.git("add", "new")
    work.write("new", "on disk")
    first = await save_rescue(tree.path, work.path, "one")
    assert await save_rescue(tree.path, work.path, "one") == first == "refs/bullpen/rescue/one"
    work.write("new", "changed")
    assert await save_rescue(tree.path, work.path, "one") == "refs/bullpen/rescue/one.2"
    assert await save_rescue(tree.path, work.path, "one-two") == "refs/bullpen/rescue/one-two"
    assert tree.git("show", "refs/bullpen/rescue/one:new") == "on disk"
    assert tree.git("show", "refs/bullpen/rescue/one.2:new") == "changed"


async def test_what_was_staged_and_then_changed_or_deleted_is_kept_too(tree: Any, work: Any):
    work.write("new", "staged")
    work.git("add", "new")
    (work.path / "new").unlink()
    ref = await save_rescue(tree.path, work.path, "one")
    assert ref is not None
    assert tree.git("show", f"{ref}^2:new") == "staged"
    assert "new" not in files_of(tree, ref)


async def test_a_detached_or_rebasing_worktree_loses_neither_head_nor_branch(tree: Any, work: Any):
    work.write("on-branch", "x")
    tip = work.commit()
    work.git("checkout", "-q", "--detach", "main")
    work.write("loose", "x")
    loose = work.commit()
    ref = await save_rescue(tree.path, work.path, "one", branch="bullpen/one")
    assert tree.git("log", "-1", "--format=%P", str(ref)).split() == [loose, tip]


async def test_a_conflicted_worktree_is_kept_as_it_is_on_disk(tree: Any, work: Any):
    tree.write("a.txt", "theirs\n")
    tree.commit()
    work.write("a.txt", "ours\n")
    work.commit()
    with pytest.raises(Exception, match="exit status"):
        work.git("merge", "main")
    ref = await save_rescue(tree.path, work.path, "one")
    assert "<<<<<<<" in tree.git("show", f"{ref}:a.txt")
    assert (await status(work.path)).conflicted == ("a.txt",)


async def test_a_repository_inside_of_the_worktree_is_kept_with_its_files(tree: Any, work: Any):
    inner = type(tree)(work.path / "in ner")
    work.git("init", "-q", "in ner")
    inner.write("file", "inner")
    inner.write(".gitignore", "*.log")
    inner.commit()
    for name in ("in ner/deeper", "empty"):
        work.git("init", "-q", name)
    inner.write("deeper/-x", "deeper")
    inner.write("noise.log", "ignored")
    ref = await save_rescue(tree.path, work.path, "one")
    assert ref is not None
    kept = files_of(tree, ref)
    assert kept["in ner/file"] == ("100644", b"inner")
    assert kept["in ner/deeper/-x"] == ("100644", b"deeper")
    assert "in ner/noise.log" not in kept


async def test_a_filled_submodule_is_kept_with_its_uncommitted_files(
    tree: Any, make_tree: Any, tmp_path: Path
):
    library = make_tree("library")
    library.write("lib.py", "1")
    library.commit()
    allow = ("-c", "protocol.file.allow=always")
    tree.git(*allow, "submodule", "--quiet", "add", str(library.path), "lib")
    tree.commit()
    await add_worktree(tree.path, tmp_path / "wt", branch="one", base="main")
    work = type(tree)(tmp_path / "wt")
    work.git(*allow, "submodule", "--quiet", "update", "--init")
    work.write("lib/lib.py", "2")
    ref = await save_rescue(tree.path, work.path, "one")
    assert tree.git("show", f"{ref}:lib/lib.py") == "2"
    await remove_worktree(tree.path, work.path, force=True)
    assert not work.path.exists()


async def test_a_worktree_that_was_never_filled_needs_no_rescue(tree: Any, tmp_path: Path):
    path = tmp_path / "half"
    tree.git("worktree", "add", "-q", "--no-checkout", "-b", "half", str(path))
    assert await save_rescue(tree.path, path, "one") is None
    (path / "mine").write_text("mine")
    ref = await save_rescue(tree.path, path, "one")
    assert tree.git("diff", "--name-status", "main", str(ref)) == "A\tmine"


async def test_of_a_worktree_that_is_gone_the_branch_is_kept(tree: Any, work: Any):
    work.write("new", "x")
    tip = work.commit()
    shutil.rmtree(work.path)
    assert await save_rescue(tree.path, work.path, "one") is None
    ref = await save_rescue(tree.path, work.path, "one", branch="bullpen/one")
    assert tree.git("rev-parse", str(ref)) == tip
    assert await save_rescue(tree.path, work.path, "one", branch="missing") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
async def test_what_cannot_be_read_stops_the_rescue(tree: Any, work: Any):
    work.write("secret", "x").chmod(0)
    with pytest.raises(CommandFailed):
        await save_rescue(tree.path, work.path, "one")
    assert await rescues(tree.path) == {}


async def test_all_that_changed_is_committed_by_the_user(tree: Any, work: Any):
    before = work.git("rev-parse", "HEAD")
    assert await commit_all(work.path, "nothing") is None
    work.write("-new ü\n.txt", "x")
    work.write("noise.log", "x")
    (work.path / "a.txt").unlink()
    message = "subject\n\n# not a comment\nü ☃"
    commit = await commit_all(work.path / "src", message)
    assert commit == work.git("rev-parse", "bullpen/one")
    assert work.git("log", "-1", "--format=%an <%ae> %P") == f"Ann <ann@example.org> {before}"
    assert work.git("log", "-1", "--format=%B").rstrip("\n") == message
    assert work.git("status", "--porcelain") == ""
    assert "noise.log" not in files_of(work, "HEAD")
    assert await commit_all(work.path, "again") is None


async def test_a_user_without_a_name_gets_the_fallback(tree: Any, work: Any, home: Path):
    (home / "gitconfig").write_text("[user]\n\temail = only@example.org\n")
    work.write("new", "x")
    await commit_all(work.path, "x", fallback=Signature("Bot", "bot@example.org"))
    assert work.git("log", "-1", "--format=%an <%ae>, %cn") == "Bot <bot@example.org>, Bot"


async def test_hooks_signing_and_templates_of_the_user_do_not_stop_a_commit(
    tree: Any, work: Any, tmp_path: Path
):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "prepare-commit-msg", "post-commit"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\nexit 1\n")
        (hooks / name).chmod(0o755)
    for key, value in (
        ("core.hooksPath", str(hooks)),
        ("commit.gpgSign", "true"),
        ("gpg.program", "false"),
        ("commit.template", "/nowhere"),
        ("commit.verbose", "true"),
        ("core.editor", "false"),
        ("core.autocrlf", "true"),
        ("core.safecrlf", "true"),
    ):
        tree.git("config", key, value)
    work.write("crlf.txt", "a\r\nb\n")
    assert await commit_all(work.path, "x") is not None
    assert not (tmp_path / "ran").exists()


async def test_a_repository_inside_of_the_worktree_is_left_out_of_a_commit(tree: Any, work: Any):
    for name in ("empty", "born"):
        work.git("init", "-q", name)
    type(tree)(work.path / "born").commit()
    assert await commit_all(work.path, "x") is None
    work.write("own", "x")
    commit = await commit_all(work.path, "x")
    assert set(files_of(work, str(commit))) == {".gitignore", "a.txt", "src/b.py", "own"}


async def test_open_conflicts_are_never_committed(tree: Any, work: Any):
    tree.write("a.txt", "theirs\n")
    tree.commit()
    work.write("a.txt", "ours\n")
    before = work.commit()
    with pytest.raises(Exception, match="exit status"):
        work.git("merge", "main")
    with pytest.raises(OperationUnfinished):
        await commit_all(work.path, "x")
    assert work.git("rev-parse", "HEAD") == before
    work.write("a.txt", "solved\n")
    work.git("add", "a.txt")
    commit = await commit_all(work.path, "x")
    assert work.git("log", "-1", "--format=%P", str(commit)).split() == [
        before,
        tree.git("rev-parse", "main"),
    ]


async def test_nothing_is_committed_in_the_middle_of_a_rebase(tree: Any, work: Any):
    tree.write("a.txt", "theirs\n")
    tree.commit()
    work.write("a.txt", "ours\n")
    work.commit()
    with pytest.raises(Exception, match="exit status"):
        work.git("rebase", "main")
    work.write("a.txt", "solved\n")
    work.git("add", "a.txt")
    with pytest.raises(OperationUnfinished) as caught:
        await commit_all(work.path, "x")
    assert caught.value.operation == "rebase"


async def test_a_commit_waits_for_another_git_command(tree: Any, work: Any):
    work.write("new", "x")
    lock = Path(work.git("rev-parse", "--absolute-git-dir")) / "index.lock"
    lock.touch()
    done: list[str | None] = []

    async def commit() -> None:
        done.append(await commit_all(work.path, "x"))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(commit)
            await anyio.wait_all_tasks_blocked()
            lock.unlink()
    assert done == [work.git("rev-parse", "HEAD")]


async def test_the_first_commit_of_a_repository_can_be_made(make_tree: Any):
    tree = make_tree("empty")
    assert await commit_all(tree.path, "x") is None
    tree.write("a", "x")
    assert await commit_all(tree.path, "x") == tree.git("rev-parse", "HEAD")
