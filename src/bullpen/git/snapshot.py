"""The content of a working tree as a tree, made beside its index and branch."""

import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from bullpen.git.changes import fork_point, untracked
from bullpen.git.command import nul_ended, paths, read, text, write
from bullpen.git.repository import git_directory, top_of


@dataclass(frozen=True)
class Snapshot:
    """What a working tree held at one moment."""

    tree: str
    """All files as they are on disk, but those that git ignores."""
    staged: str | None
    """The tree the index stands for; None when it holds conflicts and so stands for none."""


async def diff(path: Path, base: str) -> bytes:
    """Return as one patch what the working tree of `path` holds that `base` does not.

    Committed, staged, unstaged and untracked work against the commit where HEAD and `base`
    parted. Binary files are included whole: `git apply` on that commit gives the same files.
    Independent of the user's diff settings. Touches neither the index nor the object store.
    Repositories inside of the working tree are left out.

    Raises:
        RefUnknown: `base` names no commit, or HEAD has none yet.
    """
    top, fork = await fork_point(path, base)
    async with _scratch(top) as scratch:
        objects = await _throwaway_objects(top, scratch)
        tree = await _tree_of_files(top, scratch.environment | objects)
        args = ("-p", "--binary", "--full-index", "-M", "--no-color", "--no-ext-diff")
        args = (*args, "--no-textconv", "--submodule=short", fork, tree)
        return (await read("diff-tree", *args, cwd=top, extra=objects)).stdout


async def snapshot(path: Path, *, nested: bool = False) -> Snapshot:
    """Write the content of the working tree of `path` to the object store, and return it.

    Touches no branch and not the index; takes no lock the agent could need. With `nested`, the
    files of repositories inside of the working tree are included as if they were its own; their
    history is not. A file that is written to meanwhile is taken in one of its states.

    Raises:
        CommandFailed: a file cannot be read.
    """
    top = await top_of(path)
    async with _scratch(top) as scratch:
        before = await write("write-tree", cwd=top, extra=scratch.environment, check=False)
        staged = text(before.stdout) if before.exit_code == 0 and scratch.has_index else None
        inner = await record_files(top, scratch.environment)
        if nested:
            inner = [*inner, *await _filled_submodules(top, scratch.environment)]
            await _swallow(top, inner, scratch)
        done = await write("write-tree", cwd=top, extra=scratch.environment)
        return Snapshot(text(done.stdout), staged)


async def record_files(top: Path, environment: dict[str, str]) -> list[str]:
    """Bring the index that `environment` names up to date with the files below `top`.

    Returns the repositories inside of the working tree; those are left out.
    """
    await write("add", "--update", cwd=top, extra=environment)
    names = await untracked(top, extra=environment)
    files = [name for name in names if not name.endswith("/")]
    if files:
        # Replaces what git still takes for a file below a link that leads to itself.
        args = ("update-index", "-z", "--add", "--remove", "--replace", "--stdin")
        await write(*args, cwd=top, extra=environment, stdin=nul_ended(files))
    return [name for name in names if name.endswith("/")]


@dataclass(frozen=True)
class _Scratch:
    folder: Path
    environment: dict[str, str]
    has_index: bool


@asynccontextmanager
async def _scratch(top: Path) -> AsyncGenerator[_Scratch]:
    index = await git_directory(top) / "index"
    with tempfile.TemporaryDirectory(prefix="bullpen-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        has_index = index.is_file()
        environment = {"GIT_INDEX_FILE": str(folder / "index")}
        if has_index:
            # With its time: git tells by it which files changed too soon after it was written.
            await to_thread.run_sync(shutil.copy2, index, folder / "index")
        else:
            await _assume_unfilled(top, environment)
        yield _Scratch(folder, environment, has_index)


async def _assume_unfilled(top: Path, environment: dict[str, str]) -> None:
    # The checkout was cut off before its end: what is not there was never there, not deleted.
    await write("read-tree", "HEAD", cwd=top, extra=environment, check=False)
    missing = await read("ls-files", "-z", "--deleted", cwd=top, extra=environment)
    args = ("update-index", "-z", "--skip-worktree", "--stdin")
    await write(*args, cwd=top, extra=environment, stdin=missing.stdout)


async def _throwaway_objects(top: Path, scratch: _Scratch) -> dict[str, str]:
    args = ("rev-parse", "--path-format=absolute", "--git-path", "objects")
    kept = text((await read(*args, cwd=top)).stdout)
    own = scratch.folder / "objects"
    own.mkdir()
    # Quoted, since a colon would end the path.
    quoted = kept.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return {
        "GIT_OBJECT_DIRECTORY": str(own),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{quoted}"',
    }


async def _tree_of_files(top: Path, environment: dict[str, str]) -> str:
    await record_files(top, environment)
    return text((await write("write-tree", cwd=top, extra=environment)).stdout)


async def _filled_submodules(top: Path, environment: dict[str, str]) -> list[str]:
    done = await read("ls-files", "--stage", "-z", cwd=top, extra=environment)
    links = [line.split("\t", 1)[1] for line in paths(done.stdout) if line.startswith("160000 ")]
    return [f"{name}/" for name in links if (top / name / ".git").exists()]


async def _swallow(top: Path, inner: list[str], scratch: _Scratch) -> None:
    if not inner:
        return
    links = nul_ended([name.rstrip("/") for name in inner])
    args = ("update-index", "-z", "--force-remove", "--stdin")
    await write(*args, cwd=top, extra=scratch.environment, stdin=links)
    folder = scratch.environment.get("GIT_DIR") or str(await git_directory(top))
    for number, name in enumerate(inner):
        # The same object store, seen from the inner folder: its own `.git` is then just skipped.
        below = scratch.folder / f"inner-{number}"
        below.mkdir()
        environment = {
            "GIT_DIR": folder,
            "GIT_WORK_TREE": str(top / name),
            "GIT_INDEX_FILE": str(below / "index"),
        }
        deeper = await record_files(top / name, environment)
        await _swallow(top / name, deeper, _Scratch(below, environment, has_index=False))
        tree = text((await write("write-tree", cwd=top / name, extra=environment)).stdout)
        args = ("read-tree", f"--prefix={name}", tree)
        await write(*args, cwd=top, extra=scratch.environment)
