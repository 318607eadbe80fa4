"""The command against the real service and a real agent that follows a script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Service

    Until = Callable[[Callable[[], bool]], None]


def test_many_verbs_at_once_start_one_service(own_service: Service):
    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(own_service.bullpen, ["list"] * 8))
    assert [(one.code, one.out, one.err) for one in ended] == [(0, "No active sessions\n", "")] * 8
    log = own_service.home.service_log.read_text()
    assert log.count("serving ") == 1
    assert "nothing to do" not in log, "a second one was started and found the first"


def test_the_service_stands_on_its_own_feet(own_service: Service):
    own_service.bullpen("list", env={"BULLPEN_SESSION": "lead", "BULLPEN_SESSION_KEY": "k"})
    pid = own_service.pid()
    assert os.getsid(pid) == pid
    process = psutil.Process(pid)
    assert process.cwd() == "/"
    assert not [name for name in process.environ() if name.startswith("BULLPEN_SESSION")]


def test_serve_status_daemon_and_stop_may_each_be_said_twice(own_service: Service):
    bullpen = own_service.bullpen
    assert [bullpen("serve", "--status").code for _ in range(2)] == [255, 255]
    assert bullpen("serve", "--stop").out == "No service is running\n"
    first, second = (bullpen("serve", "--daemon", "--json").json["pid"] for _ in range(2))
    assert first == second == own_service.pid()
    assert bullpen("serve", "--stop").out == "Stopped the service; agents go on\n"
    assert bullpen("serve", "--stop", "--json").json == {"stopped": False}
    assert bullpen("serve", "--status", "--json").code == 255


def test_a_service_that_cannot_start_is_told_with_its_last_words(own_service: Service):
    own_service.home.folder.mkdir(parents=True)
    own_service.home.service_log.write_text("what an earlier service said\n")
    own_service.home.service_lock.mkdir()
    ended = own_service.bullpen("list")
    own_service.home.service_lock.rmdir()
    assert ended.code == 255
    assert ended.err.startswith("error: the service ended with code 1 before it answered\nhint: ")
    assert "IsADirectoryError" in ended.err
    assert "an earlier service" not in ended.err


def test_a_state_folder_that_cannot_be_made_is_named(own_service: Service):
    own_service.home.folder.symlink_to("nowhere")
    ended = own_service.bullpen("list")
    own_service.home.folder.unlink()
    assert ended.code == 255
    assert ended.err == (
        f"error: cannot use the state folder '{own_service.home.folder}': File exists\n"
        "hint: set BULLPEN_HOME to a folder you can write to\n"
    )


def test_wait_outlives_a_service_that_is_killed_in_the_middle_of_a_turn(
    own_service: Service, until: Until
):
    session = own_service.create("--prompt", "%% wait-file go\n%% say done")
    until(lambda: own_service.bullpen("status", session).out == "working\n")
    killed = psutil.Process(own_service.pid())
    waiting = own_service.bullpen.begin("wait", session, "-t", "60")
    following = own_service.bullpen.begin("events", session, "--follow")
    assert following.stdout is not None
    first = [json.loads(following.stdout.readline()) for _ in range(3)]
    killed.kill()
    psutil.wait_procs([killed], timeout=10)
    until(lambda: own_service.bullpen("serve", "--status").code == 0)
    assert own_service.pid() != killed.pid
    assert waiting.poll() is None
    (own_service.folder / "go").touch()
    out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, out, err) == (0, b"completed\n", b"")
    total = own_service.bullpen("inspect", session).json["seq"]
    rest = [json.loads(following.stdout.readline()) for _ in range(total - 3)]
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=30)
    assert following.returncode == 130
    assert [event["seq"] for event in first + rest] == list(range(1, total + 1))
    assert own_service.bullpen("last-message", session).out.strip() == "done"


@pytest.mark.parametrize(
    "text", ["- list\n- of;\n\n", "$(x) `y` \"'\\ π 🦦\x07", "x" * 3_000_000, "\r\n crlf \r\n"]
)
def test_a_prompt_reaches_the_conversation_byte_for_byte(service: Service, text: str):
    session = service.create()
    sent = service.bullpen("send", session, "-f", "-", "--wait", stdin=text.encode())
    assert (sent.code, sent.out) == (0, "completed\n")
    entries = service.bullpen("logs", session, "--json").json
    assert entries[0]["text"] == text


def test_ask_prints_the_reply_of_its_own_turn(service: Service):
    session = service.create()
    with ThreadPoolExecutor(4) as pool:
        steps = [f"%% say reply {number}" for number in range(4)]
        ended = list(pool.map(service.bullpen, ["ask"] * 4, [session] * 4, steps))
    assert [one.out.strip() for one in ended] == [f"reply {number}" for number in range(4)]


def test_the_same_key_sends_once(service: Service):
    session = service.create()
    answers = [
        service.bullpen("send", session, "%% say hi", "--key", f"k-{session}", "--json").json
        for _ in range(2)
    ]
    assert answers[0]["turn"] == answers[1]["turn"] == 1
    assert service.bullpen("wait", session).out == "completed\n"
    assert service.bullpen("inspect", session).json["turns"] == 1


def test_the_same_key_creates_once(service: Service):
    words = ("create", "--agent", "demo", "-q", "--key", "one-and-only")
    assert service.bullpen(*words).out == service.bullpen(*words).out != ""


def test_sessions_made_at_once_have_ids_of_their_own(service: Service):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(service.create, ["--label=team=crowd"] * 8))
    assert len(set(made)) == 8
    listed = service.bullpen("list", "--label", "team=crowd", "-q").out.split()
    assert sorted(listed) == sorted(made)


@pytest.mark.parametrize(
    ("script", "word", "code"),
    [
        ("%% say fine", "completed", 0),
        ("%% refuse", "refused", 3),
        ("%% stop max_tokens", "truncated", 3),
        ("%% error -32000 overloaded", "failed", 3),
        ("%% crash 7", "failed", 3),
        ("%% ask May I?", "asking", 4),
        ("%% question Which one?", "waiting", 4),
    ],
)
def test_the_end_of_a_turn_decides_word_and_exit_code(
    service: Service, script: str, word: str, code: int
):
    session = service.create("--prompt", script)
    ended = service.bullpen("wait", session, "-t", "60")
    assert (ended.code, ended.out) == (code, f"{word}\n")
    again = service.bullpen("wait", session, "--turn", "1", "-t", "60")
    assert (again.code, again.out) == (code, f"{word}\n")


def test_time_runs_out_and_the_agent_goes_on(service: Service):
    session = service.create("--prompt", "%% wait-file never-there")
    ended = service.bullpen("wait", session, "-t", "0.2")
    assert (ended.code, ended.out) == (124, "")
    assert service.bullpen("status", session).out == "working\n"
    assert service.bullpen("interrupt", session).code == 0
    over = service.bullpen("wait", session, "-t", "60")
    assert (over.code, over.out) == (3, "cancelled\n")


def test_wait_any_returns_with_the_first(service: Service):
    slow = service.create("--prompt", "%% wait-file never-there")
    quick = service.create("--prompt", "%% say done")
    ended = service.bullpen("wait", "--any", slow, quick, "-t", "60")
    assert (ended.code, ended.out) == (0, f"{quick} completed\n")


def test_a_permission_is_shown_and_allowed_from_the_shell(service: Service):
    session = service.create("--prompt", "%% ask May I?\n%% say thank you")
    service.bullpen("wait", session, "-t", "60")
    shown = service.bullpen("answer", session).out
    assert "May I?" in shown
    assert f"bullpen answer {session} choose " in shown
    assert service.bullpen("answer", session, "allow").code == 0
    assert service.bullpen("wait", session, "-t", "60").out == "completed\n"
    assert service.bullpen("last-message", session).out.strip() == "thank you"


def test_a_session_that_died_says_so_and_comes_back(service: Service):
    session = service.create("--prompt", "%% crash 7")
    ended = service.bullpen("wait", session, "-t", "60")
    assert f"{session} is failed: " in ended.err
    assert service.bullpen("resume", session).out == f"Resumed session {session}\n"
    assert service.bullpen("ask", session, "%% say back").out.strip() == "back"


def test_a_directory_that_does_not_exist_leaves_no_session(service: Service):
    before = service.bullpen("list", "--all", "-q").out
    ended = service.bullpen("create", "--agent", "demo", "-p", "nope", "--json")
    assert (ended.code, ended.json["error"]["code"]) == (1, "directory-missing")
    assert service.bullpen("list", "--all", "-q").out == before


def test_an_agent_that_does_not_exist_is_told_with_near_ones(service: Service):
    ended = service.bullpen("create", "--agent", "dmeo")
    assert ended.code == 1
    assert "did you mean demo" in ended.err


def test_work_in_a_worktree_is_shown_landed_and_removed(service: Service):
    repo = service.folder / "repo"
    git = ["git", "-C", str(repo), "-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q", "-b", "main", str(repo)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "First"], check=True)
    script = "%% write new.txt hello\n%% commit Add a file"
    session = service.create("-p", "repo", "--in", "worktree", "--prompt", script)
    assert service.bullpen("wait", session, "-t", "60").out == "completed\n"
    assert "+hello" in service.bullpen("diff", session).out
    assert service.bullpen("diff", session, "--stat").out == "1 file, +1 -0\n"
    landed = service.bullpen("land", session)
    assert landed.out.startswith(f"Landed session {session} on main as "), landed.err
    assert (repo / "new.txt").read_text() == "hello\n"
    assert service.bullpen("land", session, "--json").json["error"]["code"] == "nothing-to-land"
    busy = service.bullpen("remove", session)
    assert (busy.code, busy.out) == (1, "")
    assert service.bullpen("stop", session).out == f"Stopped session {session}\n"
    assert service.bullpen("remove", session).out == f"Removed session {session}\n"
    assert service.bullpen("status", session).code == 1


def test_doctor_and_prune_run(service: Service):
    assert service.bullpen("doctor", "--json").json["findings"]
    assert service.bullpen("prune", "--dry-run").code == 0


def test_a_script_for_dev_sessions_runs_unchanged(service: Service):
    dev = service.dev
    created = dev("create", "-q", "--cli", "demo", "-d", "helper", "-m", "native")
    session = created.out.strip()
    assert dev("status", session).out == "idle\n"
    assert dev("wait", session, "-t", "1").err == f"Timed out waiting for {session}\n"
    assert dev("send", session, "%% say first\n%% say second").out == f"Sent message to {session}\n"
    assert dev("wait", session).out == "completed\n"
    assert dev("ask", session, "--", "- a reply?").out != ""
    stored = dev("inspect", session).json
    assert (stored["description"], stored["status"]) == ("helper", "active")
    assert session in dev("list").out
    assert dev("kill", session).out == f"Killed session {session}\n"
    assert dev("status", session).err == f"Session not found: {session}\n"
    assert session not in dev("list").out


def test_a_question_is_answered_by_a_message_as_with_dev_sessions(service: Service):
    dev = service.dev
    session = dev("create", "-q", "--cli", "demo").out.strip()
    dev("send", session, "%% question Which colour?")
    ended = dev("wait", session, "-t", "60")
    assert ended.code == 1
    assert ended.err.startswith(f"Session {session} is waiting for input: Which colour?\n")
    assert dev("status", session).out == "waiting_for_input\n"
    assert dev("send", session, "red").code == 0
    assert dev("wait", session).out == "completed\n"
    assert "red" in dev("last-message", session).out
