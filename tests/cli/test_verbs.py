"""What the other verbs ask for and print."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from bullpen.cli.asks import ACTIONS
from bullpen.cli.listing import STATES
from bullpen.model.session import SessionState

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command, Stub

NEW = {"id": "brisk-otter", "agent": "demo", "state": "idle", "outcome": "idle"}


def test_create_prints_the_id_in_a_sentence_alone_or_in_the_record(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions", NEW, status=201)
    assert bullpen("create").out == "Created session brisk-otter\n"
    assert bullpen("create", "-q").out == "brisk-otter\n"
    assert bullpen("create", "-q", "--json").json == NEW


def test_create_asks_for_what_was_given_and_for_nothing_else(
    bullpen: Command, stub: Stub, tmp_path: Path
):
    stub.on("POST", "/v1/sessions", NEW, status=201)
    bullpen("create", "--agent", "demo")
    assert stub.asked[0].json == {
        "agent": "demo",
        "path": str(tmp_path),
        "place": "directory",
        "wait": True,
    }


@pytest.mark.parametrize("verb", ["create", "run work", "list --path ."])
def test_a_deleted_directory_is_named_and_no_bug(
    bullpen: Command, stub: Stub, tmp_path: Path, verb: str
):
    (tmp_path / "gone").mkdir()
    line = f"cd gone && rmdir ../gone && exec '{sys.executable}' -m bullpen {verb}"
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=tmp_path,
        env=bullpen.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: the current directory was deleted\nhint: " in done.stderr


def test_list_refuses_a_state_there_is_none_of(bullpen: Command, stub: Stub):
    assert set(STATES) == {state.value for state in SessionState}
    refused = bullpen("list", "--state", "runing")
    assert refused.code == 2
    assert "invalid choice: 'runing' (choose from 'queued'," in refused.err


def test_create_passes_every_option_on(bullpen: Command, stub: Stub, tmp_path: Path):
    stub.on("POST", "/v1/sessions", NEW, status=201)
    (tmp_path / "p.md").write_text("do it\n")
    words = (
        "create -p sub --cli codex --in worktree --branch b --base main --mode edit --model m "
        "--id my-id --setup make --setup-timeout 9 --env A=1=2 --env B= --label team=red "
        "--sparse src --sparse docs --parent lead --prompt-file p.md --key k --no-wait "
        "--interface terminal --rehearse s.yaml --policy p.toml --fallback pi --budget-usd 1.5 "
        "--budget-tokens 1000"
    )
    assert bullpen(*words.split(), "-d", "Fix it").code == 0
    assert stub.asked[0].headers["idempotency-key"] == "k"
    assert stub.asked[0].json == {
        "agent": "codex",
        "path": str(tmp_path / "sub"),
        "place": "worktree",
        "branch": "b",
        "base": "main",
        "id": "my-id",
        "title": "Fix it",
        "mode": "edit",
        "model": "m",
        "environment": {"A": "1=2", "B": ""},
        "setup": "make",
        "setup_timeout": 9.0,
        "sparse": ["src", "docs"],
        "parent": "lead",
        "labels": {"team": "red"},
        "interface": "terminal",
        "rehearsal": str(tmp_path / "s.yaml"),
        "policy": str(tmp_path / "p.toml"),
        "fallback": "pi",
        "budget_usd": 1.5,
        "budget_tokens": 1000,
        "prompt": "do it\n",
        "wait": False,
    }


def test_create_knows_its_parent_and_the_users_agent_from_the_environment(
    bullpen: Command, stub: Stub
):
    stub.on("POST", "/v1/sessions", NEW, status=201)
    bullpen("create", env={"BULLPEN_SESSION": "lead", "BULLPEN_AGENT": "pi"})
    assert (stub.asked[0].json["parent"], stub.asked[0].json["agent"]) == ("lead", "pi")


def test_a_session_that_is_queued_says_why(bullpen: Command, stub: Stub):
    queued = {**NEW, "state": "queued", "reason": "12 of 12 sessions are live"}
    stub.on("POST", "/v1/sessions", queued, status=201)
    ended = bullpen("create", "-q")
    assert (ended.out, ended.err) == ("brisk-otter\n", "queued: 12 of 12 sessions are live\n")


@pytest.mark.parametrize(
    "words",
    [
        ("--branch", "b"),
        ("--prompt", "x", "--prompt-file", "y"),
        ("--env", "A"),
        ("--mode", "native"),
        ("--in", "container"),
    ],
)
def test_a_creation_that_contradicts_itself_is_a_usage_error(
    bullpen: Command, words: tuple[str, ...]
):
    assert bullpen("create", *words).code == 2


def test_status_of_several_names_them(bullpen: Command, stub: Stub):
    stub.record("a", state="working", outcome="working", since=5.0, reason="turn 1")
    stub.record("b", state="asking")
    assert bullpen("status", "a").out == "working\n"
    assert bullpen("status", "a", "b").out == "a working\nb asking\n"
    assert bullpen("status", "a", "--json").json == {
        "id": "a",
        "state": "working",
        "outcome": "working",
        "since": 5.0,
        "reason": "turn 1",
    }


def test_an_empty_list_says_so_and_is_an_empty_array_as_json(bullpen: Command, stub: Stub):
    stub.on("GET", "/v1/sessions", {"sessions": []})
    assert bullpen("list").out == "No active sessions\n"
    assert bullpen("list", "--json").json == []


def test_the_list_is_a_table(bullpen: Command, stub: Stub, environment: dict[str, str]):
    now = time.time()
    rows = [
        {**NEW, "directory": environment["HOME"] + "/r", "since": now - 130, "turns": 2},
        {
            "id": "calm-fox",
            "agent": "claude",
            "state": "asking",
            "directory": "/w",
            "path": "/wt/calm-fox",
            "branch": "b/calm-fox",
            "title": "Prüfe\n日本\x1b[2J",
            "since": now - 90000,
        },
    ]
    stub.on("GET", "/v1/sessions", {"sessions": rows})
    assert bullpen("list").out == (
        "ID           AGENT   STATE   SINCE  TURNS  BRANCH      TITLE           PATH\n"
        "brisk-otter  demo    idle    2m     2      -           -               ~/r\n"
        "calm-fox     claude  asking  1d     0      b/calm-fox  Prüfe 日本␛[2J  /wt/calm-fox\n"
    )
    assert bullpen("list", "-q").out == "brisk-otter\ncalm-fox\n"
    assert bullpen("list", "--json").json == rows


def test_list_passes_its_filters_on(bullpen: Command, stub: Stub, tmp_path: Path):
    stub.on("GET", "/v1/sessions", {"sessions": []})
    words = "list --all --state idle --state asking --agent pi -p x --parent lead"
    bullpen(*words.split(), "--label", "a=b", "--label", "c=d e")
    assert stub.asked[0].query == {
        "all": ["1"],
        "state": ["idle", "asking"],
        "agent": ["pi"],
        "directory": [str(tmp_path / "x")],
        "parent": ["lead"],
        "label": ["a=b", "c=d e"],
    }


def test_last_messages_are_joined_by_a_blank_line_and_as_json_keep_theirs(
    bullpen: Command, stub: Stub
):
    texts = ["one\n\nblank \x1b[1m", "two\n"]
    messages = [{"turn": 1, "text": text} for text in texts]
    stub.on("GET", "/v1/sessions/a/messages", {"messages": messages})
    assert bullpen("last-message", "a", "-n", "2").raw == b"one\n\nblank \x1b[1m\n\ntwo\n\n"
    assert bullpen("last-message", "a", "-n", "2", "--json").json == texts
    assert stub.asked[0].query == {"count": ["2"]}


def test_no_message_prints_nothing(bullpen: Command, stub: Stub):
    stub.on("GET", "/v1/sessions/a/messages", {"messages": []})
    assert bullpen("last-message", "a").out == ""
    assert bullpen("last-message", "a", "--json").json == []


def test_logs_label_who_spoke(bullpen: Command, stub: Stub):
    entries = [{"role": "human", "text": "hi", "turn": 1}, {"role": "assistant", "text": "ho\n"}]
    stub.on("GET", "/v1/sessions/a/log", {"entries": entries})
    assert bullpen("logs", "a").out == "[HUMAN]\nhi\n\n[ASSISTANT]\nho\n\n"
    assert bullpen("logs", "a", "--json").json == entries
    stub.on("GET", "/v1/sessions/b/log", {"entries": []})
    assert bullpen("logs", "b").out == "No conversation history available\n"


def test_what_an_agent_wrote_cannot_drive_a_terminal(bullpen: Command, stub: Stub):
    text = "safe\x1b]0;title\x07\x9b2J\u202e\tend"
    stub.on("GET", "/v1/sessions/a/messages", {"messages": [{"turn": 1, "text": text}]})
    leader, follower = os.openpty()
    command = [*bullpen.argv, "last-message", "a"]
    done = subprocess.run(command, stdout=follower, env=bullpen.environment, check=False)
    os.close(follower)
    shown = os.read(leader, 4096)
    os.close(leader)
    assert done.returncode == 0
    assert shown.decode().rstrip() == "safe␛]0;title␇\ufffd2J\ufffd\tend"


def test_a_list_is_cut_at_the_edge_of_the_terminal(bullpen: Command, stub: Stub):
    stub.on("GET", "/v1/sessions", {"sessions": [{**NEW, "directory": "/" + "x" * 300}]})
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    command = [*bullpen.argv, "list"]
    subprocess.run(command, stdout=follower, env=bullpen.environment, check=True)
    os.close(follower)
    shown = os.read(leader, 4096).decode().splitlines()
    os.close(leader)
    assert [len(line) <= 40 for line in shown] == [True, True]


def test_inspect_prints_the_whole_record(bullpen: Command, stub: Stub):
    record = stub.record("a", labels={"ü": "1"})
    assert bullpen("inspect", "a").json == record


def test_events_are_lines_and_pages_are_joined(bullpen: Command, stub: Stub):
    first = [{"session": "a", "seq": seq, "fact": {"kind": "x"}} for seq in range(8, 1008)]
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    page = b"".join(json.dumps(event).encode() + b"\n" for event in first)
    stub.on("GET", "/v1/sessions/a/events", raw=head + page)
    stub.on("GET", "/v1/sessions/a/events", raw=head + b'{"seq":1008}\n')
    ended = bullpen("events", "a", "--after", "7")
    assert [json.loads(line)["seq"] for line in ended.out.splitlines()] == list(range(8, 1009))
    assert [one.query["after"] for one in stub.asked] == [["7"], ["1007"]]


def test_followed_events_go_on_where_they_broke_off_and_hide_signs_of_life(
    bullpen: Command, stub: Stub
):
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    stub.on("GET", "/v1/sessions/a/events", raw=head + b'{"seq":1}\n{"keepalive":true}\n{"se')
    stub.on("GET", "/v1/sessions/a/events", raw=head + b'{"seq":2}\n')
    stub.refuse("GET", "/v1/sessions/a/events", "session-not-found", "gone")
    ended = bullpen("events", "a", "--follow")
    assert (ended.code, ended.out) == (1, '{"seq":1}\n{"seq":2}\n')
    assert [one.query["after"] for one in stub.asked] == [["0"], ["1"], ["2"]]


@pytest.mark.parametrize(("verb", "done"), [("kill", "Killed"), ("stop", "Stopped")])
def test_ending_several_goes_on_after_a_failure(bullpen: Command, stub: Stub, verb: str, done: str):
    for session in ("a", "c"):
        stub.on("POST", f"/v1/sessions/{session}/{verb}", {"id": session})
    ended = bullpen(verb, "a", "b", "c")
    assert ended.code == 1
    assert ended.out == f"{done} session a\n{done} session c\n{done} 2 session(s)\n"
    assert ended.err.startswith("error: session not found")
    told = bullpen(verb, "a", "b", "--json").json
    assert told["done"] == {"a": {"id": "a"}}
    assert told["failed"]["b"]["code"] == "session-not-found"


def test_killing_what_is_over_already_is_no_error(bullpen: Command, stub: Stub):
    stub.refuse("POST", "/v1/sessions/a/kill", "session-over")
    stub.record("a", state="stopped")
    assert bullpen("kill", "a").out == "Killed session a\n"


@pytest.mark.parametrize("words", [(), ("a", "--all"), ("--all", "--older-than", "3d")])
def test_kill_needs_exactly_one_way_to_choose(bullpen: Command, words: tuple[str, ...]):
    assert bullpen("kill", *words).code == 2


def test_kill_older_than_goes_by_last_use(bullpen: Command, stub: Stub):
    ages = {"old": 2000, "young": 1700, "never": 10**9}
    now = time.time()
    listed = [{"id": name, "used_at": now - age} for name, age in ages.items()]
    stub.on("GET", "/v1/sessions", {"sessions": listed})
    for name in ages:
        stub.on("POST", f"/v1/sessions/{name}/kill", {})
    ended = bullpen("kill", "--older-than", "30m")
    assert ended.out == "Killed session old\nKilled session never\nKilled 2 session(s)\n"
    assert bullpen("kill", "--older-than", "99999w").out == "No matching sessions to kill\n"
    assert bullpen("kill", "--older-than", "30").code == 2


def test_remove_says_where_unsaved_work_is_kept(bullpen: Command, stub: Stub):
    answer = {"removed": "a", "rescue": "refs/bullpen/rescue/a"}
    stub.on("DELETE", "/v1/sessions/a", answer)
    ended = bullpen("remove", "a", "--force")
    assert ended.out == "Removed session a\n"
    assert ended.err == "a: unsaved work is kept as refs/bullpen/rescue/a\n"
    assert stub.asked[0].query == {"force": ["1"]}


def test_the_small_verbs_ask_for_what_they_say(bullpen: Command, stub: Stub):
    for verb in ("interrupt", "resume", "land"):
        answer = {**NEW, "target": "main", "commit": "0123456789abcdef", "files": 2}
        stub.on("POST", f"/v1/sessions/a/{verb}", answer)
    stub.on("PATCH", "/v1/sessions/a", NEW)
    assert bullpen("interrupt", "a").out == "Interrupted session a\n"
    assert (
        bullpen("resume", "a", "--fresh", "--prompt", "go").out == "Resumed session brisk-otter\n"
    )
    assert bullpen("rename", "a", "Ü b").out == "Renamed session brisk-otter\n"
    landed = bullpen("land", "a", "--target", "main", "-m", "M", "--commit")
    assert landed.out == "Landed session a on main as 0123456789ab (2 files)\n"
    assert [one.json for one in stub.asked] == [
        {},
        {"fresh": True, "prompt": "go"},
        {"title": "Ü b"},
        {"target": "main", "message": "M", "commit": True},
    ]


def test_a_diff_is_printed_as_it_is(bullpen: Command, stub: Stub):
    patch = b"--- a\n+++ b\n+caf\xe9\r\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(patch)}\r\n\r\n".encode()
    stub.on("GET", "/v1/sessions/a/diff", raw=head + patch)
    stub.on("GET", "/v1/sessions/a/changes", {"files": 1, "insertions": 3, "deletions": 1})
    assert bullpen("diff", "a").raw == patch
    assert bullpen("diff", "a", "--stat").out == "1 file, +3 -1\n"
    assert bullpen("diff", "a", "--json").json["diff"] == "--- a\n+++ b\n+caf\ufffd\r\n"


ASKS = [
    {
        "request": "p1",
        "kind": "permission",
        "title": "Run make\x1b[2J",
        "options": [
            {"id": "yes", "kind": "allow_once", "name": "Allow"},
            {"id": "no-way", "kind": "reject_once", "name": "Reject"},
        ],
    },
    {
        "request": "q1",
        "kind": "question",
        "title": "Which port?",
        "schema": {
            "properties": {
                "port": {"type": "integer", "title": "The port"},
                "tls": {"type": "boolean"},
                "names": {"type": "array", "items": {"type": "string"}},
            }
        },
    },
]


def test_answer_takes_an_id_of_approvals_too(bullpen: Command, stub: Stub):
    stub.record("a")
    one = {"id": "0a1b2c", "session": "a", "request": "7"}
    stub.on("GET", "/v1/approvals", {"approvals": [one]})
    stub.on("POST", "/v1/sessions/a/answers", {"id": "a"})
    assert bullpen("answer", "0a1b2c", "fill", "colour=red").code == 0
    asked = stub.only("POST", "/v1/sessions/a/answers").json
    assert asked == {"action": "accept", "content": {"colour": "red"}, "request": "7"}


def test_answer_alone_shows_what_is_open_and_how_to_answer(bullpen: Command, stub: Stub):
    stub.record("a", asks=ASKS)
    assert bullpen("answer", "a").out == (
        "p1: Run make␛[2J\n"
        "  bullpen answer a choose yes     Allow\n"
        "  bullpen answer a choose no-way  Reject\n"
        "q1: Which port?\n"
        "  port: The port\n"
        "  tls: boolean\n"
        "  names: array\n"
        "  bullpen answer a fill port=… tls=… names=…\n"
    )
    assert bullpen("answer", "a", "-r", "p1").out.startswith("p1: Run make")
    assert "q1" not in bullpen("answer", "a", "-r", "p1").out
    missing = bullpen("answer", "a", "-r", "zzz")
    assert (missing.code, "'zzz'" in missing.err) == (1, True)
    stub.record("b")
    assert bullpen("answer", "b").code == 1


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ("allow", {"allow": True}),
        ("allow --always -r p1", {"allow": True, "always": True, "request": "p1"}),
        ("deny --reason no", {"allow": False, "reason": "no"}),
        ("choose yes", {"choice": "yes"}),
        (
            "fill -r q1 port=80 tls=yes names=a names=b=c",
            {
                "request": "q1",
                "action": "accept",
                "content": {"port": 80, "tls": True, "names": ["a", "b=c"]},
            },
        ),
        ('fill --content {"x":[1]}', {"action": "accept", "content": {"x": [1]}}),
        ("decline", {"action": "decline"}),
        ("cancel", {"action": "cancel"}),
    ],
)
def test_an_answer_is_passed_on_in_the_form_the_agent_wants(
    bullpen: Command, stub: Stub, words: str, body: dict[str, object]
):
    stub.record("a", asks=ASKS)
    stub.on("POST", "/v1/sessions/a/answers", NEW)
    assert bullpen("answer", "a", *words.split()).out == "Answered session a\n"
    assert stub.only("POST", "/v1/sessions/a/answers").json == body


@pytest.mark.parametrize("words", ["maybe", "choose", "allow x", "fill port=x", "fill --content ["])
def test_an_answer_that_makes_no_sense_is_a_usage_error(bullpen: Command, stub: Stub, words: str):
    stub.record("a", asks=ASKS)
    ended = bullpen("answer", "a", *words.split())
    assert ended.code == 2
    assert words != "maybe" or all(action in ended.err for action in ACTIONS)


def test_agents_are_listed_with_the_next_step(bullpen: Command, stub: Stub):
    entries = [
        {"id": "claude", "name": "Claude Code", "status": "needs-login", "login_hint": "log in"},
        {"id": "demo", "name": "Demo", "status": "found", "version": "1", "modes": ["ask", "edit"]},
        {"id": "pi", "name": "pi", "status": "not-found", "install_hint": "npm i pi"},
    ]
    faults = [{"code": "catalog-invalid", "message": "x.toml is bad", "hint": "mend it"}]
    stub.on("GET", "/v1/agents", {"agents": entries, "faults": faults})
    ended = bullpen("agents")
    assert ended.out == (
        "ID      NAME         STATUS       VERSION  MODES     NEXT STEP\n"
        "claude  Claude Code  needs login  -        -         log in\n"
        "demo    Demo         found        1        ask edit  -\n"
        "pi      pi           not found    -        -         npm i pi\n"
    )
    assert ended.err == "error: x.toml is bad\nhint: mend it\n"
    found = bullpen("agents", "--found", "--versions", "--json").json
    assert [entry["id"] for entry in found["agents"]] == ["claude", "demo"]
    assert stub.asked[1].query == {"versions": ["1"]}


def test_doctor_prints_findings_with_remedies_and_fails_on_an_error(bullpen: Command, stub: Stub):
    fine = {"check": "git", "level": "ok", "message": "git 2.40"}
    warning = {"check": "disk", "level": "warning", "message": "2 GB free", "remedy": "prune"}
    broken = {
        "check": "orphans",
        "level": "error",
        "message": "3 processes",
        "remedy": "end them",
        "fixable": True,
    }
    stub.on("GET", "/v1/doctor", {"findings": [fine, warning, broken]})
    stub.on("POST", "/v1/doctor/fix", {"findings": [fine, warning]})
    ended = bullpen("doctor")
    assert ended.code == 1
    assert ended.out == (
        "ok       git      git 2.40\n"
        "warning  disk     2 GB free\n"
        "                  → prune\n"
        "error    orphans  3 processes\n"
        "                  → end them\n"
    )
    assert ended.err == "hint: `bullpen doctor --fix` mends 1 of these\n"
    assert bullpen("doctor", "--fix").code == 0


def test_prune_shows_first_and_then_frees(bullpen: Command, stub: Stub):
    going = {
        "kind": "journal",
        "session": "a",
        "path": "/j",
        "bytes": 2048,
        "why": "stopped 9d ago",
    }
    kept = {"kind": "worktree", "session": "b", "path": "/w", "bytes": 1, "kept": "unsaved work"}
    stub.on("POST", "/v1/prune", {"items": [going, kept], "freed_bytes": 2048})
    rows = (
        "KIND      SESSION  SIZE    PATH  WHY\n"
        "journal   a        2.0 KB  /j    stopped 9d ago\n"
        "worktree  b        1 B     /w    kept: unsaved work\n"
    )
    assert bullpen("prune", "--dry-run").out == f"{rows}Would free 2.0 KB\n"
    assert [one.json["dry_run"] for one in stub.asked] == [True]
    assert bullpen("prune", "--older-than", "2d").out == f"{rows}Freed 2.0 KB\n"
    assert [one.json for one in stub.asked[1:]] == [
        {"older_than": 172800.0, "dry_run": True},
        {"older_than": 172800.0, "dry_run": False},
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_a_completion_script_names_the_verbs(bullpen: Command, shell: str):
    ended = bullpen("completion", shell)
    assert ended.code == 0
    assert "last-message" in ended.out
