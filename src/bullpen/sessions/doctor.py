"""Examining the host: each finding with its remedy, and mending what loses nothing."""

import os
import shutil
import sys
import time
from pathlib import Path

import anyio.to_thread
import msgspec

from bullpen import git
from bullpen.errors import BullpenError, ProgramNotFound
from bullpen.model.session import LIVE, SessionRecord, SessionState
from bullpen.process import Identity, Marked, marked, reap_group
from bullpen.sessions import roster
from bullpen.sessions.stage import Stage
from bullpen.sessions.supervisor import Supervisor
from bullpen.sessions.waste import delete_folder

OLDEST_GIT = (2, 38)
# `merge-tree --write-tree`, which lets us see conflicts without touching a checkout.
_LOW_DISK_GB = 2.0
_STALE_DAYS = 30


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str
    level: str
    """`ok`, `warning` or `error`."""
    message: str
    remedy: str = ""
    fixable: bool = False


async def examine(stage: Stage, supervisor: Supervisor, *, fix: bool) -> list[Finding]:
    """Return what was found, in a fixed order; with `fix`, after mending.

    Mending ends orphaned processes of sessions that are over and deletes journals of sessions
    that do not exist. It never touches a worktree, a branch or a live session.
    """
    records = await supervisor.records()
    findings = [await _git(), _tmux(), *_limits(), _disk(stage)]
    findings += await _agents(stage)
    findings += await _database(stage)
    findings += _sessions(records)
    findings += await _orphans(stage, supervisor, fix=fix)
    findings += await _strays(stage, supervisor, fix=fix)
    findings += await _worktrees(stage, records)
    return findings


async def _git() -> Finding:
    try:
        version = await git.version()
    except ProgramNotFound:
        return Finding(
            check="git", level="error", message="git is not installed", remedy="install git"
        )
    shown = ".".join(str(part) for part in version)
    if version < OLDEST_GIT:
        wanted = ".".join(str(part) for part in OLDEST_GIT)
        return Finding(
            check="git",
            level="error",
            message=f"git {shown} is too old to land branches",
            remedy=f"install git {wanted} or newer",
        )
    return Finding(check="git", level="ok", message=f"git {shown}")


def _tmux() -> Finding:
    found = shutil.which("tmux")
    if found is None:
        return Finding(
            check="tmux",
            level="warning",
            message="tmux is not installed",
            remedy="install tmux to run agents that have no protocol; others do not need it",
        )
    return Finding(check="tmux", level="ok", message=f"tmux at {found}")


def _limits() -> list[Finding]:
    findings: list[Finding] = []
    if sys.platform == "linux":
        watches = _number(Path("/proc/sys/fs/inotify/max_user_watches"))
        level = "ok" if watches >= 1024 else "warning"
        findings.append(
            Finding(
                check="inotify",
                level=level,
                message=f"{watches} inotify watches per user",
                remedy="" if level == "ok" else "sysctl fs.inotify.max_user_watches=65536",
            )
        )
    files = os.sysconf("SC_OPEN_MAX")
    level = "ok" if files >= 4096 else "warning"
    findings.append(
        Finding(
            check="open-files",
            level=level,
            message=f"{files} open files per process; a live session needs about 4",
            remedy="" if level == "ok" else "raise the limit: ulimit -n 16384",
        )
    )
    return findings


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


def _disk(stage: Stage) -> Finding:
    free = shutil.disk_usage(stage.home.folder).free / 1e9
    if free < _LOW_DISK_GB:
        return Finding(
            check="disk",
            level="warning",
            message=f"{free:.1f} GB free at {stage.home.folder}",
            remedy="bullpen prune --dry-run shows what old sessions hold",
        )
    return Finding(check="disk", level="ok", message=f"{free:.0f} GB free at {stage.home.folder}")


async def _agents(stage: Stage) -> list[Finding]:
    findings: list[Finding] = []
    for agent in await roster.look(stage, versions=True):
        if agent.status == "not-found":
            continue
        shown = f"{agent.name} {agent.version or ''}".strip()
        if agent.status == "needs-login":
            findings.append(
                Finding(
                    check=f"agent {agent.id}",
                    level="warning",
                    message=f"{shown} needs a login",
                    remedy=agent.login_hint,
                )
            )
        else:
            findings.append(Finding(check=f"agent {agent.id}", level="ok", message=shown))
    findings += [
        Finding(check="catalog", level="error", message=str(fault), remedy=fault.hint)
        for fault in stage.catalog.faults
    ]
    return findings


async def _database(stage: Stage) -> list[Finding]:
    faults = await anyio.to_thread.run_sync(stage.store.check)
    if not faults:
        return [Finding(check="database", level="ok", message="events are whole and without gaps")]
    return [
        Finding(check="database", level="error", message=str(fault), remedy=fault.hint)
        for fault in faults
    ]


def _sessions(records: list[SessionRecord]) -> list[Finding]:
    findings: list[Finding] = []
    for record in records:
        if record.state is SessionState.LOST:
            findings.append(
                Finding(
                    check="session",
                    level="warning",
                    message=f"{record.id} is lost: {record.reason}",
                    remedy=f"bullpen resume {record.id}",
                )
            )
        days = (time.time() - record.used_at) / 86400
        if record.state in LIVE and days > _STALE_DAYS:
            findings.append(
                Finding(
                    check="session",
                    level="warning",
                    message=f"{record.id} is alive and was not used for {days:.0f} days",
                    remedy=f"bullpen stop {record.id}",
                )
            )
    return findings or [Finding(check="session", level="ok", message=f"{len(records)} sessions")]


async def _orphans(stage: Stage, supervisor: Supervisor, *, fix: bool) -> list[Finding]:
    """Processes that carry the mark of one of our sessions which has no process any more."""
    running = await _ours(stage)
    # Asked for afterwards, or a session that is created or resumed meanwhile would seem to be
    # over while its process is there.
    alive = {one.id for one in await supervisor.records() if one.state in LIVE}
    found = [one for one in running if one.session not in alive]
    if not found:
        return [Finding(check="orphans", level="ok", message="no orphaned processes")]
    if fix:
        return [await _ended(one) for one in found]
    return [
        Finding(
            check="orphans",
            level="error",
            message=f"process {one.pid} of session {one.session} runs on: {one.command}",
            remedy="bullpen doctor --fix",
            fixable=True,
        )
        for one in found
    ]


async def _ours(stage: Stage) -> list[Marked]:
    """Return the processes of this host's sessions; another state folder has its own."""
    folder = stage.home.sessions.resolve()
    found = await anyio.to_thread.run_sync(marked)
    return [one for one in found if one.journal.parent == folder]


async def _ended(one: Marked) -> Finding:
    await reap_group(Identity(one.pid, one.start_time), grace=2.0)
    return Finding(
        check="orphans",
        level="ok",
        message=f"ended process {one.pid} of session {one.session}",
    )


async def _strays(stage: Stage, supervisor: Supervisor, *, fix: bool) -> list[Finding]:
    """Journal folders of sessions the store does not list."""
    if not stage.home.sessions.is_dir():
        return []
    there = list(stage.home.sessions.iterdir())
    living = {one.session for one in await _ours(stage)}
    # Asked for afterwards: a session is in the store before its folder is made.
    known = {record.id for record in await supervisor.records()}
    folders = [one for one in there if one.name not in known]
    findings: list[Finding] = []
    for folder in folders:
        if folder.name in living:
            continue
        if fix:
            await delete_folder(folder)
        findings.append(
            Finding(
                check="journals",
                level="ok" if fix else "warning",
                message=f"{'deleted' if fix else 'no session owns'} {folder}",
                remedy="" if fix else "bullpen doctor --fix",
                fixable=not fix,
            )
        )
    return findings


async def _worktrees(stage: Stage, records: list[SessionRecord]) -> list[Finding]:
    """Worktree folders no session owns. They may hold work, so a person decides."""
    owned = {record.path for record in records if record.path}
    findings: list[Finding] = []
    for folder in stage.home.worktrees.glob("*/*"):
        if str(folder) in owned:
            continue
        try:
            repository = await git.repository_of(folder)
            remedy = f"git -C {repository.common_dir} worktree remove {folder}"
        except ProgramNotFound as missing:
            remedy = missing.hint
        except BullpenError:
            remedy = f"look into it, then delete it: rm -r {folder}"
        findings.append(
            Finding(
                check="worktrees",
                level="warning",
                message=f"no session owns {folder}",
                remedy=remedy,
            )
        )
    return findings
