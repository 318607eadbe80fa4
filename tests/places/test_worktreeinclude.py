import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from bullpen.git import add_worktree, ignored_files, status, untracked_matching
from bullpen.places import INCLUDE_FILE, Included, Section, Skipped, include, parse_include
from bullpen.places.worktreeinclude import Treatment, _Bringing, _performed, copy_file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A user's checkout in which much is ignored."""
    path = tmp_path / "repo"
    path.mkdir()
    write(path, ".gitignore", ".env*\nnode_modules/\n*.log\n/cache\n/.worktreeinclude\n")
    write(path, "src/a.py", "a")
    git(path, "init", "-q", "-b", "main")
    git(path, "add", "--all")
    git(path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    write(path, ".env", "secret")
    write(path, "src/.env.local", "local")
    write(path, "node_modules/pkg/index.js", "js")
    write(path, "node_modules/.bin/tool", "#!/bin/sh\n").chmod(0o755)
    write(path, "untracked.txt", "not ignored")
    return path


def git(path: Path, *args: str) -> None:
    subprocess.run(["git", *args], cwd=path, check=True, capture_output=True)


def write(root: Path, name: str, content: str) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


@pytest.fixture
async def worktree(checkout: Path, tmp_path: Path) -> Path:
    await add_worktree(checkout, tmp_path / "wt", branch="work", base="main")
    return tmp_path / "wt"


async def bring(checkout: Path, worktree: Path, *, default: Treatment = "copy") -> Included:
    return await include(
        checkout,
        worktree,
        ignored=await ignored_files(checkout),
        matching=partial(untracked_matching, checkout),
        default=default,
    )


def test_a_file_is_read_in_sections():
    text = "# any comment\n.env\r\n\n  #  LINK  \nnode_modules/\n# link these too\n!x \n"
    text += "#copy\n\\#a\\ \n# copy\n"
    assert parse_include(text) == (
        Section("copy", (".env",)),
        Section("link", ("node_modules/", "!x")),
        Section("copy", ("\\#a\\ ",)),
    )
    assert parse_include("a\n", default="link") == (Section("link", ("a",)),)
    assert parse_include("# link\n\n# nothing\n") == ()


async def test_without_the_file_nothing_comes_along(checkout: Path, worktree: Path):
    assert await bring(checkout, worktree) == Included()
    assert not (worktree / ".env").exists()


async def test_ignored_files_come_along_and_others_do_not(checkout: Path, worktree: Path):
    write(checkout, INCLUDE_FILE, ".env*\nuntracked.txt\nsrc/a.py\n*.log\n!.env.test\n")
    write(checkout, ".env.test", "not this one")
    assert await bring(checkout, worktree) == Included(copied=(".env", "src/.env.local"))
    assert (worktree / ".env").read_text() == "secret"
    assert (worktree / "src/.env.local").read_text() == "local"
    assert (await status(worktree)).is_clean


async def test_a_copied_folder_is_whole_and_independent(checkout: Path, worktree: Path):
    write(checkout, INCLUDE_FILE, "node_modules/\n")
    os.utime(checkout / "node_modules/pkg/index.js", ns=(10**18, 10**18))
    done = await bring(checkout, worktree)
    assert done.copied == ("node_modules/.bin/tool", "node_modules/pkg/index.js")
    assert os.access(worktree / "node_modules/.bin/tool", os.X_OK)
    assert (worktree / "node_modules/pkg/index.js").stat().st_mtime_ns == 10**18
    (worktree / "node_modules/pkg/index.js").write_text("changed")
    assert (checkout / "node_modules/pkg/index.js").read_text() == "js"


async def test_a_linked_folder_shows_the_users_files_and_is_still_ignored(
    checkout: Path, worktree: Path
):
    write(checkout, INCLUDE_FILE, "# link\nnode_modules/\n.env\n")
    done = await bring(checkout, worktree)
    assert done.linked == (".env", "node_modules/.bin", "node_modules/pkg")
    assert (worktree / "node_modules/pkg").readlink() == checkout / "node_modules/pkg"
    assert (worktree / ".env").read_text() == "secret"
    assert (await status(worktree)).is_clean


async def test_the_later_section_decides_for_what_both_match(checkout: Path, worktree: Path):
    write(checkout, INCLUDE_FILE, "node_modules/\n.env*\n# link\n.env\nnode_modules/pkg/\n")
    done = await bring(checkout, worktree)
    assert done.linked == (".env", "node_modules/pkg/index.js")
    assert done.copied == ("node_modules/.bin/tool", "src/.env.local")
    assert done.skipped == ()


async def test_a_default_of_linking_holds_until_the_first_directive(checkout: Path, worktree: Path):
    write(checkout, INCLUDE_FILE, ".env\n# copy\nsrc/.env.local\n")
    done = await bring(checkout, worktree, default="link")
    assert (done.linked, done.copied) == ((".env",), ("src/.env.local",))


async def test_what_exists_in_the_worktree_is_never_overwritten(checkout: Path, worktree: Path):
    write(checkout, INCLUDE_FILE, ".env\nnode_modules/\n")
    write(worktree, ".env", "mine")
    write(worktree, "node_modules/pkg/index.js", "mine")
    done = await bring(checkout, worktree)
    assert (worktree / ".env").read_text() == "mine"
    assert (worktree / "node_modules/pkg/index.js").read_text() == "mine"
    assert done.copied == ("node_modules/.bin/tool",)
    assert done.skipped == (
        Skipped(".env", "it exists in the worktree"),
        Skipped("node_modules/pkg/index.js", "it exists in the worktree"),
    )


async def test_links_stay_links_and_are_not_followed(
    checkout: Path, worktree: Path, tmp_path: Path
):
    write(tmp_path / "outside", "secret", "outside")
    write(checkout, INCLUDE_FILE, "node_modules/\ncache\n")
    (checkout / "node_modules/up").symlink_to(tmp_path / "outside")
    (checkout / "node_modules/dangling").symlink_to("nowhere")
    (checkout / "cache").symlink_to(tmp_path / "outside")
    await bring(checkout, worktree)
    assert (worktree / "node_modules/up").readlink() == tmp_path / "outside"
    assert (worktree / "node_modules/dangling").readlink() == Path("nowhere")
    assert (worktree / "cache").readlink() == tmp_path / "outside"


@pytest.mark.parametrize("kind", ["copy", "link"])
async def test_a_folder_that_is_a_link_in_the_worktree_is_not_entered(
    checkout: Path, worktree: Path, tmp_path: Path, kind: str
):
    write(checkout, INCLUDE_FILE, f"# {kind}\nnode_modules/\nsrc/.env.local\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    (worktree / "node_modules").symlink_to(outside)
    (worktree / "src/a.py").unlink()
    (worktree / "src").rmdir()
    (worktree / "src").symlink_to(outside)
    done = await bring(checkout, worktree)
    assert list(outside.iterdir()) == []
    why = "its folder is a link in the worktree"
    assert done.skipped == (Skipped("node_modules", why), Skipped("src/.env.local", why))


async def test_paths_that_lead_out_are_refused(checkout: Path, worktree: Path, tmp_path: Path):
    write(checkout, INCLUDE_FILE, "x\n")
    write(tmp_path, "precious", "x")
    names = ["../precious", "/etc/passwd", "src/../../precious"]

    async def matching(_: Sequence[str]) -> Sequence[str]:
        return names

    done = await include(checkout, worktree, ignored=names, matching=matching)
    assert {one.why for one in done.skipped} == {"it is outside of the repository"}
    assert done.copied == ()


async def test_a_worktree_inside_of_the_repository_does_not_copy_itself(checkout: Path):
    write(checkout, INCLUDE_FILE, "cache/\n")
    inner = checkout / "cache" / "wt"
    write(checkout, "cache/more", "x")
    await add_worktree(checkout, inner, branch="inner", base="main")
    done = await bring(checkout, inner)
    assert done.copied == ()
    assert not (inner / "cache").exists()


async def test_what_is_no_file_or_cannot_be_read_is_reported_and_the_rest_comes(
    checkout: Path, worktree: Path
):
    write(checkout, INCLUDE_FILE, "node_modules/\n.env\n")
    os.mkfifo(checkout / "node_modules/fifo")
    if os.geteuid() != 0:
        (checkout / ".env").chmod(0)
    done = await bring(checkout, worktree)
    assert Skipped("node_modules/fifo", "it is neither file, folder nor link") in done.skipped
    assert "node_modules/pkg/index.js" in done.copied
    assert (".env" in done.copied) == (os.geteuid() == 0)


async def test_odd_names_come_along(checkout: Path, worktree: Path):
    names = ["-dash.log", "new\nline.log", "ü ☃.log", "sp ace/-x.log", os.fsdecode(b"bad\xff.log")]
    for name in names:
        write(checkout, name, name.encode("utf-8", "replace").decode())
    write(checkout, INCLUDE_FILE, "*.log\n")
    done = await bring(checkout, worktree)
    assert set(done.copied) == set(names)
    assert (await status(worktree)).is_clean


@dataclass
class Halting(_Bringing):
    """Stops after its first file until it is told to go on."""

    begun: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def _note(self, path: Path, outcome: list[str]) -> None:
        super()._note(path, outcome)
        self.begun.set()
        self.goes_on.wait(10)


async def test_a_cancelled_copy_stops_between_two_files(checkout: Path, worktree: Path):
    for number in range(20):
        write(checkout, f"node_modules/many/{number:02}", "x" * 1000)
    bringing = Halting(checkout, worktree)
    plan: list[tuple[Treatment, str]] = [("copy", "node_modules/many/")]
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(_performed, bringing, plan)
            await anyio.to_thread.run_sync(bringing.begun.wait)
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(bringing.stopped.wait)
            bringing.goes_on.set()
    copied = list((worktree / "node_modules/many").iterdir())
    assert [(file.name, file.stat().st_size) for file in copied] == [("00", 1000)]


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        copy_file(tmp_path / "folder", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_copy_neither_follows_nor_replaces_a_link(tmp_path: Path):
    write(tmp_path, "origin", "x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(FileExistsError):
        copy_file(tmp_path / "origin", tmp_path / "link")
    with pytest.raises(OSError, match="symbolic"):
        copy_file(tmp_path / "link", tmp_path / "copy")
    assert not (tmp_path / "target").exists()
