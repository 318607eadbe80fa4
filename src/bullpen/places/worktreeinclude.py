"""`.worktreeinclude`: which ignored files of the user's checkout come along into a worktree.

The file has the syntax of `.gitignore` and names files that git ignores, such as `.env`. A comment
that says only `# link` or `# copy` switches what happens to what the patterns after it match.
Where two parts of the file match the same, the later one decides.
"""

import fcntl
import os
import re
import shutil
import stat
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio
from anyio import to_thread

INCLUDE_FILE = ".worktreeinclude"

Treatment = Literal["copy", "link"]
Matching = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""Which untracked paths of the checkout the given gitignore patterns match; a folder that is
matched as a whole is one path that ends in a slash."""

_DIRECTIVE = re.compile(r"#\s*(copy|link)\s*", re.IGNORECASE)
_FICLONE = 0x40049409
"""Linux's request to let two files share their blocks until one of them is written to."""
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Section:
    """Patterns that are treated alike."""

    treatment: Treatment
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class Skipped:
    """Something that was to come along and did not."""

    path: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Included:
    """What came along. Paths are relative to both roots."""

    copied: tuple[str, ...] = ()
    """Files and links, each by itself."""
    linked: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def parse_include(text: str, *, default: Treatment = "copy") -> tuple[Section, ...]:
    """Return the sections of a `.worktreeinclude` file; those without a pattern are left out.

    `default` holds until the first directive.
    """
    sections: list[Section] = []
    treatment: Treatment = default
    patterns: list[str] = []
    for line in text.split("\n"):
        directive = _DIRECTIVE.fullmatch(line.strip())
        if directive:
            sections.append(Section(treatment, tuple(patterns)))
            treatment = "link" if directive.group(1).lower() == "link" else "copy"
            patterns = []
        elif not line.startswith("#"):
            patterns.append(_without_trailing_spaces(line.removesuffix("\r")))
    sections.append(Section(treatment, tuple(patterns)))
    kept = (Section(one.treatment, tuple(filter(None, one.patterns))) for one in sections)
    return tuple(section for section in kept if section.patterns)


def _without_trailing_spaces(line: str) -> str:
    bare = line.rstrip(" ")
    return bare + " " if bare.endswith("\\") and bare != line else bare


async def include(
    source: Path,
    target: Path,
    *,
    ignored: Sequence[str],
    matching: Matching,
    default: Treatment = "copy",
) -> Included:
    """Bring what `source`'s `.worktreeinclude` names from the checkout `source` into `target`.

    Only files that git ignores come along; without the file nothing does. Nothing that exists in
    `target` is overwritten, and no path leaves the two roots: a folder that is a link is not
    entered on either side. Links are copied as links. A copy shares its blocks with the original
    where the file system can do so (Linux), and has its mode and time. Of a folder that is to be
    linked, the folder itself is made and what it holds is linked, since a pattern such as
    `node_modules/` would not ignore a link of that name. What fails is reported and the rest goes
    on. When cancelled, what came along until then stays; no file is left half-written.

    Args:
        ignored: What git ignores in `source`, in the form of `Matching`.
        matching: Asks git; called once for each section and once for all patterns.
    """
    file = source / INCLUDE_FILE
    if not file.is_file():
        return Included()
    content = await to_thread.run_sync(file.read_bytes)
    sections = parse_include(os.fsdecode(content), default=default)
    if not sections:
        return Included()
    allowed = _both(await matching([one for part in sections for one in part.patterns]), ignored)
    plan: list[tuple[Treatment, str]] = []
    # Backwards: what a later section brings is there already when an earlier one wants it.
    for section in reversed(sections):
        chosen = _both(await matching(section.patterns), allowed)
        plan.extend((section.treatment, path) for path in chosen)
    return await _performed(_Bringing(source, target), plan)


def _both(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return what is in both lists, where a folder stands for all it holds."""
    found = {path for path in first if _is_within(path, set(second))}
    found |= {path for path in second if _is_within(path, set(first))}
    return sorted(found)


def _is_within(path: str, others: set[str]) -> bool:
    parts = path.rstrip("/").split("/")
    folders = ("/".join(parts[:end]) + "/" for end in range(1, len(parts)))
    return path in others or any(folder in others for folder in folders)


async def _performed(bringing: "_Bringing", plan: list[tuple[Treatment, str]]) -> Included:
    async def stop_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            bringing.stopped.set()

    # A thread cannot be cancelled; it looks at the event before each file.
    async with anyio.create_task_group() as group:
        group.start_soon(stop_when_cancelled)
        await to_thread.run_sync(bringing.bring_all, plan)
        group.cancel_scope.cancel()
    return Included(
        copied=tuple(bringing.copied),
        linked=tuple(bringing.linked),
        skipped=tuple(bringing.skipped),
    )


class _Refused(Exception):
    """Why one path does not come along."""


@dataclass
class _Bringing:
    """The work in its thread, and what came of it."""

    source: Path
    target: Path
    copied: list[str] = field(default_factory=list[str])
    linked: list[str] = field(default_factory=list[str])
    skipped: list[Skipped] = field(default_factory=list[Skipped])
    brought: set[Path] = field(default_factory=set[Path])
    stopped: threading.Event = field(default_factory=threading.Event)

    def bring_all(self, plan: list[tuple[Treatment, str]]) -> None:
        for treatment, entry in plan:
            self._attempt(treatment, Path(entry.rstrip("/")), self._bring_entry)

    def _attempt(
        self, treatment: Treatment, path: Path, bring: Callable[[Treatment, Path], None]
    ) -> None:
        if self.stopped.is_set():
            return
        try:
            bring(treatment, path)
        except (_Refused, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            self.skipped.append(Skipped(str(path), why or str(error)))

    def _bring_entry(self, treatment: Treatment, path: Path) -> None:
        if path.is_absolute() or ".." in path.parts:
            raise _Refused("it is outside of the repository")
        origin = self.source / path
        if self.target == origin or origin in self.target.parents:
            raise _Refused("the worktree itself is inside")
        for parent in reversed(path.parents):
            if (self.source / parent).is_symlink() and parent != Path():
                raise _Refused("its folder is a link")
            self._make_folder(parent)
        self._bring(treatment, path)

    def _make_folder(self, path: Path) -> None:
        place = self.target / path
        if place.is_symlink() and path != Path():
            raise _Refused("its folder is a link in the worktree")
        if place.is_dir():
            return
        if place.exists():
            raise _Refused("its folder is a file in the worktree")
        place.mkdir()
        with suppress(OSError):
            place.chmod(stat.S_IMODE((self.source / path).stat().st_mode) | stat.S_IRWXU)

    def _bring(self, treatment: Treatment, path: Path) -> None:
        if path in self.brought:
            return
        facts = (self.source / path).lstat()
        if stat.S_ISDIR(facts.st_mode):
            self._make_folder(path)
            bring = self._bring if treatment == "copy" else self._link_child
            for child in sorted((self.source / path).iterdir()):
                self._attempt(treatment, path / child.name, bring)
            return
        if os.path.lexists(self.target / path):
            raise _Refused("it exists in the worktree")
        if treatment == "link":
            self._link(path)
        elif stat.S_ISLNK(facts.st_mode):
            (self.target / path).symlink_to((self.source / path).readlink())
            self._note(path, self.copied)
        elif stat.S_ISREG(facts.st_mode):
            copy_file(self.source / path, self.target / path)
            self._note(path, self.copied)
        else:
            raise _Refused("it is neither file, folder nor link")

    def _link_child(self, treatment: Treatment, path: Path) -> None:
        place = self.target / path
        if path in self.brought:
            return
        if place.is_dir() and not place.is_symlink() and (self.source / path).is_dir():
            self._bring(treatment, path)
        elif os.path.lexists(place):
            raise _Refused("it exists in the worktree")
        else:
            self._link(path)

    def _link(self, path: Path) -> None:
        (self.target / path).symlink_to(self.source / path)
        self._note(path, self.linked)

    def _note(self, path: Path, outcome: list[str]) -> None:
        self.brought.add(path)
        outcome.append(str(path))


@contextmanager
def _removed_on_failure(file: Path) -> Generator[None]:
    try:
        yield
    except OSError:
        file.unlink(missing_ok=True)
        raise


def _share_blocks(reading: int, writing: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError:
        return False
    return True


def copy_file(origin: Path, copy: Path) -> None:
    """Copy one regular file with its mode and times, sharing blocks where possible.

    Never follows a link nor overwrites; on failure no copy is left.

    Raises:
        OSError: `copy` exists, `origin` cannot be read, or the disk is full.
    """
    reading = os.open(origin, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(reading, "rb") as source:
        facts = os.fstat(reading)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writing = os.open(copy, flags, stat.S_IRUSR | stat.S_IWUSR)
        with os.fdopen(writing, "wb") as target, _removed_on_failure(copy):
            if not _share_blocks(reading, writing):
                shutil.copyfileobj(source, target, _PIECE_BYTES)
                target.flush()
            os.fchmod(writing, stat.S_IMODE(facts.st_mode) & 0o777)
            os.utime(writing, ns=(facts.st_atime_ns, facts.st_mtime_ns))
