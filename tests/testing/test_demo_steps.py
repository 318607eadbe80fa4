"""What the demo agent does in a turn, step by step, seen from the other end of its pipes."""

import os
import signal
import subprocess
from pathlib import Path

import anyio
import pytest

from bullpen.testing.line_client import Json, LineClient, exists, gone


async def test_a_brief_without_steps_gets_a_thought_and_a_short_answer(agent: LineClient) -> None:
    played = await agent.play("Please fix the tests.")
    assert played.stop == "end_turn"
    assert played.text("agent_thought_chunk")
    assert "4 words: Please fix the tests." in played.text()


async def test_words_are_streamed_in_pieces_of_one_message(agent: LineClient) -> None:
    played = await agent.play("%% say chunk=1 one  two three\n%% think chunk=999 all at once")
    chunks = played.updates("agent_message_chunk")
    assert [chunk["content"]["text"] for chunk in chunks] == ["one  ", "two ", "three"]
    assert len({chunk["messageId"] for chunk in chunks}) == 1
    assert len(played.updates("agent_thought_chunk")) == 1


async def test_writing_shows_a_diff_and_really_writes(agent: LineClient, cwd: Path) -> None:
    played = await agent.play("%% write a/b.txt <<E\none\n  two é\nE\n%% append a/b.txt three")
    assert (cwd / "a/b.txt").read_text() == "one\n  two é\nthree\n"
    first, second = played.updates("tool_call")
    assert first["kind"] == "edit"
    assert first["content"][0]["oldText"] is None
    assert second["content"][0]["newText"] == "one\n  two é\nthree\n"
    assert second["locations"] == [{"path": str(cwd / "a/b.txt")}]
    assert played.updates("tool_call_update")[-1]["status"] == "completed"


async def test_an_edit_replaces_what_occurs_once(agent: LineClient, cwd: Path) -> None:
    (cwd / "a.txt").write_bytes(b"\xff keep\nold\n")
    played = await agent.play("%% edit a.txt: old => new")
    assert played.stop == "end_turn"
    assert (cwd / "a.txt").read_bytes() == b"\xff keep\nnew\n"


@pytest.mark.parametrize(
    ("text", "why"), [("x x", "occurs 2 times"), ("y", "occurs 0 times"), (None, "no such file")]
)
async def test_an_edit_that_does_not_fit_fails_the_turn_and_its_tool_call(
    agent: LineClient, cwd: Path, text: str | None, why: str
) -> None:
    if text is not None:
        (cwd / "a.txt").write_text(text)
    played = await agent.play("Brief\n%% edit a.txt: x => z")
    assert "line 2" in played.answer["error"]["message"]
    assert why in played.answer["error"]["message"]
    assert played.updates("tool_call_update")[-1]["status"] == "failed"
    assert text is None or (cwd / "a.txt").read_text() == text


async def test_a_command_runs_in_the_directory_and_its_output_is_shown(
    agent: LineClient, cwd: Path
) -> None:
    played = await agent.play("%% run pwd; echo loud >&2; exit 3\n%% say went on")
    last = played.updates("tool_call_update")[-1]
    assert last["rawOutput"] == {"exitCode": 3, "output": f"{cwd}\nloud\n"}
    assert last["status"] == "failed"
    assert played.text() == "went on"


async def test_a_failed_check_ends_the_turn_in_an_error(agent: LineClient) -> None:
    played = await agent.play("%% check true\n%% check exit 4\n%% say not reached")
    assert "failed with code 4" in played.answer["error"]["message"]
    assert "not reached" not in played.text()


async def test_only_the_end_of_a_long_output_is_shown_and_no_character_is_cut(
    agent: LineClient,
) -> None:
    command = "yes é | head -100000 | tr -d '\\n'; echo end."
    played = await agent.play(f"%% run {command}")
    output = played.updates("tool_call_update")[-1]["rawOutput"]["output"]
    assert len(output.encode()) <= 32_768
    assert set(output[:-5]) == {"é"}
    assert output.endswith("end.\n")


async def test_a_command_is_over_although_its_background_job_holds_the_output(
    agent: LineClient, cwd: Path
) -> None:
    played = await agent.play("%% run sleep 60 & echo $! > pid; echo begun")
    assert played.updates("tool_call_update")[-1]["rawOutput"]["output"] == "begun\n"
    await gone(int((cwd / "pid").read_text()))


def git(env: dict[str, str], cwd: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(cwd), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True, env=env).stdout


async def test_a_commit_holds_everything_and_needs_no_identity(
    agent: LineClient, cwd: Path, environment: dict[str, str]
) -> None:
    git(environment, cwd, "init", "-q")
    played = await agent.play("%% write a.txt x\n%% commit First: work, done\n%% commit Nothing")
    assert played.stop == "end_turn"
    shown = git(environment, cwd, "log", "--format=%an|%ae|%cn|%s")
    assert shown == "Demo Agent|demo-agent@example.invalid|Demo Agent|First: work, done\n"
    assert git(environment, cwd, "status", "--porcelain") == ""


async def test_a_commit_uses_the_identity_there_is(
    agent: LineClient, cwd: Path, environment: dict[str, str]
) -> None:
    git(environment, cwd, "init", "-q")
    git(environment, cwd, "config", "user.name", "Ada")
    git(environment, cwd, "config", "user.email", "ada@example.org")
    await agent.play("%% write a.txt x\n%% commit Work")
    assert git(environment, cwd, "log", "--format=%an|%ae") == "Ada|ada@example.org\n"


async def test_a_commit_outside_of_a_repository_ends_the_turn_in_an_error(
    agent: LineClient,
) -> None:
    played = await agent.play("%% commit Nowhere")
    assert "'git commit: Nowhere' failed" in played.answer["error"]["message"]


async def test_a_plan_is_shown_and_moved_on(agent: LineClient) -> None:
    played = await agent.play("%% plan [x] one; [>] two (high); three\n%% plan\n%% plan")
    states = [[entry["status"] for entry in each["entries"]] for each in played.updates("plan")]
    assert states == [
        ["completed", "in_progress", "pending"],
        ["completed", "completed", "in_progress"],
        ["completed", "completed", "completed"],
    ]
    assert played.updates("plan")[0]["entries"][1]["priority"] == "high"
    assert played.updates("plan")[0]["entries"][1]["content"] == "two"


async def test_usage_tokens_title_and_commands_are_reported(agent: LineClient) -> None:
    script = "usage 10 200 0.5 EUR\n%% usage 11 200\n%% tokens 3 4\n%% title A title\n"
    played = await agent.play(f"%% {script}%% commands fix: Mend it; undo: Take it back")
    first, second = played.updates("usage_update")
    assert first["cost"] == {"amount": 0.5, "currency": "EUR"}
    assert (second["used"], second["size"], "cost" in second) == (11, 200, False)
    assert played.answer["result"]["usage"]["totalTokens"] == 7
    assert played.updates("session_info_update")[0]["title"] == "A title"
    offered = played.updates("available_commands_update")[0]["availableCommands"]
    assert offered == [
        {"name": "fix", "description": "Mend it"},
        {"name": "undo", "description": "Take it back"},
    ]


async def test_memory_holds_what_was_said_before_and_not_what_is_said_now(
    agent: LineClient,
) -> None:
    await agent.play("The first\nthing.")
    await agent.play("The second.")
    played = await agent.play("%% memory")
    assert played.text() == "I was told:\n1. The first thing.\n2. The second.\n"


async def test_it_says_its_environment_and_its_mcp_servers(agent: LineClient, cwd: Path) -> None:
    server: Json = {"name": "tools", "command": "/bin/true", "args": [], "env": []}
    web: Json = {"type": "http", "name": "web", "url": "http://127.0.0.1:1/", "headers": []}
    opened = await agent.call("session/new", cwd=str(cwd), mcpServers=[server, web])
    agent.session = opened["result"]["sessionId"]
    played = await agent.play("%% mcp\n%% env BULLPEN_NONE\n%% env GIT_CONFIG_NOSYSTEM")
    assert played.text() == (
        "MCP servers: tools (stdio), web (http)\nBULLPEN_NONE is not set\nGIT_CONFIG_NOSYSTEM=1\n"
    )


@pytest.mark.parametrize(
    ("script", "reason"),
    [("stop max_tokens", "max_tokens"), ("refuse", "refusal"), ("stop something", "something")],
)
async def test_a_turn_ends_with_the_reason_its_script_wants(
    agent: LineClient, script: str, reason: str
) -> None:
    played = await agent.play(f"%% {script}\n%% say not reached")
    assert (played.stop, played.text()) == (reason, "")


async def test_a_turn_ends_in_the_error_its_script_wants(agent: LineClient) -> None:
    played = await agent.play("%% error -32000 Usage limit reached")
    assert played.answer["error"] == {"code": -32000, "message": "Usage limit reached"}


async def test_a_script_with_a_mistake_does_nothing_and_says_where_it_is(
    agent: LineClient, cwd: Path
) -> None:
    played = await agent.play("%% touch-file made\n%% sing")
    assert not (cwd / "made").exists()
    assert played.answer["error"]["code"] == -32602
    assert "line 2: there is no step 'sing'" in played.answer["error"]["message"]
    assert "line 2" in played.text()


async def test_what_the_system_refuses_ends_the_turn_and_not_the_agent(
    agent: LineClient, cwd: Path
) -> None:
    (cwd / "file").touch()
    for path in ("file/below", "nul\0byte"):
        played = await agent.play(f"prose\n%% write {path} x")
        assert played.answer["error"]["message"].startswith("line 2: ")
    assert (await agent.play("%% say still here")).text() == "still here"


async def test_a_file_is_played_and_a_step_repeated(agent: LineClient, cwd: Path) -> None:
    (cwd / "part.demo").write_text("# twice\nsay a\n")
    played = await agent.play("%% repeat 2 play part.demo\n%% say b")
    assert played.text() == "aab"
    (cwd / "part.demo").write_text("say a\nsing\n")
    played = await agent.play("%% play part.demo")
    assert "'part.demo', line 2" in played.answer["error"]["message"]


async def test_a_file_that_plays_itself_ends_the_turn_and_not_the_agent(
    agent: LineClient, cwd: Path
) -> None:
    (cwd / "loop").write_text("play loop\n")
    assert "error" in (await agent.play("%% play loop")).answer
    assert (await agent.play("%% say still here")).text() == "still here"


async def test_files_let_others_wait_for_it_and_it_for_others(agent: LineClient, cwd: Path) -> None:
    prompt = await agent.prompt("%% touch-file here\n%% wait-file go\n%% say went")
    await exists(cwd / "here")
    (cwd / "go").touch()
    assert (await agent.ended(prompt)).text() == "went"


async def test_a_flood_is_numbered_without_a_gap(agent: LineClient) -> None:
    played = await agent.play("%% flood 20000 10")
    texts = [each["content"]["text"] for each in played.updates("agent_message_chunk")]
    assert texts == [f"{number} {'x' * 10}" for number in range(20_000)]


async def test_a_big_line_is_one_line(agent: LineClient) -> None:
    played = await agent.play("%% big-line 3000000")
    assert [len(each["content"]["text"]) for each in played.updates("agent_message_chunk")] == [
        3_000_000
    ]


async def test_a_big_prompt_is_read_whole(agent: LineClient) -> None:
    played = await agent.play("word " * 600_000 + "\n%% say read")
    assert played.text() == "read"


async def test_noise_on_stderr_is_as_long_as_asked_for(agent: LineClient, tmp_path: Path) -> None:
    await agent.play("%% stderr 1000001")
    assert (tmp_path / "stderr").stat().st_size == 1_000_001


async def test_lines_that_are_no_messages_come_out_as_they_are(agent: LineClient) -> None:
    method = '{"jsonrpc":"2.0","method":"_x/y","params":{"session":"$SESSION"}}'
    played = await agent.play(f"%% invalid\n%% raw not json\n%% raw {method}\n%% unknown surprise")
    assert agent.junk == [
        b'{"bad":"\xff\xfe"}',
        b'{"nul":"\x00"}',
        b'{"jsonrpc":"2.0","method":"sess',
        b"not json",
    ]
    assert played[0]["params"] == {"session": agent.session}
    assert len(played.updates("surprise")) == 1


async def test_it_can_send_a_request_nobody_serves(agent: LineClient) -> None:
    prompt = await agent.prompt('%% request _vendor/x {"a": 1}')
    asked = await agent.asked("_vendor/x")
    assert asked["params"] == {"sessionId": agent.session, "a": 1}
    await agent.send(id=asked["id"], error={"code": -32601, "message": "no"})
    assert '"code":-32601' in (await agent.ended(prompt)).text()


@pytest.mark.parametrize(("script", "code"), [("crash 7", 7), ("crash", 1), ("crash -9", -9)])
async def test_it_crashes_as_told(agent: LineClient, script: str, code: int) -> None:
    await agent.prompt(f"%% {script}")
    assert await agent.exit_code() == code


async def test_it_dies_in_the_middle_of_a_line(agent: LineClient) -> None:
    await agent.prompt("%% say whole\n%% die-mid-line")
    await agent.message()
    with pytest.raises(anyio.EndOfStream):
        await agent.message()
    assert agent.torn.startswith(b'{"jsonrpc"')
    assert await agent.exit_code() == 1


async def test_an_orphan_outlives_it(agent: LineClient) -> None:
    pid = int((await agent.play("%% orphan 60")).text().removeprefix("orphan pid "))
    try:
        agent.process.kill()
        await agent.exit_code()
        assert os.getsid(pid) == pid
    finally:
        os.kill(pid, signal.SIGKILL)
