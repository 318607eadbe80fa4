"""What a working tree holds that its base does not: files, and numbers that are cheap to poll."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from bullpen.errors import RefUnknown
from bullpen.git.command import paths, read

_LARGEST_COUNTED_BYTES = 4_000_000
"""An untracked file above this counts as one file without lines: it is hardly a source text, and
the count is made again and again."""
_SNIFFED_BYTES = 8000
"""Git calls a file binary that has a NUL in this many bytes at its start; so do we."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The uncommitted part of a working tree. All paths are relative to its top and sorted."""

    staged: tuple[str, ...] = ()
    unstaged: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    """Single files; a repository inside of the working tree is one entry that ends in a slash."""
    conflicted: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing at all."""
        return not self.files

    @property
    def files(self) -> tuple[str, ...]:
        """Every path that differs from HEAD in any way, once."""
        every = {*self.staged, *self.unstaged, *self.untracked, *self.conflicted}
        return tuple(sorted(every))


@dataclass(frozen=True)
class Numbers:
    """How much a working tree differs from its base."""

    files: int
    insertions: int
    deletions: int


async def status(path: Path) -> Changes:
    """Return what is staged, changed, untracked and conflicted in the working tree of `path`.

    A renamed file is one deleted and one new. Files that git ignores are left out. Changes
    nothing, not even the index's cache of file times.

    Raises:
        CommandFailed: `path` is in no working tree.
    """
    args = ("--porcelain=v2", "-z", "--untracked-files=all", "--no-renames")
    done = await read("status", *args, "--ignore-submodules=none", cwd=path)
    found: dict[str, set[str]] = {"staged": set(), "unstaged": set(), "?": set(), "u": set()}
    for line in paths(done.stdout):
        _sort_in(line, found)
    return Changes(
        staged=tuple(sorted(found["staged"])),
        unstaged=tuple(sorted(found["unstaged"])),
        untracked=tuple(sorted(found["?"])),
        conflicted=tuple(sorted(found["u"])),
    )


def _sort_in(line: str, found: dict[str, set[str]]) -> None:
    kind, _, rest = line.partition(" ")
    if kind == "?":
        found["?"].add(rest)
    elif kind == "u":
        found["u"].add(rest.split(" ", 9)[9])
    elif kind == "1":
        states, name = rest[:2], rest.split(" ", 7)[7]
        if states[0] != ".":
            found["staged"].add(name)
        if states[1] != ".":
            found["unstaged"].add(name)


async def numbers(path: Path, base: str) -> Numbers:
    """Count what the working tree of `path` holds that `base` does not.

    Committed, staged, unstaged and untracked work against the commit where HEAD and `base`
    parted, so that what others did to `base` since does not count. Binary files count as files
    without lines. Three short git commands; changes nothing and takes no lock.

    Raises:
        RefUnknown: `base` names no commit, or HEAD has none yet.
    """
    top, fork = await fork_point(path, base)
    args = ("--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-relative")
    args = (*args, "--ignore-submodules=dirty", fork, "--")
    done = await read("diff", *args, cwd=top)
    rows = [row.split("\t", 2) for row in paths(done.stdout)]
    new = await untracked(top)
    lines = await to_thread.run_sync(_lines_in_all, top, new)
    return Numbers(
        files=len(rows) + len(new),
        insertions=sum(int(row[0]) for row in rows if row[0] != "-") + lines,
        deletions=sum(int(row[1]) for row in rows if row[1] != "-"),
    )


async def fork_point(path: Path, base: str) -> tuple[Path, str]:
    """Return the top of the working tree of `path`, and the commit where HEAD and `base` parted.

    Where they share no history, that is `base` itself.

    Raises:
        RefUnknown: `base` names no commit, or HEAD has none yet.
    """
    if not base or base[0] in "-^" or any(sign in base for sign in "\0\n"):
        raise RefUnknown(base, path)
    args = ("rev-parse", "--show-toplevel", f"{base}...HEAD")
    done = await read(*args, cwd=path, check=False)
    # The path comes first and may hold newlines; the ids come last and cannot.
    found = re.fullmatch(
        rb"(.*)\n([0-9a-f]+)\n[0-9a-f]+\n(?:\^([0-9a-f]+)\n)?.*", done.stdout, re.S
    )
    if done.exit_code != 0 or found is None:
        raise RefUnknown(base, path)
    top, tip, fork = found.groups()
    return Path(paths(top)[0]), (fork or tip).decode()


def _lines_in_all(top: Path, names: Sequence[str]) -> int:
    return sum(_lines_in(top / name) for name in names)


def _lines_in(file: Path) -> int:
    try:
        if file.is_symlink():
            return 1
        if not file.is_file() or file.stat().st_size > _LARGEST_COUNTED_BYTES:
            return 0
        content = file.read_bytes()
    except OSError:
        # The agent is at work: what was there a moment ago need not be any more.
        return 0
    if b"\0" in content[:_SNIFFED_BYTES]:
        return 0
    return content.count(b"\n") + (not content.endswith(b"\n") and bool(content))


async def untracked(top: Path, *, extra: dict[str, str] | None = None) -> list[str]:
    """Return the files git does not track and does not ignore, relative to `top`.

    A repository inside of the working tree is one entry that ends in a slash.
    """
    args = ("-z", "--others", "--exclude-standard", "--full-name", "--", ":/")
    return paths((await read("ls-files", *args, cwd=top, extra=extra)).stdout)


async def ignored_files(path: Path) -> list[str]:
    """Return what git ignores in the working tree of `path`, relative to its top.

    A folder that is ignored as a whole is one entry that ends in a slash.
    """
    return await _listed(path, ["--exclude-standard"])


async def untracked_matching(path: Path, patterns: Sequence[str]) -> list[str]:
    """Return what git does not track and `patterns`, in gitignore syntax, match.

    As in a `.gitignore` file later patterns win, and `!` takes out again. Whether git ignores the
    files as well makes no difference; `ignored_files` says that. Form as there.
    """
    if not patterns:
        return []
    return await _listed(path, [f"--exclude={pattern}" for pattern in patterns])


async def _listed(path: Path, excludes: list[str]) -> list[str]:
    args = ("-z", "--others", "--ignored", "--directory", "--full-name")
    done = await read("ls-files", *args, *excludes, "--", ":/", cwd=path)
    return _most_specific(paths(done.stdout))


def _most_specific(found: list[str]) -> list[str]:
    # Git lists a folder of which each file matches by itself with its files; the files say all.
    covered: set[str] = set()
    for name in found:
        parts = name.rstrip("/").split("/")
        covered |= {"/".join(parts[:end]) + "/" for end in range(1, len(parts))}
    return sorted(name for name in set(found) if name not in covered)
