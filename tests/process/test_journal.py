"""What the folder of a session promises."""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bullpen.errors import JournalDamaged
from bullpen.process import Ending, Journal

if TYPE_CHECKING:
    from tests.process.conftest import Stage

NAMES = ["in", "out.jsonl", "err.log", "pid", "exit", "run"]


def test_everything_in_a_journal_is_for_the_user_alone(tmp_path: Path):
    journal = Journal(tmp_path / "sessions" / "a")
    assert journal.prepare(run=1) == 0
    assert stat.S_IMODE(journal.folder.stat().st_mode) == 0o700
    assert stat.S_ISFIFO(journal.stdin.stat().st_mode)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in journal.folder.iterdir()}
    assert modes == {"in": 0o600, "out.jsonl": 0o600, "err.log": 0o600, "run": 0o600}


def test_the_next_run_keeps_the_output_and_starts_behind_a_closed_line(tmp_path: Path):
    journal = Journal(tmp_path / "a")
    journal.prepare(run=1)
    first_fifo = journal.stdin.stat().st_ino
    held = os.open(journal.stdin, os.O_RDWR)
    journal.stdout.write_bytes(b"whole\nto")
    journal.exit_file.write_text("0 1\n")
    journal.pid_file.write_text("999999999 1\n")
    assert journal.prepare(run=2) == len(b"whole\nto\n")
    assert journal.stdout.read_bytes() == b"whole\nto\n"
    assert not journal.exit_file.exists()
    assert not journal.pid_file.exists()
    assert journal.stdin.stat().st_ino != first_fifo
    assert journal.prepare(run=3) == len(b"whole\nto\n")
    os.close(held)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_we_did_not_put_there_is_refused_and_left_alone(tmp_path: Path, name: str, kind: str):
    journal = Journal(tmp_path / "a")
    journal.prepare(run=1)
    journal.stdout.write_bytes(b"kept\n")
    target = tmp_path / "elsewhere"
    target.write_text("precious")
    (journal.folder / name).unlink(missing_ok=True)
    if kind == "link":
        (journal.folder / name).symlink_to(target)
    else:
        (journal.folder / name).mkdir()
    before = sorted(path.name for path in journal.folder.iterdir())
    with pytest.raises(JournalDamaged, match=f"'{name}' is no"):
        journal.prepare(run=2)
    assert sorted(path.name for path in journal.folder.iterdir()) == before
    assert target.read_text() == "precious"


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "real")
    with pytest.raises(JournalDamaged, match="no folder"):
        Journal(tmp_path / "a").prepare(run=1)


async def test_a_journal_is_not_prepared_under_a_living_agent(stage: "Stage"):
    child, follower = await stage.start(["/bin/sh", "-c", "echo up; read line"])
    assert (await follower.read()).lines == [b"up"]
    with pytest.raises(JournalDamaged, match="alive"):
        stage.journal.prepare(run=2)
    await child.write(b"\n")
    await child.wait()
    stage.journal.prepare(run=2)


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("0 2\n", Ending(0, None)),
        ("3 2\n", Ending(3, None)),
        ("137 2\n", Ending(137, 9)),
        ("255 2\n", Ending(255, None)),
        ("0 1\n", None),
        ("0 2", None),
        ("", None),
        ("nonsense\n", None),
        ("-1 2\n", None),
    ],
)
def test_an_ending_counts_only_when_whole_and_of_the_run(
    tmp_path: Path, text: str, ending: Ending | None
):
    journal = Journal(tmp_path / "a")
    journal.prepare(run=2)
    assert journal.ending(2) is None
    journal.exit_file.write_text(text)
    assert journal.ending(2) == ending


def test_the_tail_of_stderr_is_of_this_run_in_whole_lines(tmp_path: Path):
    journal = Journal(tmp_path / "a")
    assert journal.stderr_tail() == ""
    journal.prepare(run=1)
    journal.stderr.write_bytes(b"old trouble\n")
    assert journal.stderr_tail() == "old trouble"
    journal.prepare(run=2)
    assert journal.stderr_tail() == ""
    with journal.stderr.open("ab") as log:
        log.write(b"first line\nsecond \xff line\n")
    assert journal.stderr_tail() == "first line\nsecond \ufffd line"
    assert journal.stderr_tail(limit_bytes=20) == "second \ufffd line"
    assert journal.stderr_tail(limit_bytes=15) == "second \ufffd line"
    assert journal.stderr_tail(limit_bytes=5) == "line"
    journal.stderr.write_bytes(b"")
    assert journal.stderr_tail() == "", "somebody emptied the log"
