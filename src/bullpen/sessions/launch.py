"""Starting a session: a place, a process and a conversation, or none of the three."""

import importlib.metadata
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec

from bullpen.agents.catalog import command_of, dialect_of, environment_of, launch_modes
from bullpen.agents.dialect import Dialect, Launch, Open
from bullpen.errors import (
    AgentDied,
    BullpenError,
    HandshakeRefused,
    HandshakeTimedOut,
    LoginNeeded,
    ModelRefused,
    ModeUnsupported,
    ProgramNotFound,
)
from bullpen.model.agent import AgentProfile, LaunchMode
from bullpen.model.fact import (
    AgentLaunched,
    ConversationOpened,
    LaunchIntended,
    LoginRequired,
    SessionCreated,
)
from bullpen.model.session import SessionRecord, SessionState
from bullpen.process import Journal, spawn, whole_environment
from bullpen.sessions import placing, rehearsing, screens
from bullpen.sessions.ledger import Ledger
from bullpen.sessions.live import LiveSession
from bullpen.sessions.stage import Stage

VERSION = importlib.metadata.version("bullpen")


def mode_of(profile: AgentProfile, mode: str | None) -> LaunchMode | None:
    """Return the launch mode for `mode`, or the agent's default.

    Raises:
        ModeUnsupported: there is no such mode, or the agent cannot honour it.
    """
    if mode is None:
        return profile.default_mode
    known = set(launch_modes(profile))
    for one in LaunchMode:
        if one.value == mode and one in known:
            return one
    raise ModeUnsupported(profile.id, mode, tuple(sorted(one.value for one in known)))


def journal_of(stage: Stage, session: str) -> Journal:
    """Return where the session's process reads and writes."""
    return Journal(stage.home.sessions / session)


def speaker(stage: Stage, wanted: SessionCreated, record: SessionRecord) -> Dialect:
    """Return a dialect for the session's agent that was not spoken to yet."""
    profile = stage.catalog.find(wanted.agent)
    if record.interface == screens.TERMINAL:
        return screens.keeper_dialect(version=VERSION)
    mode = mode_of(profile, wanted.mode)
    name = profile.modes.get(mode) if mode else None
    return dialect_of(profile, mode=name, model=wanted.model, version=VERSION)


def opening(wanted: SessionCreated, ledger: Ledger, *, resume: bool) -> Open:
    """Return the order that begins the conversation."""
    return Open(
        directory=str(placing.working_directory(ledger.record)),
        resume=ledger.record.agent_session if resume else None,
        conversation=conversation_of(ledger.record.id, ledger.record.run),
        mcp_servers=wanted.mcp_servers,
    )


def conversation_of(session: str, run: int) -> str:
    """Return what we call a conversation that begins in that run: always the same UUID."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"bullpen:{session}/{run}"))


async def launch(
    stage: Stage,
    ledger: Ledger,
    wanted: SessionCreated,
    *,
    resume: bool,
    scope: anyio.CancelScope,
    adopt_into: Callable[[LiveSession], None],
) -> None:
    """Start the process of a session in state `starting` and shake hands.

    `adopt_into` gets the session as soon as it has a process, to run it. On any error, and when
    `scope` is cancelled, the process is gone, a place made here is gone, and the session is
    `failed` with the reason. When the whole service is on its way down, nothing is undone: the
    next one finds the session `starting` and begins anew.

    Raises:
        ProgramNotFound, ModeUnsupported: nothing was started.
        LoginNeeded, HandshakeRefused, HandshakeTimedOut, AgentDied: the agent would not talk.
        ModelRefused: it would not talk with that model.
        DirectoryMissing, SetupFailed, and git's errors: the place could not be made.
    """
    profile = stage.catalog.find(wanted.agent)
    made = None
    live: LiveSession | None = None
    try:
        if resume and profile.quirks.names_by_minute:
            await _next_minute(stage, ledger)
        made = await placing.prepare(stage, ledger, wanted)
        live = await _start(stage, ledger, wanted, profile, resume=resume)
        adopt_into(live)
        # Prompts may have come before there was a process to send them to.
        await ledger.committed()
        await live.load_texts()
        live.open(opening(wanted, ledger, resume=resume))
        await _shaken(ledger, live, profile)
        if live.model_refusal is not None and not resume:
            raise ModelRefused(profile.id, wanted.model or "", live.model_refusal)
        # A conversation that comes back does so even where its model is offered no more.
        live.begin()
    except BaseException as fault:
        if scope.cancel_called or not isinstance(fault, anyio.get_cancelled_exc_class()):
            with anyio.CancelScope(shield=True):
                await _undo(ledger, live, made, fault)
        raise


async def _next_minute(stage: Stage, ledger: Ledger) -> None:
    """Wait until the minute in which the conversation began is over, a minute at most."""
    began = ledger.record.created_at
    kinds = ("conversation-opened",)
    for event in await stage.store.events(ledger.record.id, kinds=kinds):
        if isinstance(event.fact, ConversationOpened) and not event.fact.resumed:
            began = event.at
    # By the wall clock, as the agent does.
    now = time.time()
    if began // 60 == now // 60:
        await anyio.sleep(60.1 - now % 60)


async def _start(
    stage: Stage, ledger: Ledger, wanted: SessionCreated, profile: AgentProfile, *, resume: bool
) -> LiveSession:
    mode = mode_of(profile, wanted.mode)
    package = Path(__file__).parents[1]
    session, run = ledger.record.id, ledger.record.run + 1
    said = Launch(
        directory=str(placing.working_directory(ledger.record)),
        mode=profile.modes.get(mode) if mode else None,
        model=wanted.model,
        resume=ledger.record.agent_session if resume else None,
        conversation=conversation_of(session, run),
        mcp_servers=wanted.mcp_servers,
        package=str(package),
    )
    journal = journal_of(stage, session)
    offset = journal.prepare(run=run)
    argv = _argv(stage, ledger.record, wanted, profile, said)
    write_meta(journal, session=session, run=run, wanted=wanted, profile=profile)
    # The intent stands in the store before the process exists, and the process carries the
    # session and run in its environment: a crash in between can neither lose nor double it.
    # What an earlier run never read is of no use to this one, whose intents begin at 1 again.
    stale = [intent.number for intent in await stage.store.unwritten(session)]
    own, notes = own_environment(profile, mode)
    intended = LaunchIntended(run=run, argv=argv, offset=offset, resume=resume, notes=notes)
    await ledger.write(intended, written=stale).wait()
    marks = {"BULLPEN_SESSION": session, "BULLPEN_RUN": str(run)}
    environment = whole_environment(
        stage.environment,
        passes=rehearsing.passes(profile, wanted.rehearsal),
        sets=own,
        user=wanted.environment | marks | own_places(stage),
    )
    dialect = speaker(stage, wanted, ledger.record)
    try:
        child = await spawn(
            argv,
            journal=journal,
            run=run,
            cwd=placing.working_directory(ledger.record),
            env=environment,
            watcher=stage.watcher,
        )
    except ProgramNotFound as missing:
        hint = f"install it: {profile.install_hint}" if profile.install_hint else ""
        raise ProgramNotFound(missing.program, missing.path, hint) from missing
    identity = child.identity
    ledger.write(AgentLaunched(run=run, pid=identity.pid, start_time=identity.start_time))
    try:
        return LiveSession(stage=stage, ledger=ledger, dialect=dialect, child=child, offset=offset)
    except OSError:
        # No descriptor left to follow it with: an agent nobody would hear.
        await child.reap(grace=0)
        child.close()
        raise


def _argv(
    stage: Stage,
    record: SessionRecord,
    wanted: SessionCreated,
    profile: AgentProfile,
    said: Launch,
) -> list[str]:
    """Return what is started: the agent, or who keeps its screen or its rehearsal."""
    mode, package = mode_of(profile, wanted.mode), Path(said.package)
    argv = command_of(profile, mode=mode, python=sys.executable, package=package, launch=said)
    if record.interface == screens.TERMINAL:
        shown = screens.screen_command(profile, mode=mode, launch=said, package=said.package)
        _must_exist(stage, profile, shown[0])
        _must_exist(stage, profile, "tmux")
        argv = screens.kept(shown, profile=profile, home=stage.home, session=record.id, launch=said)
    if wanted.rehearsal is None:
        return argv
    _must_exist(stage, profile, argv[0])
    return rehearsing.wrapped(
        argv,
        profile=profile,
        script=wanted.rehearsal,
        folder=journal_of(stage, record.id).folder,
        directory=Path(said.directory),
    )


def own_places(stage: Stage) -> dict[str, str]:
    """Return where an agent finds us, to lead other agents or to report its goal."""
    home = stage.home
    return {"BULLPEN_HOME": str(home.folder), "BULLPEN_SOCKET": str(home.socket)}


def _must_exist(stage: Stage, profile: AgentProfile, program: str) -> None:
    """Find out before the launcher would, whose own words are hard to read."""
    path = stage.environment.get("PATH", os.defpath)
    if shutil.which(program, path=path) is None:
        hint = f"install it: {profile.install_hint}" if profile.install_hint else ""
        hint = "install tmux" if program == "tmux" else hint
        raise ProgramNotFound(program, path, hint)


def own_environment(
    profile: AgentProfile, mode: LaunchMode | None
) -> tuple[dict[str, str], list[str]]:
    """Return the variables to set for the agent, and what the user should know about them."""
    sets = environment_of(profile, mode=mode)
    switch = profile.quirks.root_environment
    if mode is not LaunchMode.BYPASS or not switch or os.geteuid() != 0:
        return sets, []
    names = ", ".join(f"{name}={value}" for name, value in switch.items())
    said = f"{profile.name} refuses to ask nothing when it runs as root, so {names} is set for it"
    return sets | switch, [said]


async def _shaken(ledger: Ledger, live: LiveSession, profile: AgentProfile) -> None:
    with anyio.move_on_after(profile.start_timeout) as patience:
        await live.opened.wait()
    tail = live.child.journal.stderr_tail
    if patience.cancelled_caught:
        raise HandshakeTimedOut(profile.id, profile.start_timeout, tail())
    fault = live.opening_fault
    if isinstance(fault, LoginRequired):
        raise LoginNeeded(profile.id, _how_to_log_in(profile, fault))
    if fault is not None:
        raise HandshakeRefused(
            profile.id,
            fault.message or fault.code,
            is_unknown_conversation=fault.code == "conversation-not-found",
        )
    if live.ending is not None and ledger.record.state is not SessionState.IDLE:
        raise AgentDied(profile.id, live.ending.exit_code, tail())


def _how_to_log_in(profile: AgentProfile, asked: LoginRequired) -> str:
    offered = ", ".join(method.name or method.id for method in asked.methods)
    said = profile.login_hint or asked.message
    return f"{said} (the agent offers: {offered})" if offered else said


async def _undo(ledger: Ledger, live: LiveSession | None, made: Any, fault: BaseException) -> None:
    record = ledger.record
    reason = str(fault) if isinstance(fault, BullpenError) else "the start was cancelled"
    if record.state is SessionState.STOPPING:
        reason = record.reason
    if live is not None:
        await live.abandon(reason)
    if made is not None and record.repo:
        await placing.unmake(
            Path(record.repo), Path(made.path), branch=made.branch, commit=made.base_commit
        )


def write_meta(
    journal: Journal, *, session: str, run: int, wanted: SessionCreated, profile: AgentProfile
) -> None:
    """Write `meta.json`: what a person, or a replay without the store, needs to read a journal."""
    meta = {
        "session": session,
        "run": run,
        "agent": profile.id,
        "dialect": profile.dialect,
        "directory": wanted.directory,
        "place": wanted.place,
    }
    draft = journal.folder / "meta.json.new"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(meta)) + b"\n")
    draft.replace(journal.folder / "meta.json")
