"""The demo agent's side of the protocol: handshakes, conversations, modes, cancelling, leaving."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest

from bullpen.testing.line_client import Json, LineClient, eventually, exists, gone

Launch = Callable[..., AbstractAsyncContextManager[LineClient]]


# ---- handshakes ------------------------------------------------------------------------------


async def test_it_says_who_it_is_and_what_it_can_do(launch: Launch) -> None:
    async with launch() as agent:
        result = (await agent.call("initialize", protocolVersion=1))["result"]
    assert result["protocolVersion"] == 1
    assert result["agentCapabilities"]["loadSession"] is True
    assert set(result["agentCapabilities"]["sessionCapabilities"]) == {"list", "resume", "close"}
    assert result["authMethods"] == []


async def test_without_a_login_it_opens_nothing(launch: Launch, cwd: Path) -> None:
    async with launch(BULLPEN_DEMO_LOGIN="1") as agent:
        (method,) = (await agent.call("initialize"))["result"]["authMethods"]
        refused = await agent.call("session/new", cwd=str(cwd), mcpServers=[])
        assert refused["error"]["code"] == -32000
        assert "error" in await agent.call("authenticate", methodId="another")
        assert "result" in await agent.call("authenticate", methodId=method["id"])
        assert "result" in await agent.call("session/new", cwd=str(cwd), mcpServers=[])


async def test_told_to_exit_it_exits_before_it_answers(launch: Launch, tmp_path: Path) -> None:
    async with launch(BULLPEN_DEMO_START="exit:3") as agent:
        assert await agent.exit_code() == 3
    assert "told to exit" in (tmp_path / "stderr").read_text()


async def test_told_to_hang_it_never_answers_the_handshake_and_still_ends_on_sigterm(
    launch: Launch,
) -> None:
    async with launch(BULLPEN_DEMO_START="hang") as agent:
        await agent.request("initialize")
        # The answer to what comes second shows that the first was passed over.
        assert (await agent.call("session/list"))["id"] == 2
        assert [each["id"] for each in agent.heard] == [2]
        agent.process.terminate()
        assert await agent.exit_code() == 143


async def test_told_to_be_slow_it_answers_in_the_end(launch: Launch) -> None:
    async with launch(BULLPEN_DEMO_START="slow:0.2") as agent:
        started = anyio.current_time()
        assert "result" in await agent.call("initialize")
        assert anyio.current_time() - started >= 0.2


async def test_told_to_write_garbage_it_answers_after_it(launch: Launch) -> None:
    async with launch(BULLPEN_DEMO_START="garbage") as agent:
        assert "result" in await agent.call("initialize")
        assert len(agent.junk) == 4


async def test_told_to_refuse_it_answers_with_an_error(launch: Launch) -> None:
    async with launch(BULLPEN_DEMO_START="refuse") as agent:
        assert (await agent.call("initialize"))["error"]["code"] == -32603


async def test_told_to_speak_another_version_it_says_so(launch: Launch) -> None:
    async with launch(BULLPEN_DEMO_START="protocol:2") as agent:
        assert (await agent.call("initialize"))["result"]["protocolVersion"] == 2


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("no/such", {}, -32601),
        ("session/new", {"cwd": "relative", "mcpServers": []}, -32602),
        ("session/new", {"cwd": "/no/such/folder", "mcpServers": []}, -32602),
        ("session/new", {}, -32602),
        ("session/prompt", {"sessionId": "demo-0", "prompt": []}, -32002),
        ("session/load", {"sessionId": "demo-0", "cwd": "/", "mcpServers": []}, -32002),
        ("session/list", {"cursor": "x"}, -32602),
    ],
)
async def test_a_request_it_cannot_serve_is_answered_with_the_right_error(
    agent: LineClient, method: str, params: Json, code: int
) -> None:
    assert (await agent.call(method, **params))["error"]["code"] == code


async def test_an_id_cannot_lead_out_of_the_folder_of_conversations(
    agent: LineClient, tmp_path: Path
) -> None:
    (tmp_path / "conversations.jsonl").write_text('{"user": "secret"}\n')
    params: Json = {"sessionId": "../conversations", "cwd": "/", "mcpServers": []}
    assert (await agent.call("session/load", **params))["error"]["code"] == -32002


async def test_lines_that_are_no_requests_do_not_stop_it(agent: LineClient) -> None:
    await agent.write(b"\n[1]\n{bad\n\xff\xfe\n")
    codes = [(await agent.message())["error"]["code"] for _ in range(3)]
    assert codes == [-32600, -32700, -32700]
    await agent.send(id=7, result={})
    await agent.send(id=[7], result={})
    await agent.send(method="session/cancel", params={})
    await agent.send(method="_vendor/notice", params=[1])
    assert (await agent.play("%% say fine")).text() == "fine"


# ---- conversations ---------------------------------------------------------------------------


async def test_a_conversation_comes_back_in_another_process(launch: Launch, cwd: Path) -> None:
    async with launch() as first:
        await first.open(cwd)
        await first.play("Remember the milk.\n%% title Milk\n%% say I shall.\n%% mode ask")
        await first.call(
            "session/set_config_option",
            sessionId=first.session,
            configId="model",
            value="demo-deep",
        )
        await first.prompt("In the middle of this\n%% crash -9")
        await first.exit_code()
    async with launch() as second:
        await second.call("initialize")
        params: Json = {"sessionId": first.session, "cwd": str(cwd), "mcpServers": []}
        resumed = await second.call("session/resume", **params)
        assert [each for each in second.heard if "method" in each] == []
        assert resumed["result"]["modes"]["currentModeId"] == "ask"
        assert resumed["result"]["configOptions"][1]["currentValue"] == "demo-deep"
        second.session = first.session
        text = (await second.play("%% memory")).text()
        assert "1. Remember the milk." in text
        assert "2. In the middle of this" in text


async def test_loading_replays_both_sides_before_it_answers(launch: Launch, cwd: Path) -> None:
    async with launch() as first:
        await first.open(cwd)
        await first.play("Hello\n%% say One. \n%% say Two.")
    async with launch() as second:
        number = await second.request(
            "session/load", sessionId=first.session, cwd=str(cwd), mcpServers=[]
        )
        played = await second.ended(number)
    assert played.text("user_message_chunk") == "Hello\n%% say One. \n%% say Two."
    assert played.text("agent_message_chunk").split() == ["One.", "Two."]


async def test_a_record_that_was_torn_costs_only_itself(
    launch: Launch, cwd: Path, tmp_path: Path
) -> None:
    async with launch() as first:
        await first.open(cwd)
        await first.play("Before")
    with (tmp_path / "conversations" / f"{first.session}.jsonl").open("ab") as file:
        file.write(b'\n{"user": "torn')
    async with launch() as second:
        params: Json = {"sessionId": first.session, "cwd": str(tmp_path), "mcpServers": []}
        await second.call("session/resume", **params)
        # The directory is the record right behind the torn one.
        listed = await second.call("session/list", cwd=str(tmp_path))
        assert [each["sessionId"] for each in listed["result"]["sessions"]] == [first.session]
        second.session = first.session
        await second.play("After")
        assert (await second.play("%% memory")).text() == "I was told:\n1. Before\n2. After\n"


async def test_conversations_are_listed_by_directory_and_page_by_page(
    agent: LineClient, cwd: Path, tmp_path: Path
) -> None:
    for _ in range(60):
        await agent.call("session/new", cwd=str(tmp_path), mcpServers=[])
    (mine,) = (await agent.call("session/list", cwd=str(cwd)))["result"]["sessions"]
    assert mine["sessionId"] == agent.session
    first = (await agent.call("session/list"))["result"]
    second = (await agent.call("session/list", cursor=first["nextCursor"]))["result"]
    names = {each["sessionId"] for each in first["sessions"] + second["sessions"]}
    assert (len(names), "nextCursor" in second) == (61, False)


async def test_a_closed_conversation_takes_no_prompt_and_can_be_brought_back(
    agent: LineClient, cwd: Path
) -> None:
    prompt = await agent.prompt("%% touch-file begun\n%% never-answer")
    await exists(cwd / "begun")
    await agent.request("session/close", sessionId=agent.session)
    assert (await agent.ended(prompt)).stop == "cancelled"
    assert "error" in await agent.call("session/prompt", sessionId=agent.session, prompt=[])
    params: Json = {"sessionId": agent.session, "cwd": str(cwd), "mcpServers": []}
    assert "result" in await agent.call("session/resume", **params)
    assert "never-answer" in (await agent.play("%% memory")).text()


async def test_a_home_that_cannot_be_written_costs_only_the_memory(
    launch: Launch, cwd: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    async with launch(BULLPEN_DEMO_HOME=str(tmp_path / "file/below")) as agent:
        await agent.open(cwd)
        assert (await agent.play("%% say fine")).text() == "fine"
    assert "not kept" in (tmp_path / "stderr").read_text()


async def test_two_conversations_of_one_process_do_not_wait_for_each_other(
    agent: LineClient, cwd: Path
) -> None:
    waiting = await agent.prompt("%% wait-file go\n%% say first")
    slow = agent.session
    opened = await agent.call("session/new", cwd=str(cwd), mcpServers=[])
    agent.session = opened["result"]["sessionId"]
    assert (await agent.play("%% say second\n%% touch-file go")).stop == "end_turn"
    await agent.ended(waiting)
    says = [each["params"] for each in agent.heard if each.get("method") == "session/update"]
    assert [each["sessionId"] for each in says] == [agent.session, slow]


async def test_a_second_prompt_waits_for_the_first(agent: LineClient, cwd: Path) -> None:
    first = await agent.prompt("%% wait-file go\n%% say one")
    second = await agent.prompt("%% say two")
    (cwd / "go").touch()
    assert (await agent.ended(first)).text() == "one"
    assert (await agent.ended(second)).text() == "two"


# ---- modes and questions ---------------------------------------------------------------------


async def test_modes_and_models_are_offered_and_changed(agent: LineClient) -> None:
    who = {"sessionId": agent.session}
    assert "result" in await agent.call("session/set_mode", **who, modeId="plan")
    notices = [each["params"]["update"] for each in agent.heard if "method" in each]
    assert notices[0] == {"sessionUpdate": "current_mode_update", "currentModeId": "plan"}
    assert "error" in await agent.call("session/set_mode", **who, modeId="yolo")
    choice = {"configId": "model", "value": "demo-deep"}
    chosen = await agent.call("session/set_config_option", **who, **choice)
    values = {each["id"]: each["currentValue"] for each in chosen["result"]["configOptions"]}
    assert values == {"mode": "plan", "model": "demo-deep"}
    choice = {"configId": "model", "value": "gpt"}
    assert "error" in await agent.call("session/set_config_option", **who, **choice)


async def test_a_new_conversation_starts_in_the_mode_of_the_environment(
    launch: Launch, cwd: Path
) -> None:
    async with launch(BULLPEN_DEMO_MODE="ask") as agent:
        opened = await agent.call("session/new", cwd=str(cwd), mcpServers=[])
    assert opened["result"]["modes"]["currentModeId"] == "ask"


async def test_plan_mode_changes_nothing_and_says_so(agent: LineClient, cwd: Path) -> None:
    script = "write a.txt x\n%% run touch b.txt\n%% check false\n%% commit c\n%% say end"
    played = await agent.play(f"%% mode plan\n%% {script}")
    assert list(cwd.iterdir()) == []
    assert played.text().count("Plan mode, so not done") == 4
    assert played.stop == "end_turn"
    states = [each["status"] for each in played.updates("tool_call_update")]
    assert states == ["failed"] * 4


@pytest.mark.parametrize(
    ("mode", "asked"), [("ask", ["write", "run", "commit"]), ("edit", ["run"]), ("bypass", [])]
)
async def test_each_mode_asks_before_its_own_deeds(
    agent: LineClient, mode: str, asked: list[str]
) -> None:
    steps = {"write": "write a.txt x", "run": "run git init -q", "commit": "commit c"}
    prompt = await agent.prompt(
        "\n".join(f"%% {each}" for each in [f"mode {mode}", *steps.values()])
    )
    for deed in asked:
        question = await agent.asked("session/request_permission")
        title = question["params"]["toolCall"]["title"]
        assert title.lower().startswith({"run": "git init", "commit": "git commit"}.get(deed, deed))
        await agent.allow(question, "allow_once")
    assert (await agent.ended(prompt)).stop == "end_turn"


async def test_always_means_until_the_end_of_the_conversation(agent: LineClient, cwd: Path) -> None:
    prompt = await agent.prompt("%% mode ask\n%% write a x\n%% write b x")
    await agent.allow(await agent.asked("session/request_permission"), "allow_always")
    await agent.ended(prompt)
    assert (cwd / "b").exists()


async def test_a_rejected_deed_is_left_out_and_the_script_goes_on(
    agent: LineClient, cwd: Path
) -> None:
    prompt = await agent.prompt("%% mode ask\n%% write a x\n%% say next")
    await agent.allow(await agent.asked("session/request_permission"), "reject_once")
    played = await agent.ended(prompt)
    assert (played.text(), (cwd / "a").exists()) == ("Rejected, so not done: Write a\nnext", False)


async def test_a_question_that_was_allowed_goes_on_and_a_rejected_one_ends_the_turn(
    agent: LineClient,
) -> None:
    for kind, text in (("allow_once", "Allowed: Go?\nwent"), ("reject_always", "Rejected: Go?\n")):
        prompt = await agent.prompt("%% ask Go?\n%% say went")
        await agent.allow(await agent.asked("session/request_permission"), kind)
        played = await agent.ended(prompt)
        assert (played.stop, played.text()) == ("end_turn", text)


async def test_a_question_that_was_cancelled_ends_the_turn_as_cancelled(
    agent: LineClient,
) -> None:
    prompt = await agent.prompt("%% ask kinds=allow_once Go?\n%% say went")
    question = await agent.asked("session/request_permission")
    assert [each["kind"] for each in question["params"]["options"]] == ["allow_once"]
    await agent.send(id=question["id"], result={"outcome": {"outcome": "cancelled"}})
    played = await agent.ended(prompt)
    assert (played.stop, played.text()) == ("cancelled", "")


async def test_a_question_nobody_answers_is_taken_back(agent: LineClient) -> None:
    played = await agent.play("%% ask wait=0.01 Go?\n%% say went")
    (question,) = [each for each in played if each.get("method") == "session/request_permission"]
    (taken,) = [each for each in played if each.get("method") == "$/cancel_request"]
    assert taken["params"]["requestId"] == question["id"]
    assert played.text() == "Nobody answered: Go?\nwent"


@pytest.mark.parametrize(
    ("result", "text", "stop"),
    [
        ({"action": "accept", "content": {"answer": "red"}}, "Answer: red\n", "end_turn"),
        ({"action": "decline"}, "Declined.\n", "end_turn"),
        ({"action": "cancel"}, "", "cancelled"),
    ],
)
async def test_a_question_in_words_takes_every_answer(
    agent: LineClient, result: Json, text: str, stop: str
) -> None:
    prompt = await agent.prompt("%% question choices=red|green Which colour?")
    question = (await agent.asked("elicitation/create"))["params"]
    assert question["message"] == "Which colour?"
    assert question["requestedSchema"]["properties"]["answer"]["enum"] == ["red", "green"]
    await agent.send(id=agent.heard[-1]["id"], result=result)
    played = await agent.ended(prompt)
    assert (played.text(), played.stop) == (text, stop)


async def test_a_page_to_visit_is_asked_for_by_its_address(agent: LineClient) -> None:
    prompt = await agent.prompt("%% visit https://example.org/login?x=1")
    question = await agent.asked("elicitation/create")
    assert question["params"]["url"] == "https://example.org/login?x=1"
    await agent.send(id=question["id"], result={"action": "accept"})
    assert (await agent.ended(prompt)).stop == "end_turn"


async def test_a_client_that_takes_no_questions_is_not_asked(launch: Launch, cwd: Path) -> None:
    async with launch() as agent:
        await agent.open(cwd)
        played = await agent.play("%% question Which?\n%% visit http://127.0.0.1/")
    assert played.text().count("takes no questions") == 2


# ---- cancelling ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [
        "sleep 60",
        "wait-file never",
        "never-answer",
        "run sleep 60",
        "ask Go?",
        "question What?",
        "say delay=60 chunk=1 one two",
        "flood 1000000000",
        "repeat 1000000 think x",
    ],
)
async def test_a_cancel_is_heard_within_every_step(agent: LineClient, cwd: Path, step: str) -> None:
    prompt = await agent.prompt(f"%% touch-file begun\n%% {step}\n%% say not reached")
    await exists(cwd / "begun")
    await agent.cancel()
    played = await agent.ended(prompt)
    assert (played.stop, "not reached" in played.text()) == ("cancelled", False)
    assert (await agent.play("%% say again")).text() == "again"


async def test_a_cancel_stops_a_command_with_all_of_its_group(agent: LineClient, cwd: Path) -> None:
    command = "trap '' TERM; sleep 60 & echo $! > child; echo $$ > shell; touch begun; wait; wait"
    prompt = await agent.prompt(f"%% run {command}")
    await exists(cwd / "begun")
    await agent.cancel()
    played = await agent.ended(prompt)
    assert played.updates("tool_call_update")[-1]["status"] == "failed"
    for name in ("child", "shell"):
        await gone(int((cwd / name).read_text()))


async def test_a_cancel_takes_an_open_question_back(agent: LineClient) -> None:
    prompt = await agent.prompt("%% ask Go?")
    question = await agent.asked("session/request_permission")
    await agent.cancel()
    await agent.send(id=question["id"], result={"outcome": {"outcome": "cancelled"}})
    played = await agent.ended(prompt)
    assert played[0]["method"] == "$/cancel_request"
    assert played.updates("tool_call_update")[-1]["status"] == "failed"
    assert (await agent.play("%% say again")).text() == "again"


async def test_a_cancel_takes_waiting_prompts_with_it(agent: LineClient, cwd: Path) -> None:
    first = await agent.prompt("%% touch-file begun\n%% never-answer")
    second = await agent.prompt("%% say not reached")
    await exists(cwd / "begun")
    await agent.cancel()
    assert (await agent.ended(first)).stop == "cancelled"
    played = await agent.ended(second)
    assert (played.stop, played.text()) == ("cancelled", "")


async def test_one_prompt_alone_can_be_cancelled_by_its_request(
    agent: LineClient, cwd: Path
) -> None:
    first = await agent.prompt("%% wait-file go\n%% say one")
    second = await agent.prompt("%% say two")
    await agent.send(method="$/cancel_request", params={"requestId": second})
    assert (await agent.ended(second)).stop == "cancelled"
    (cwd / "go").touch()
    assert (await agent.ended(first)).text() == "one"


async def test_a_cancel_between_turns_changes_nothing(agent: LineClient) -> None:
    await agent.cancel()
    assert (await agent.play("%% say fine")).text() == "fine"


async def test_told_to_ignore_a_cancel_it_goes_on_to_the_end(agent: LineClient, cwd: Path) -> None:
    prompt = await agent.prompt(
        "%% ignore-cancel\n%% touch-file begun\n%% wait-file go\n%% say end"
    )
    await exists(cwd / "begun")
    await agent.cancel()
    # An answer to what was sent behind it shows that the cancel was heard.
    await agent.call("session/list")
    (cwd / "go").touch()
    played = await agent.ended(prompt)
    assert (played.stop, played.text()) == ("end_turn", "end")


# ---- leaving ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_signal_ends_it_and_the_command_it_runs(
    agent: LineClient, cwd: Path, tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    await agent.prompt("%% run echo $$ > pid; touch begun; exec sleep 60")
    await exists(cwd / "begun")
    agent.process.send_signal(sign)
    assert await agent.exit_code() == code
    await gone(int((cwd / "pid").read_text()))
    assert (tmp_path / "stderr").read_text() == ""


async def test_the_end_of_its_input_ends_it_and_the_command_it_runs(
    agent: LineClient, cwd: Path
) -> None:
    await agent.prompt("%% run echo $$ > pid; touch begun; exec sleep 60")
    await exists(cwd / "begun")
    assert agent.process.stdin
    await agent.process.stdin.aclose()
    assert await agent.exit_code() == 0
    await gone(int((cwd / "pid").read_text()))


def test_a_client_that_stopped_reading_ends_it_quietly(
    argv: list[str], environment: dict[str, str]
) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n')
        process.stdin.flush()
        assert process.stderr.read() == b""
        assert process.wait(15) == 0


async def test_told_to_ignore_sigterm_it_stays(agent: LineClient, cwd: Path) -> None:
    await agent.play("%% ignore-term")
    agent.process.send_signal(signal.SIGTERM)
    assert (await agent.play("%% say still here")).text() == "still here"


def test_on_a_fifo_that_never_ends_it_serves_into_a_file(
    argv: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    fifo, out = tmp_path / "in", tmp_path / "out.jsonl"
    os.mkfifo(fifo)
    ends = os.open(fifo, os.O_RDWR)
    try:
        with out.open("ab") as log:
            process = subprocess.Popen(argv, stdin=ends, stdout=log, env=environment)
        try:
            os.write(ends, b'{"jsonrpc":"2.0","id":"a-1","method":"initialize","params":{}}\n')
            anyio.run(eventually, lambda: out.read_bytes().endswith(b"\n"))
            assert json.loads(out.read_bytes())["id"] == "a-1"
            process.terminate()
            assert process.wait(15) == 143
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(ends)
