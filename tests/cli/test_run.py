import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bullpen.cli.exits import Refusal
from bullpen.cli.progress import questions, table
from bullpen.cli.run import left_running
from bullpen.cli.screen import clip, tame, wrap
from bullpen.cli.show import columns_of
from bullpen.cli.team import Brief, Team, listed_changes
from bullpen.cli.wire import Wire
from bullpen.model.home import Home
from bullpen.testing.fake_service import FakeService


@pytest.fixture
def world(tmp_path: Path) -> dict[str, str]:
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV") if name in os.environ
    }
    return kept | {
        "HOME": str(tmp_path),
        "BULLPEN_HOME": str(tmp_path / "home"),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "BULLPEN_NO_AUTOSTART": "1",
        "TERM": "xterm",
    }


@pytest.fixture
def service(world: dict[str, str]) -> Iterator[FakeService]:
    fake = FakeService(Home.of(world))
    fake.open()
    yield fake
    fake.close()


def run(
    world: dict[str, str], folder: Path, *words: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bullpen", "run", "--agent", "demo", *words]
    return subprocess.run(
        argv, cwd=folder, env=world, input=stdin, capture_output=True, text=True, timeout=30
    )


def test_each_brief_gets_a_session_and_those_done_are_stopped(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    (tmp_path / "one.md").write_text("# A title\n\nthe work\n")
    done = run(world, tmp_path, "one.md", "make it quick", "-", stdin="from a pipe\n")
    assert done.returncode == 0, done.stderr
    wanted = sorted(service.saw("POST", "/v1/sessions"), key=lambda one: one["labels"]["brief"])
    assert [one["title"] for one in wanted] == ["A title", "make it quick", "from a pipe"]
    assert wanted[0]["prompt"] == "# A title\n\nthe work\n"
    assert {one["place"] for one in wanted} == {"directory"}
    assert {one["state"] for one in service.sessions.values()} == {"stopped"}
    assert done.stdout.count("completed") == 3
    assert "1 file +2 -1" in done.stdout
    assert done.stderr.count("completed") == 3


def test_inside_a_repository_a_worktree_is_the_default(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    (tmp_path / ".git").mkdir()
    (tmp_path / "below").mkdir()
    run(world, tmp_path / "below", "a folder alone is no repository")
    (tmp_path / ".git" / "HEAD").touch()
    run(world, tmp_path / "below", "work")
    first, second = service.saw("POST", "/v1/sessions")
    assert (first["place"], second["place"]) == ("directory", "worktree")
    assert second["path"] == str(tmp_path / "below")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.md"], "brief file not found: 'missing.md'"),
        (["briefs/missing"], "brief file not found"),
        (["empty.md"], "brief 'empty.md' is empty"),
        (["latin.md"], "'latin.md' is not UTF-8: byte 0xe9 at offset 2"),
        (["folder"], "is a directory"),
        ([" "], "a brief is empty"),
        (["-", "-"], "standard input"),
        (["text", "--land", "--in", "directory"], "--land needs branches"),
    ],
)
def test_a_brief_that_cannot_be_used_is_refused_before_anything_starts(
    service: FakeService, world: dict[str, str], tmp_path: Path, words: list[str], said: str
):
    (tmp_path / "empty.md").write_text(" \n\n")
    (tmp_path / "latin.md").write_bytes(b"ca\xe9f")
    (tmp_path / "folder").mkdir()
    done = run(world, tmp_path, "a good one", *words, stdin="x")
    assert done.returncode == 2
    assert said in done.stderr
    assert service.requests == []


def test_finished_branches_land_in_order_and_a_conflict_hinders_no_other(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    class Refusing(dict[tuple[str, str], tuple[int, str, str]]):
        """Refuses the landing of whichever session has the second brief."""

        def __contains__(self, key: object) -> bool:
            return self._is_second(key)

        def __missing__(self, key: tuple[str, str]) -> tuple[int, str, str]:
            return 409, "landing-conflict", "branch 'b' conflicts with 'main' in 'a.py'"

        def _is_second(self, key: object) -> bool:
            second = [one for one in service.sessions.values() if one["labels"]["brief"] == "2"]
            return bool(second) and key == ("POST", f"/v1/sessions/{second[0]['id']}/land")

    service.refusals = Refusing()
    done = run(world, tmp_path, "a", "b", "c", "fail", "--land", "--in", "worktree")
    lands = [path for _, path, _ in service.requests if path.endswith("/land")]
    order = [service.sessions[path.split("/")[3]]["labels"]["brief"] for path in lands]
    assert order == ["1", "2", "3"]
    assert done.stdout.count("landed fake-otter") == 2
    assert "not landed: branch 'b' conflicts with 'main' in 'a.py'" in done.stdout
    assert "the model is ill" in done.stdout
    assert done.returncode == 1


def test_a_session_with_nothing_to_land_is_no_failure(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    where = ("POST", "/v1/sessions/fake-otter-1/land")
    service.refusals[where] = (409, "nothing-to-land", "nothing")
    done = run(world, tmp_path, "a", "--land", "--in", "worktree")
    assert done.returncode == 0
    assert "has nothing to land" in done.stdout


@pytest.mark.parametrize(("brief", "code"), [("fail", 3), ("ask", 4), ("question", 4)])
def test_how_the_turn_ended_shows_in_the_exit_code(
    service: FakeService, world: dict[str, str], tmp_path: Path, brief: str, code: int
):
    done = run(world, tmp_path, brief, "good")
    assert done.returncode == code
    if code == 4:
        assert "bullpen answer fake-otter" in done.stderr
        states = sorted(one["state"] for one in service.sessions.values())
        assert states[0] in ("asking", "stopped")


def test_time_runs_out_and_the_sessions_are_left_running(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    done = run(world, tmp_path, "hold", "-t", "0.3")
    assert done.returncode == 124
    assert "left running: fake-otter-1" in done.stderr
    assert service.sessions["fake-otter-1"]["state"] == "working"


def test_one_json_document_tells_everything(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    service.diffs["fake-otter-1"] = DIFF
    done = run(world, tmp_path, "one", "--json", "--diff", "--keep")
    document = json.loads(done.stdout)
    (entry,) = document["sessions"]
    assert (done.returncode, document["exit_code"]) == (0, 0)
    assert entry["outcome"] == "completed"
    assert entry["message"] == "one"
    assert entry["files"][0] == {"path": "a.py", "insertions": 2, "deletions": 1}
    assert entry["diff"] == DIFF.decode()
    assert service.sessions["fake-otter-1"]["state"] == "idle"


def test_an_error_of_every_brief_is_told_in_the_document(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    service.refusals["POST", "/v1/sessions"] = (404, "agent-unknown", "unknown agent 'demo'")
    done = run(world, tmp_path, "one", "--json")
    (entry,) = json.loads(done.stdout)["sessions"]
    assert (done.returncode, entry["session"], entry["outcome"]) == (1, None, None)
    assert entry["error"]["code"] == "agent-unknown"


def test_without_a_service_the_host_is_unreachable(world: dict[str, str], tmp_path: Path):
    done = run(world, tmp_path, "one")
    assert done.returncode == 255
    assert "no service answers" in done.stderr


def test_ctrl_c_leaves_the_sessions_running_and_says_how_to_get_back(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    argv = [sys.executable, "-m", "bullpen", "run", "--agent", "demo", "hold"]
    child = subprocess.Popen(argv, cwd=tmp_path, env=world, stderr=subprocess.PIPE, text=True)
    with child:
        assert child.stderr
        while "working" not in child.stderr.readline():
            """It starts."""
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
    assert child.returncode == 130
    assert "left running: fake-otter-1" in rest
    assert "bullpen attach fake-otter-1" in rest
    assert service.sessions["fake-otter-1"]["state"] == "working"


def test_ctrl_c_before_a_session_is_there_says_that_it_will_come():
    team = _team([{}, {"id": "a", "outcome": "working"}])
    said = left_running(team)
    assert f"bullpen list --label run={team.name}" in said
    assert "left running: a" in said
    assert "no session is at work" not in left_running(_team([{}]))


@pytest.mark.parametrize("plain", [True, False])
def test_on_a_terminal_the_table_is_drawn_in_place(
    service: FakeService, world: dict[str, str], tmp_path: Path, plain: bool
):
    ours, theirs = pty.openpty()
    if plain:
        world["NO_COLOR"] = "1"
    argv = [sys.executable, "-m", "bullpen", "run", "--agent", "demo", "good\x1b[2J"]
    with subprocess.Popen(argv, cwd=tmp_path, env=world, stdout=subprocess.PIPE, stderr=theirs):
        os.close(theirs)
        shown = _everything(ours)
    assert "1 of 1 done" in shown
    assert "\x1b[2J" not in shown
    assert ("\x1b[1m" in shown) is not plain
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def _everything(fd: int) -> str:
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(fd, 65536)
        except OSError:  # Linux says so when the other side is closed
            part = b""
        if not part:
            os.close(fd)
            return b"".join(parts).decode()
        parts.append(part)


DIFF = b"""diff --git a/a.py b/a.py
index 1..2 100644
--- a/a.py
+++ b/a.py
@@ -1,3 +1,4 @@
 same
--- a removed line that looks like a header
+++ an added one
+another
 same
diff --git a/new b c.txt b/new b c.txt
new file mode 100644
--- /dev/null
+++ b/new b c.txt
@@ -0,0 +1 @@
+x
\\ No newline at end of file
diff --git a/p.png b/p.png
Binary files a/p.png and b/p.png differ
"""


def test_lines_of_a_diff_are_counted_by_its_hunks():
    assert listed_changes(DIFF) == [("a.py", 2, 1), ("new b c.txt", 1, 0), ("p.png", 0, 0)]
    assert listed_changes(b"") == []


def _team(records: list[dict[str, Any]]) -> Team:
    home = Home.of({"BULLPEN_HOME": "/nonexistent"})
    briefs = [Brief(f"brief {number}", f"title {number}", "") for number in range(len(records))]
    team = Team(Wire(home, {}, start=False), briefs, wanted={})
    for member, record in zip(team.members, records, strict=True):
        member.record, member.outcome = record, record.get("outcome", "")
    return team


def test_the_report_counts_what_was_written_a_moment_before_the_end(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    made = run(world, tmp_path, "one", "--keep", "--json")
    (entry,) = json.loads(made.stdout)["sessions"]
    wire = Wire(Home.of(world), world, start=False)
    team = Team(wire, [Brief("one", "one", "")], wanted={})
    (member,) = team.members
    member.record = {"id": entry["session"]}
    member.changes, member.changes_at = {"files": 0}, time.monotonic()
    team.read_diffs()
    assert member.changes == {"files": 1, "insertions": 2, "deletions": 1}


def test_the_table_counts_a_member_once_more_after_its_end(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    run(world, tmp_path, "one", "--keep")
    team = Team(Wire(Home.of(world), world, start=False), [Brief("one", "one", "")], wanted={})
    (member,) = team.members
    member.record, member.ended = {"id": "fake-otter-1"}, time.monotonic()
    team.count_changes()
    assert member.changes == {"files": 1, "insertions": 2, "deletions": 1}
    asked = len(service.requests)
    member.changes_at = member.ended + 0.001
    team.count_changes()
    assert len(service.requests) == asked


def test_where_changes_cannot_be_counted_nothing_is_said_of_them(
    service: FakeService, world: dict[str, str], tmp_path: Path
):
    where = ("GET", "/v1/sessions/fake-otter-1/changes")
    service.refusals[where] = (409, "not-a-repository", "not inside a git repository")
    told = run(world, tmp_path, "one")
    assert (told.returncode, "nothing changed" in told.stdout) == (0, False)
    where = ("GET", "/v1/sessions/fake-otter-2/changes")
    service.refusals[where] = (409, "not-a-repository", "not inside a git repository")
    (entry,) = json.loads(run(world, tmp_path, "one", "--json").stdout)["sessions"]
    assert entry["changes"] is None


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_no_row_of_the_table_is_wider_than_the_screen(columns: int):
    ask = {"request": "1", "kind": "permission", "title": "日本語 " * 40}
    wide = {"id": "brisk-otter", "outcome": "working", "last_line": "日本語\x1b[31m\x9b2J" * 30}
    team = _team([wide, {"id": "an-asker", "outcome": "asking", "asks": [ask]}, {}])
    team.members[2].error = Refusal("x", "it is\nbroken " * 20)
    for text, _ in table(team, columns, 24):
        assert columns_of(text) < columns
        assert tame(text) == text


def test_a_low_screen_shows_those_at_work_and_counts_the_others():
    records = [{"id": f"s{number}", "outcome": "working"} for number in range(30)]
    team = _team(records)
    for member in team.members[:10]:
        member.ended = member.began
    lines = [text for text, _ in table(team, 80, 10)]
    assert len(lines) <= 10
    assert "s10" in lines[1]
    assert lines[-1].strip() == "and 23 more"


def test_an_ask_comes_with_the_command_that_answers_it():
    schema: dict[str, Any] = {"properties": {"colour": {}}}
    question: dict[str, Any] = {
        "request": "1",
        "kind": "question",
        "title": "which?",
        "schema": schema,
    }
    team = _team([{"id": "a", "outcome": "waiting", "asks": [question]}])
    (_, command) = (text for text, _ in questions(team.members[0], 100))
    assert command.strip() == "bullpen answer a fill colour=...    or    bullpen answer a decline"


def test_what_an_agent_says_cannot_drive_the_terminal():
    said = "a\x1b[31mred\x1b[0m\x1b]0;title\x07\x1bc\x9b2J\u202e\r\nb\tc"
    assert tame(said, lines=True) == "ared␛]0;title␇␛c\ufffd2J\ufffd\nb    c"
    assert tame(tame(said)) == tame(said)
    assert "\n" not in tame(said)
    assert all(letter.isprintable() for letter in tame(said))


def test_text_is_clipped_and_broken_by_what_it_takes_on_the_screen():
    assert clip("日本語", 5) == "日本…"
    assert clip("abc", 3) == "abc"
    assert clip("abc", 0) == ""
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("日本語日本", 4) == ["日本", "語日", "本"]
    assert wrap("a\n\nb", 80) == ["a", "", "b"]
    assert wrap("", 80) == []
