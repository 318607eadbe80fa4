"""`dev-sessions`: the words, flags, messages and exit codes scripts were written for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command, Stub

CATALOG = {
    "agents": [
        {"id": "claude-acp", "aliases": ["claude"], "modes": ["plan", "bypass"]},
        {"id": "codex-acp", "aliases": ["codex"], "modes": ["ask"]},
        {"id": "demo", "aliases": ["rehearsal"]},
    ]
}
RECORD = {
    "id": "fizz-top",
    "agent": "claude-acp",
    "directory": "/w",
    "path": "/w",
    "title": "Fix it",
    "state": "idle",
    "outcome": "completed",
    "agent_session": "uuid-1",
    "created_at": 1783600000.5,
    "used_at": 1783600060.0,
    "turns": 1,
    "turn": {"number": 1, "state": "done", "stop": "end_turn"},
}
STORED = {
    "championId": "fizz-top",
    "internalId": "uuid-1",
    "cli": "claude",
    "mode": "native",
    "path": "/w",
    "description": "Fix it",
    "status": "active",
    "lastTurnStatus": "completed",
    "createdAt": "2026-07-09T12:26:40.500Z",
    "lastUsed": "2026-07-09T12:27:40.000Z",
}


def waited(record: dict[str, Any], *, over: bool = True) -> dict[str, Any]:
    names = [record["id"]]
    settled, pending = (names, []) if over else ([], names)
    sessions = {record["id"]: record}
    return {"timed_out": not over, "settled": settled, "pending": pending, "sessions": sessions}


def test_no_arguments_print_the_help_on_stderr_and_exit_1(dev: Command):
    ended = dev()
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.endswith("(outputHelp)\n")


@pytest.mark.parametrize("words", [("--help",), ("help",), ("--version",), ("help", "wait")])
def test_help_and_version_exit_0(dev: Command, words: tuple[str, ...]):
    ended = dev(*words)
    assert ended.code == 0
    assert ended.out


def test_an_unknown_command_is_told_with_a_guess(dev: Command):
    ended = dev("log")
    assert (ended.code, ended.err) == (1, "error: unknown command 'log'\n(Did you mean logs?)\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("status",), "error: missing required argument 'id'"),
        (("status", "a", "--bogus"), "error: unknown option '--bogus'"),
        (("send", "a"), "Message is required. Use <message> or --file <path>."),
        (("send", "a", " "), "Message is required. Use <message> or --file <path>."),
        (("send", "a", "x", "-f", "y"), "Provide either <message> or --file, not both"),
        (("wait", "a", "-t", "0"), "--timeout must be a positive integer"),
        (("wait", "a", "-t", "1.5"), "--timeout must be a positive integer"),
        (("wait", "a", "-i", "nan"), "--interval must be a positive number"),
        (("wait", "a", "--goal", "--next-turn"), "Use only one of --goal, --next-turn"),
        (("last-message", "a", "-n", "-1"), "--count must be a positive integer"),
        (("kill",), "Provide exactly one of <id>, --all, or --older-than <duration>"),
        (("kill", "a", "--all"), "Provide exactly one of <id>, --all, or --older-than <duration>"),
        (
            ("kill", "--older-than", "3w"),
            "--older-than must be a duration like 30m, 72h, or 7d",
        ),
        (
            ("create", "--mode", "yolo"),
            "error: option '-m, --mode <mode>' argument 'yolo' is invalid. "
            "Allowed choices are native, docker.",
        ),
        (("create", "-p", "/nope"), "Workspace path does not exist: /nope"),
        (("create", "-p", "/dev/null"), "Workspace path is not a directory: /dev/null"),
    ],
)
def test_mistakes_are_told_in_the_words_of_dev_sessions(
    dev: Command, stub: Stub, words: tuple[str, ...], message: str
):
    del stub
    ended = dev(*words)
    assert (ended.code, ended.out, ended.err) == (1, "", f"{message}\n")


@pytest.mark.parametrize(
    "words",
    [("create", "--host", "me@there"), ("create", "-m", "docker"), ("gateway", "--port", "1")],
)
def test_what_we_do_not_have_is_refused_with_a_sentence(dev: Command, words: tuple[str, ...]):
    ended = dev(*words)
    assert ended.code == 1
    assert "not supported" in ended.err


def test_create_prints_sentence_id_or_record_and_lets_the_agent_do_all_it_may(
    dev: Command, stub: Stub, tmp_path: Path
):
    stub.on("GET", "/v1/agents", CATALOG)
    stub.on("POST", "/v1/sessions", RECORD, status=201)
    assert dev("create", "-d", "Fix it", "-m", "native").out == "Created session fizz-top\n"
    assert dev("create", "-q", "--cli", "codex", "--model", "m").out == "fizz-top\n"
    assert dev("create", "-q", "--json", "--cli", "rehearsal").json == STORED
    bodies = [one.json for one in stub.asked if one.method == "POST"]
    path = str(tmp_path)
    assert bodies == [
        {"agent": "claude", "path": path, "mode": "bypass", "title": "Fix it"},
        {"agent": "codex", "path": path, "model": "m"},
        {"agent": "rehearsal", "path": path},
    ]


def test_create_refuses_an_agent_the_catalog_does_not_have(dev: Command, stub: Stub):
    stub.on("GET", "/v1/agents", CATALOG)
    ended = dev("create", "--cli", "gemini")
    assert ended.code == 1
    assert ended.err == (
        "error: option '--cli <cli>' argument 'gemini' is invalid. "
        "Allowed choices are claude, codex, demo.\n"
    )


def test_an_id_that_is_taken(dev: Command, stub: Stub):
    stub.on("GET", "/v1/agents", CATALOG)
    stub.refuse("POST", "/v1/sessions", "session-id-taken", "session id already in use: 'fizz-top'")
    ended = dev("create", "--id", "fizz-top")
    assert (ended.code, ended.err) == (1, "Champion ID already in use: fizz-top\n")


@pytest.mark.parametrize("verb", ["status", "wait", "last-message", "logs", "inspect", "kill"])
def test_an_unknown_and_a_killed_session_are_not_found(dev: Command, stub: Stub, verb: str):
    stub.refuse("GET", "/v1/sessions/x", "session-not-found", "session not found: 'x'", status=404)
    stub.record("killed", state="stopped")
    for session in ("x", "killed"):
        ended = dev(verb, session)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == f"Session not found: {session}\n"


def test_send_takes_word_file_and_stdin_byte_for_byte(dev: Command, stub: Stub, tmp_path: Path):
    stub.record("a")
    stub.on("POST", "/v1/sessions/a/turns", {"turn": 1}, status=202)
    text = "- x;\n\n"
    (tmp_path / "m").write_text(text)
    for words in (("--", text), ("-f", "m"), ("-f", "-")):
        assert dev("send", "a", *words, stdin=text.encode()).out == "Sent message to a\n"
    assert [one.json["text"] for one in stub.asked if one.method == "POST"] == [text] * 3
    missing = dev("send", "a", "-f", "nope")
    assert missing.err == f"ENOENT: no such file or directory, open '{tmp_path}/nope'\n"


def test_a_message_answers_an_open_question_of_one_text_field(dev: Command, stub: Stub):
    schema = {"properties": {"answer": {"type": "string"}}}
    asks = [{"request": "q", "kind": "question", "title": "Which?", "schema": schema}]
    turn = {"number": 2, "state": "running"}
    stub.record("a", state="waiting", asks=asks, turn=turn, turns=2)
    stub.on("POST", "/v1/sessions/a/answers", RECORD)
    assert dev("send", "a", "the red one").code == 0
    assert stub.only("POST", "/v1/sessions/a/answers").json == {
        "request": "q",
        "action": "accept",
        "content": {"answer": "the red one"},
    }


def test_a_message_never_answers_a_permission(dev: Command, stub: Stub):
    stub.record("a", state="asking", asks=[{"request": "p", "kind": "permission", "title": "rm"}])
    stub.on("POST", "/v1/sessions/a/turns", {"turn": 3}, status=202)
    ended = dev("send", "a", "yes")
    assert (ended.code, ended.out) == (0, "Sent message to a\n")
    assert "bullpen answer a" in ended.err
    assert {one.path for one in stub.asked if one.method == "POST"} == {"/v1/sessions/a/turns"}


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("idle", "idle"),
        ("working", "working"),
        ("starting", "working"),
        ("queued", "working"),
        ("limited", "working"),
        ("asking", "waiting_for_input"),
        ("waiting", "waiting_for_input"),
    ],
)
def test_status_prints_one_of_three_words(dev: Command, stub: Stub, state: str, word: str):
    stub.record("a", state=state)
    ended = dev("status", "a")
    assert (ended.code, ended.out) == (0, f"{word}\n")


def test_status_of_a_dead_agent_fails_instead_of_lying(dev: Command, stub: Stub):
    stub.record("a", state="failed", reason="exited with code 3")
    ended = dev("status", "a")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Session a is failed: exited with code 3\n")


def test_wait_prints_completed_before_and_after_and_twice(dev: Command, stub: Stub):
    stub.on("GET", "/v1/sessions/fizz-top", RECORD)
    stub.on("POST", "/v1/wait", waited(RECORD))
    for _ in range(2):
        ended = dev("wait", "fizz-top", "-t", "5", "-i", "0.5")
        assert (ended.code, ended.out, ended.err) == (0, "completed\n", "")
    assert [one.json["turns"] for one in stub.asked if one.method == "POST"] == [
        {"fizz-top": 1}
    ] * 2


def test_wait_on_a_session_never_sent_to_waits_for_its_first_turn(dev: Command, stub: Stub):
    fresh = stub.record("a")
    done = {"number": 1, "state": "done", "stop": "end_turn"}
    stub.on("POST", "/v1/wait", waited(fresh))
    stub.on("POST", "/v1/wait", waited({**fresh, "turns": 1, "turn": done, "outcome": "completed"}))
    assert dev("wait", "a").out == "completed\n"
    assert [one.json["turns"] for one in stub.asked if one.method == "POST"] == [{"a": 1}] * 2


def test_wait_times_out_with_124(dev: Command, stub: Stub):
    record = stub.record("a", turns=1)
    stub.on("POST", "/v1/wait", waited(record, over=False))
    ended = dev("wait", "a", "-t", "1")
    assert (ended.code, ended.out, ended.err) == (124, "", "Timed out waiting for a\n")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"state": "asking", "outcome": "asking", "asks": [{"title": "Run make"}]},
            "Session a is waiting for input: Run make",
        ),
        (
            {"state": "failed", "outcome": "failed", "reason": "exit 3"},
            "Session a died during wait: exit 3",
        ),
        (
            {"outcome": "failed", "turn": {"number": 1, "state": "failed", "error": "overload"}},
            "Turn of a failed: overload",
        ),
        (
            {"outcome": "cancelled", "turn": {"number": 1, "state": "cancelled"}},
            "Turn of a was interrupted",
        ),
    ],
)
def test_wait_never_hangs_on_what_will_not_end(
    dev: Command, stub: Stub, fields: dict[str, Any], message: str
):
    turn = {"number": 1, "state": "running"}
    record = stub.record("a", **{"turns": 1, "turn": turn, **fields})
    stub.on("POST", "/v1/wait", waited(record))
    ended = dev("wait", "a")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[0] == message


def test_a_turn_cut_at_a_limit_completed_with_a_warning(dev: Command, stub: Stub):
    record = stub.record("a", turns=1, turn={"number": 1, "state": "done", "stop": "max_tokens"})
    stub.on("POST", "/v1/wait", waited(record))
    ended = dev("wait", "a")
    assert (ended.code, ended.out) == (0, "completed\n")
    assert ended.err == "[dev-sessions] the turn of a was truncated\n"


def test_next_turn_is_for_codex(dev: Command, stub: Stub):
    stub.record("a", agent="claude-acp")
    stub.record("c", agent="codex-acp", turns=2, turn={"number": 2, "state": "done"})
    told = "are only supported for codex sessions; a is a claude session\n"
    assert dev("wait", "a", "--next-turn").err == f"--next-turn waits {told}"
    done = {"number": 3, "state": "done", "stop": "end_turn"}
    over = {"id": "c", "state": "idle", "outcome": "completed", "turns": 3, "turn": done}
    stub.on("POST", "/v1/wait", waited(over))
    assert dev("wait", "c", "--next-turn").out == "completed\n"
    assert stub.asked[-1].json["turns"] == {"c": 3}


def test_ask_prints_the_reply_alone(dev: Command, stub: Stub):
    stub.on("GET", "/v1/sessions/fizz-top", RECORD)
    stub.on("POST", "/v1/sessions/fizz-top/turns", {"turn": 1}, status=202)
    stub.on("POST", "/v1/wait", waited(RECORD))
    messages = [{"turn": 1, "text": "the reply"}]
    stub.on("GET", "/v1/sessions/fizz-top/messages", {"messages": messages})
    ended = dev("ask", "fizz-top", "what?")
    assert (ended.code, ended.out, ended.err) == (0, "the reply\n", "")


def test_ask_that_times_out_tells_how_to_pick_the_reply_up(dev: Command, stub: Stub):
    record = stub.record("a")
    stub.on("POST", "/v1/sessions/a/turns", {"turn": 1}, status=202)
    stub.on("POST", "/v1/wait", waited(record, over=False))
    ended = dev("ask", "a", "what?", "-t", "1")
    assert ended.code == 124
    assert ended.err == (
        "Timed out waiting for a after 1s (the agent keeps working; use 'wait a' then "
        "'last-message a' to pick up the reply)\n"
    )


def test_last_message_and_logs(dev: Command, stub: Stub):
    stub.record("a")
    messages = [{"turn": 1, "text": "a\n\nb"}, {"turn": 1, "text": "π"}]
    stub.on("GET", "/v1/sessions/a/messages", {"messages": messages})
    entries = [
        {"role": "human", "text": "q", "turn": 1, "at": 1.0},
        {"role": "assistant", "text": "r"},
    ]
    stub.on("GET", "/v1/sessions/a/log", {"entries": entries})
    assert dev("last-message", "a", "-n", "2").out == "a\n\nb\n\nπ\n"
    assert dev("last-message", "a", "-n", "2", "--json").out == '["a\\n\\nb","π"]\n'
    assert dev("logs", "a").out == "[HUMAN]\nq\n\n[ASSISTANT]\nr\n"
    assert dev("logs", "a", "--json").out == (
        '[{"role":"human","text":"q"},{"role":"assistant","text":"r"}]\n'
    )


def test_the_list_is_the_table_of_dev_sessions_without_the_dead(dev: Command, stub: Stub):
    dead = {**RECORD, "id": "dead", "state": "failed"}
    plain = {"id": "b", "agent": "codex", "directory": "/x", "state": "working", "created_at": 0.0}
    stub.on("GET", "/v1/sessions", {"sessions": [RECORD, dead, plain]})
    assert dev("list").out == (
        "ID        CLI     MODE    HOST   STATUS  PATH  DESCRIPTION  LAST USED               \n"
        "--------  ------  ------  -----  ------  ----  -----------  ------------------------\n"
        "fizz-top  claude  native  local  active  /w    Fix it       2026-07-09T12:27:40.000Z\n"
        "b         codex   native  local  active  /x                 1970-01-01T00:00:00.000Z\n"
    )
    assert dev("list", "--json").json[0] == STORED


def test_an_empty_list(dev: Command, stub: Stub):
    stub.on("GET", "/v1/sessions", {"sessions": []})
    assert dev("list").out == "No active sessions\n"
    assert dev("list", "--json").out == "[]\n"


def test_inspect_is_pretty_json(dev: Command, stub: Stub):
    stub.on("GET", "/v1/sessions/fizz-top", RECORD)
    ended = dev("inspect", "fizz-top")
    assert ended.json == STORED
    assert ended.out.startswith('{\n  "championId": "fizz-top",\n')


def test_kill_one_all_and_old_ones_going_on_after_a_failure(dev: Command, stub: Stub):
    now = time.time()
    listed = [
        {"id": name, "used_at": now - age} for name, age in (("a", 9e5), ("b", 5), ("c", 9e5))
    ]
    stub.on("GET", "/v1/sessions", {"sessions": listed})
    for session in ("a", "c"):
        stub.record(session)
        stub.on("POST", f"/v1/sessions/{session}/kill", {})
    assert dev("kill", "a").out == "Killed session a\n"
    everyone = dev("kill", "--all")
    assert everyone.code == 1
    assert everyone.out == "Killed session a\nKilled session c\nKilled 2 session(s)\n"
    assert everyone.err.startswith("[dev-sessions] b: Session not found")
    old = dev("kill", "--older-than", "7d")
    assert old.out == "Killed session a\nKilled session c\nKilled 2 session(s)\n"
    assert dev("kill", "--older-than", "999d").out == "No matching sessions to kill\n"


def test_no_service_is_exit_255(dev: Command):
    assert dev("status", "a").code == 255
