"""Making the place a session works in, and taking it away again without losing work."""

import codecs
import getpass
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import msgspec

from bullpen import git, places
from bullpen.errors import (
    BranchTaken,
    BullpenError,
    NotARepository,
    RefUnknown,
    RepositoryMoved,
    SetupFailed,
    WorkUnsaved,
)
from bullpen.model.fact import (
    PlacePrepared,
    PlaceRemoved,
    SessionCreated,
    SetupEnded,
    SetupPrinted,
    StateChanged,
)
from bullpen.model.session import SessionRecord
from bullpen.process import whole_environment
from bullpen.sessions.ledger import Ledger
from bullpen.sessions.stage import Stage

log = logging.getLogger("bullpen.sessions")


class Site(msgspec.Struct, frozen=True):
    """Where a worktree session comes from."""

    repo: str
    branch: str
    base: str


async def site_of(
    directory: Path, *, branch: str | None, base: str | None, names: dict[str, str], template: str
) -> Site:
    """Find the repository of `directory` and settle branch and base, changing nothing.

    Raises:
        NotARepository: there is none, or it has no commit yet.
        RefUnknown: `base` is no branch, tag or commit.
        BranchInvalid, BranchTaken: the branch cannot be made.
    """
    repository = await git.repository_of(directory)
    if repository.head_commit is None:
        raise NotARepository(directory)
    name = branch or places.branch_name(
        template,
        session=names["session"],
        agent=names["agent"],
        title=names["title"],
        user=_user(),
    )
    if await git.branch_exists(repository.root, name):
        raise BranchTaken(name, repository.root)
    start = await git.resolve(repository.root, base or "HEAD")
    return Site(str(repository.root), name, base or repository.head_branch or start)


async def prepare(stage: Stage, ledger: Ledger, wanted: SessionCreated) -> PlacePrepared | None:
    """Make the place of a session and return what was made, None when it was there already.

    Whatever fails, what was made is undone. Setup output becomes events as it comes.

    Raises:
        DirectoryMissing, SetupFailed, and what `git.add_worktree` raises.
    """
    record = ledger.record
    if record.path and Path(record.path).is_dir():
        if wanted.setup and not await _is_set_up(stage, record):
            await _set_up(stage, ledger, wanted, Path(record.path))
        return None
    if wanted.place != "worktree":
        path = places.check_directory(Path(wanted.directory))
        made = PlacePrepared(path=str(path), base_commit=await _head_of(path))
        await ledger.write(made).wait()
        await _set_up(stage, ledger, wanted, path)
        return None
    return await _worktree(stage, ledger, wanted)


def working_directory(record: SessionRecord) -> Path:
    """Return where the agent works: in a worktree, the folder that was asked for below its root."""
    path = Path(record.path)
    if record.place != "worktree" or not record.repo:
        return path
    asked, root = Path(record.directory).resolve(), Path(record.repo).resolve()
    inside = path / asked.relative_to(root) if asked.is_relative_to(root) else path
    return inside if inside.is_dir() else path


async def _head_of(path: Path) -> str | None:
    """Return the commit a directory is at, so that what changes from now on can be told."""
    try:
        return (await git.repository_of(path)).head_commit
    except BullpenError:
        return None


def check_repository(record: SessionRecord) -> None:
    """Refuse to work with a worktree whose repository is gone.

    Raises:
        RepositoryMoved: nothing is where it was.
    """
    if record.place == "worktree" and record.repo and not Path(record.repo).is_dir():
        raise RepositoryMoved(record.id, Path(record.repo), Path(record.path))


async def _is_set_up(stage: Stage, record: SessionRecord) -> bool:
    """Whether the setup command came to a good end since the place was made."""
    kinds = ("place-prepared", "setup-ended")
    newest = await stage.store.last_events(record.id, kinds=kinds, limit=1)
    return any(isinstance(one.fact, SetupEnded) and one.fact.exit_code == 0 for one in newest)


async def _worktree(stage: Stage, ledger: Ledger, wanted: SessionCreated) -> PlacePrepared:
    record = ledger.record
    repo = Path(wanted.repo or wanted.directory)
    branch = record.branch or wanted.branch or f"bullpen/{record.id}"
    path = Path(record.path or places.worktree_path(stage.home.folder, repo, record.id))
    if record.base_commit is None and await _was_cut_off(stage, ledger):
        await _clear_half_made(repo, path, branch=branch, base=wanted.base or "HEAD")
    fresh = record.base_commit is None or not await git.branch_exists(repo, branch)
    if fresh:
        commit = await git.add_worktree(
            repo, path, branch=branch, base=wanted.base or "HEAD", sparse=wanted.sparse
        )
    else:
        commit = await git.restore_worktree(repo, path, branch=branch, sparse=wanted.sparse)
    try:
        included = await _include(repo, path, wanted)
        made = PlacePrepared(
            path=str(path),
            branch=branch,
            base=wanted.base,
            base_commit=commit if fresh else record.base_commit,
            included=included,
        )
        await ledger.write(made).wait()
        await _set_up(stage, ledger, wanted, path)
    except BaseException:
        await unmake(repo, path, branch=branch if fresh else None, commit=commit)
        raise
    return made


async def _was_cut_off(stage: Stage, ledger: Ledger) -> bool:
    """Whether a service died while it made the place."""
    await ledger.committed()
    moves = await stage.store.last_events(ledger.record.id, kinds=("state-changed",), limit=2)
    cut = ("starting", "queued")
    facts = [one.fact for one in moves]
    return any(isinstance(one, StateChanged) and (one.before, one.after) == cut for one in facts)


async def _clear_half_made(repo: Path, path: Path, *, branch: str, base: str) -> None:
    """Take away what a service that was killed had made and not recorded: nobody worked there."""
    for place in await git.worktrees(repo):
        if place.path == path.resolve() and place.branch == branch:
            await unmake(repo, path, branch=None, commit=None)
    # The branch did not exist when the session was wished for, and holds no commit of its own.
    with suppress(BullpenError):
        tip = await git.branch_tip(repo, branch)
        if await git.is_ancestor(repo, tip, await git.resolve(repo, base)):
            await git.delete_branch(repo, branch, expected=tip)


async def unmake(repo: Path, path: Path, *, branch: str | None, commit: str | None) -> None:
    """Take away a place nobody worked in. The branch goes only while it is where we put it.

    Shielded: whoever stops a session in its setup is told that nothing is left.
    """
    with anyio.CancelScope(shield=True):
        with suppress(BullpenError):
            await git.remove_worktree(repo, path, force=True)
        if branch is not None and commit is not None:
            with suppress(BullpenError):
                await git.delete_branch(repo, branch, expected=commit)


async def _include(repo: Path, path: Path, wanted: SessionCreated) -> int:
    if not (repo / places.INCLUDE_FILE).is_file():
        return 0

    async def matching(patterns: Sequence[str]) -> Sequence[str]:
        return await git.untracked_matching(repo, patterns)

    ignored = await git.ignored_files(repo)
    default = "link" if wanted.include == "link" else "copy"
    done = await places.include(repo, path, ignored=ignored, matching=matching, default=default)
    for skipped in done.skipped:
        log.warning("%s did not come along to %s: %s", skipped.path, path, skipped.why)
    return len(done.copied) + len(done.linked)


async def _set_up(stage: Stage, ledger: Ledger, wanted: SessionCreated, path: Path) -> None:
    if not wanted.setup:
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def printed(piece: bytes) -> None:
        ledger.write(SetupPrinted(text=decoder.decode(piece)))

    journal = (stage.home.sessions / ledger.record.id).resolve()
    marks = {"BULLPEN_SESSION": ledger.record.id, "BULLPEN_JOURNAL": str(journal)}
    marks["BULLPEN_PLACE"] = str(path)
    environment = whole_environment(stage.environment, user=wanted.environment | marks)
    timeout = wanted.setup_timeout or stage.settings.setup_timeout
    try:
        await places.run_setup(
            wanted.setup, cwd=path, env=environment, timeout=timeout, on_output=printed
        )
    except SetupFailed as fault:
        await ledger.write(SetupEnded(exit_code=fault.exit_code)).wait()
        raise
    ledger.write(SetupEnded(exit_code=0))


async def remove(stage: Stage, ledger: Ledger, *, force: bool) -> PlaceRemoved | None:
    """Take the session's worktree away; None when it has none.

    Committed work that is on no other branch and uncommitted work are refused without `force`,
    and kept under a rescue ref with it. The branch goes only when nothing is lost by that.

    Raises:
        WorkUnsaved: nothing was changed.
    """
    record = ledger.record
    if record.place != "worktree" or not record.repo or not record.branch:
        return None
    repo, path = Path(record.repo), Path(record.path or "/nonexistent")
    if not repo.is_dir():
        if path.is_dir() and not force:
            check_repository(record)
        return None
    try:
        unsaved = await unsaved_work(record)
    except BullpenError:
        if not force:
            raise
        # What cannot be looked at cannot be rescued: it stays where it is, for a person.
        return None
    if unsaved and not force:
        raise WorkUnsaved(record.id, path, unsaved)
    rescue = None
    if unsaved:
        rescue = await git.save_rescue(repo, path, record.id, branch=record.branch)
    await _dismantle(repo, path, record.branch)
    return PlaceRemoved(path=str(path), rescue=rescue)


async def _dismantle(repo: Path, path: Path, branch: str) -> None:
    if path.is_dir():
        await git.remove_worktree(repo, path, force=True)
    if await git.branch_exists(repo, branch):
        tip = await git.resolve(repo, f"refs/heads/{branch}")
        with suppress(BullpenError):
            await git.delete_branch(repo, branch, expected=tip)


async def unsaved_work(record: SessionRecord) -> str:
    """Return in words what would be lost with the session's worktree and branch; empty for
    nothing, and for a session that works in a directory of the user's.

    Raises:
        NotARepository, CommandFailed: the repository or the worktree cannot be looked at.
    """
    if record.place != "worktree" or not record.repo or not record.branch:
        return ""
    repo, path = Path(record.repo), Path(record.path or "/nonexistent")
    said: list[str] = []
    if repo.is_dir():
        await git.repository_of(repo)
    if path.is_dir():
        changes = await git.status(path)
        if changes.files:
            said.append(_counted(len(changes.files), "uncommitted file"))
    if repo.is_dir() and await git.branch_exists(repo, record.branch):
        into = await _base_of(repo, record)
        count = await git.unmerged_commits(repo, record.branch, into=into)
        if count:
            said.append(f"{_counted(count, 'commit')} not in {into}")
        if path.is_dir() and not await _is_kept(path, record.branch, into):
            said.append("commits that are on no branch")
    return " and ".join(said)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


async def _is_kept(path: Path, *branches: str) -> bool:
    """Whether a branch holds what is checked out in a worktree, whose own HEAD goes with it."""
    if await git.head_branch(path) is not None:
        return True
    head = await git.resolve(path, "HEAD")
    for branch in branches:
        if await git.is_ancestor(path, head, await git.resolve(path, branch)):
            return True
    return False


async def _base_of(repo: Path, record: SessionRecord) -> str:
    """Return what the session's branch started from, or HEAD when that branch is no more."""
    base = record.base or "HEAD"
    try:
        await git.resolve(repo, base)
    except RefUnknown:
        return "HEAD"
    return base


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user id without an entry in the password file.
        return "user"
