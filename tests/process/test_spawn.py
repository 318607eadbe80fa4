"""What an agent gets when it is started, and what is refused."""

import importlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from bullpen.errors import DirectoryMissing, JournalDamaged, ProgramNotFound
from bullpen.process import Ending, Follower, Journal, adopt, spawn

if TYPE_CHECKING:
    from tests.process.conftest import Stage

SHELLS = ["dash", "bash", "busybox"]
SPAWNING = importlib.import_module("bullpen.process.spawn")  # the room's verb has the same name


async def lines(follower: Follower, count: int) -> list[bytes]:
    got: list[bytes] = []
    with anyio.fail_after(10):
        while len(got) < count:
            got += (await follower.read()).lines
    return got


@pytest.mark.parametrize("shell", SHELLS)
async def test_an_agent_hears_answers_and_ends_under_every_shell(
    stage: "Stage", shell: str, monkeypatch: pytest.MonkeyPatch
):
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    (stage.folder / "sh").symlink_to(found)
    monkeypatch.setattr(SPAWNING, "_SHELL", str(stage.folder / "sh"))
    child, follower = await stage.python(
        "import signal, sys\n"
        "print('up')\n"
        "try:\n for line in sys.stdin: print('got', line.strip())\n"
        "except KeyboardInterrupt: print('interrupted'); sys.exit(7)"
    )
    assert await lines(follower, 1) == [b"up"]
    await child.write(b"one\n")
    await child.write(b"two\n")
    assert await lines(follower, 2) == [b"got one", b"got two"]
    child.interrupt()
    assert await lines(follower, 1) == [b"interrupted"]
    with anyio.fail_after(10):
        assert await child.wait() == Ending(7, None)
    assert stage.journal.ending(1) == Ending(7, None)
    assert stage.journal.stderr_tail() == ""


@pytest.mark.parametrize("shell", SHELLS)
async def test_the_wrapper_records_a_death_by_sigterm_it_got_itself(
    stage: "Stage", shell: str, monkeypatch: pytest.MonkeyPatch
):
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    (stage.folder / "sh").symlink_to(found)
    monkeypatch.setattr(SPAWNING, "_SHELL", str(stage.folder / "sh"))
    child, follower = await stage.start(["/bin/sh", "-c", "echo up; exec sleep 60"])
    await lines(follower, 1)
    os.killpg(child.pid, signal.SIGTERM)
    with anyio.fail_after(10):
        assert await child.wait() == Ending(143, 15)
    assert stage.journal.ending(1) == Ending(143, 15)


async def test_a_missing_program_or_directory_is_told_before_anything_is_made(stage: "Stage"):
    (stage.folder / "file").touch()
    (stage.folder / "no-x").write_text("#!/bin/sh\n")

    async def attempt(program: str, cwd: Path) -> None:
        await spawn(
            [program],
            journal=stage.journal,
            run=1,
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin"},
            watcher=stage.watcher,
        )

    with pytest.raises(ProgramNotFound, match=r"'no-such' on PATH '/usr/bin:/bin'"):
        await attempt("no-such", stage.folder)
    with pytest.raises(ProgramNotFound):
        await attempt("./no-x", stage.folder)
    with pytest.raises(DirectoryMissing, match="does not exist"):
        await attempt("cat", stage.folder / "missing")
    with pytest.raises(DirectoryMissing, match="not a directory"):
        await attempt("cat", stage.folder / "file")
    assert not stage.journal.folder.exists()


async def test_a_program_is_found_on_the_given_path_not_among_the_shells_own_words(stage: "Stage"):
    tools = stage.folder / "tools"
    tools.mkdir()
    for name in ("test", "agent"):
        (tools / name).write_text(f"#!/bin/sh\necho mine: {name} $1\n")
        (tools / name).chmod(0o755)
    for run, program in enumerate(("test", "agent", "tools/test"), start=1):
        env = {"PATH": f"{tools}:/usr/bin:/bin"}
        child, follower = await stage.start([program, "a  b"], run=run, env=env)
        assert await lines(follower, 1) == [f"mine: {Path(program).name} a b".encode()]
        await child.wait()


async def test_arguments_reach_the_agent_byte_for_byte(stage: "Stage"):
    words = ["", "a b", "$HOME `id` \"q\" 'q'", "-n", "line\nbreak", "*", "föö", "x=y", "--"]
    body = "import json, sys; print(json.dumps(sys.argv[1:]))"
    _, follower = await stage.start([sys.executable, "-S", "-c", body, *words])
    assert json.loads((await lines(follower, 1))[0]) == words


async def test_the_environment_is_what_was_given_and_the_marks(stage: "Stage"):
    os.environ["BULLPEN_TEST_SECRET"] = "x"
    try:
        given = {"run": "mine", "code": "mine", "journal": "mine", "EMPTY": "", "OLDPWD": "/"}
        _, follower = await stage.start(
            [sys.executable, "-S", "-c", "import json, os; print(json.dumps(dict(os.environ)))"],
            env=given,
        )
        seen = json.loads((await lines(follower, 1))[0])
    finally:
        del os.environ["BULLPEN_TEST_SECRET"]
    marks = {
        "BULLPEN_SESSION": "brisk-otter",
        "BULLPEN_RUN": "1",
        "BULLPEN_JOURNAL": str(stage.journal.folder),
        "PWD": str(stage.folder),
    }
    wanted = {**stage.env, **given, **marks}
    del wanted["OLDPWD"]
    seen.pop("LC_CTYPE", None)  # the interpreter's own doing where there is no locale
    wanted.pop("LC_CTYPE", None)
    for name in ("_", "SHLVL"):  # some shells add these
        seen.pop(name, None)
    assert seen == wanted


async def test_no_descriptor_of_ours_reaches_the_agent(stage: "Stage"):
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    os.set_blocking(reader, False)
    _, follower = await stage.start(["/bin/sh", "-c", "echo up; exec sleep 60"])
    await lines(follower, 1)
    os.close(writer)
    assert os.read(reader, 1) == b"", "end-of-file: nobody holds the other end"
    os.close(reader)


@pytest.mark.parametrize("shell", SHELLS)
async def test_an_interrupt_reaches_an_agent_of_a_service_that_ignores_and_blocks_interrupts(
    stage: "Stage", shell: str, monkeypatch: pytest.MonkeyPatch
):
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    (stage.folder / "sh").symlink_to(found)
    monkeypatch.setattr(SPAWNING, "_SHELL", str(stage.folder / "sh"))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        child, follower = await stage.start(["/bin/sh", "-c", "echo up; exec sleep 60"])
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    await lines(follower, 1)
    child.interrupt()
    with anyio.fail_after(10):
        assert await child.wait() == Ending(130, 2)
    child.interrupt()


async def test_two_wrappers_of_one_journal_start_one_agent(stage: "Stage"):
    first, follower = await stage.start(["/bin/sh", "-c", "echo up; exec sleep 60"])
    await lines(follower, 1)
    second = await spawn(
        ["/bin/sh", "-c", "echo never"],
        journal=stage.journal,
        run=1,
        cwd=stage.folder,
        env=stage.env,
        watcher=stage.watcher,
    )
    with anyio.fail_after(10):
        assert (await second.wait()).exit_code == 125
    second.close()
    assert first.identity.alive()
    assert stage.journal.stdout.read_bytes() == b"up\n"
    assert stage.journal.ending(1) is None


async def late(stage: "Stage") -> Ending:
    """Start a wrapper without preparing the journal, as one that was forked long ago."""
    child = await spawn(
        ["/bin/sh", "-c", "echo never"],
        journal=stage.journal,
        run=1,
        cwd=stage.folder,
        env=stage.env,
        watcher=stage.watcher,
    )
    with anyio.fail_after(10):
        ending = await child.wait()
    child.close()
    return ending


async def test_a_wrapper_that_wakes_after_its_run_was_given_up_starts_no_agent(stage: "Stage"):
    stage.journal.prepare(run=1)
    assert (
        await adopt(
            stage.journal, session="brisk-otter", run=1, identity=None, watcher=stage.watcher
        )
        is None
    )
    assert (await late(stage)).exit_code == 125
    assert stage.journal.stdout.read_bytes() == b""


@pytest.mark.parametrize("run", [1, 2])
async def test_a_wrapper_that_wakes_when_its_journal_was_prepared_anew_starts_no_agent(
    stage: "Stage", run: int, monkeypatch: pytest.MonkeyPatch
):
    stage.journal.prepare(run=1)
    before = stage.journal.prepared()
    stage.journal.prepare(run=run)

    def prepared(journal: Journal) -> str:
        return before

    monkeypatch.setattr(Journal, "prepared", prepared)
    assert (await late(stage)).exit_code == 125
    assert stage.journal.stdout.read_bytes() == b""


async def test_a_program_that_cannot_be_executed_ends_with_126_and_says_why(stage: "Stage"):
    broken = stage.folder / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    child, _ = await stage.start([str(broken)])
    with anyio.fail_after(10):
        ending = await child.wait()
    assert ending.exit_code in (126, 127)
    assert "broken" in stage.journal.stderr_tail()


async def test_a_journal_that_was_not_prepared_is_an_error_and_starts_nothing(stage: "Stage"):
    with pytest.raises(JournalDamaged, match="not prepared"):
        await spawn(
            ["cat"],
            journal=Journal(stage.folder / "nowhere"),
            run=1,
            cwd=stage.folder,
            env=stage.env,
            watcher=stage.watcher,
        )
