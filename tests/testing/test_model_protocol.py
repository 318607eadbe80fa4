"""Each protocol of the scripted model, spoken to as agents do: over HTTP, streamed and whole."""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from kit.model import Model, running_model

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "n": {"type": "integer"}},
}
TOOL_FIELDS: dict[str, Any] = {"type": "object", "properties": {"command": {}, "description": {}}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Generator[Model]:
    with running_model(tmp_path_factory.mktemp("model")) as made:
        yield made


@pytest.fixture(scope="module")
def http(model: Model) -> Generator[httpx.Client]:
    with httpx.Client(base_url=model.url, timeout=20, trust_env=False) as client:
        yield client


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return what a stream of server-sent events held."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


# ---- Anthropic ---------------------------------------------------------------------------------


def message(prompt: str, **more: Any) -> dict[str, Any]:
    bash = {"name": "Bash", "input_schema": TOOL_FIELDS}
    said = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
    return {"model": "m", "messages": said, "tools": [bash]} | more


def test_anthropic_tells_a_message_whole(http: httpx.Client):
    whole = http.post("/v1/messages", json=message("%%think hm;;text hello there")).json()
    assert [block["type"] for block in whole["content"]] == ["thinking", "text"]
    assert whole["content"][1]["text"] == "hello there"
    assert (whole["role"], whole["stop_reason"]) == ("assistant", "end_turn")
    assert whole["usage"]["input_tokens"] == 100


def test_anthropic_streams_a_message_in_pieces(http: httpx.Client):
    body = message("%%think hm;;text hello there", stream=True)
    told = events(http.post("/v1/messages", json=body))
    kinds = [one["type"] for one in told]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    deltas = [one["delta"] for one in told if one["type"] == "content_block_delta"]
    assert "".join(one.get("text", "") for one in deltas) == "hello there"
    assert "".join(one.get("thinking", "") for one in deltas) == "hm"
    assert sum("text" in one for one in deltas) > 2
    assert told[-2]["delta"]["stop_reason"] == "end_turn"


def test_anthropic_uses_a_tool_and_goes_on_after_its_result(http: httpx.Client):
    body = message("%%bash ls;;text done", stream=True)
    told = events(http.post("/v1/messages", json=body))
    (use,) = [one["content_block"] for one in told if one["type"] == "content_block_start"]
    said = "".join(one.get("delta", {}).get("partial_json", "") for one in told)
    assert (use["type"], use["name"], json.loads(said)["command"]) == ("tool_use", "Bash", "ls")
    body["messages"] += [
        {"role": "assistant", "content": [use | {"input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use["id"]}]},
        {"role": "system", "content": "be nice"},
    ]
    told = events(http.post("/v1/messages", json=body))
    assert "".join(one.get("delta", {}).get("text", "") for one in told) == "done"


def test_anthropic_paths_are_made_absolute_with_the_directory_the_agent_names(http: httpx.Client):
    fields: dict[str, Any] = {"properties": {"file_path": {}, "content": {}}}
    body = message("%%write path=a.txt", system="Primary working directory: /some/place\nMore.")
    body["tools"] = [{"name": "Write", "input_schema": fields}]
    (block,) = http.post("/v1/messages", json=body).json()["content"]
    assert block["input"]["file_path"] == "/some/place/a.txt"


def test_anthropic_side_questions_never_play_the_script(http: httpx.Client):
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    answer = http.post("/v1/messages", json=message("title for: %%bash rm", output_config=form))
    assert json.loads(answer.json()["content"][0]["text"]) == {"title": "x", "n": 1}
    answer = http.post("/v1/messages", json=message("title for: %%bash rm", tools=[]))
    assert answer.json()["content"][0]["text"] == "Scripted title"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (429, "rate_limit_error"), (529, "api_error")],
)
def test_anthropic_refuses_in_its_own_words(http: httpx.Client, status: int, kind: str):
    wanted = {"status": status, "message": "no more", "retry_after": 7, "headers": {"x-a": 1}}
    answer = http.post("/v1/messages", json=message(f"%%error {json.dumps(wanted)}"))
    assert answer.status_code == status
    assert answer.json() == {"type": "error", "error": {"type": kind, "message": "no more"}}
    assert (answer.headers["retry-after"], answer.headers["x-a"]) == ("7", "1")


def test_anthropic_counts_tokens(http: httpx.Client):
    answer = http.post("/v1/messages/count_tokens", json=message("hello"))
    assert answer.json() == {"input_tokens": 100}


# ---- OpenAI Responses --------------------------------------------------------------------------


def response(prompt: str, *tools: dict[str, Any], **more: Any) -> dict[str, Any]:
    place = "<environment_context><cwd>/some/place</cwd></environment_context>"
    said = [{"type": "message", "role": "user", "content": [{"text": text}]}
            for text in (place, prompt)]  # fmt: skip
    return {"model": "m", "input": said, "tools": list(tools), **more}


SHELL: dict[str, Any] = {
    "type": "function",
    "name": "exec_command",
    "parameters": {"properties": {"cmd": {}}},
}


def test_responses_are_told_whole(http: httpx.Client):
    whole = http.post("/v1/responses", json=response("%%think hm;;text hello")).json()
    thought, said = whole["output"]
    assert (whole["status"], thought["type"]) == ("completed", "reasoning")
    assert said["content"][0]["text"] == "hello"
    assert whole["usage"]["total_tokens"] == 110
    assert http.post("/v1/responses", json={"input": "%%text hi"}).json()["output"]


def test_responses_are_streamed_in_numbered_pieces_and_end_with_the_whole(http: httpx.Client):
    told = events(http.post("/v1/responses", json=response("%%text hello there", stream=True)))
    assert [one["sequence_number"] for one in told] == list(range(len(told)))
    deltas = [one["delta"] for one in told if one["type"] == "response.output_text.delta"]
    assert ("".join(deltas), len(deltas) > 2) == ("hello there", True)
    assert told[0]["type"] == "response.created"
    assert told[-1]["type"] == "response.completed"
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "hello there"


def test_responses_call_a_function_and_go_on_after_its_output(http: httpx.Client):
    body = response("%%bash ls;;text done", SHELL)
    (call,) = http.post("/v1/responses", json=body).json()["output"]
    assert (call["type"], json.loads(call["arguments"])) == ("function_call", {"cmd": "ls"})
    body["input"] += [
        {"type": "reasoning", "summary": []},
        call,
        {"type": "function_call_output", "call_id": call["call_id"], "output": "a"},
    ]
    (said,) = http.post("/v1/responses", json=body).json()["output"]
    assert said["content"][0]["text"] == "done"


def test_responses_apply_a_patch_with_the_free_form_tool_or_a_shell(http: httpx.Client):
    free = {"type": "custom", "name": "apply_patch"}
    prompt = "%%patch path=a.txt content=hi"
    (call,) = http.post("/v1/responses", json=response(prompt, free)).json()["output"]
    assert call["type"] == "custom_tool_call"
    assert "*** Add File: a.txt\n+hi\n" in call["input"]
    (call,) = http.post("/v1/responses", json=response(prompt, SHELL)).json()["output"]
    assert json.loads(call["arguments"])["cmd"].startswith("apply_patch <<'EOF'")


def test_responses_name_the_namespace_of_an_mcp_tool(http: httpx.Client):
    inner: dict[str, Any] = {"type": "function", "name": "echo_probe", "parameters": {}}
    space: dict[str, Any] = {"type": "namespace", "name": "mcp__probe", "tools": [inner]}
    body = response("%%mcp hi", space, SHELL)
    (call,) = http.post("/v1/responses", json=body).json()["output"]
    assert (call["name"], call["namespace"]) == ("echo_probe", "mcp__probe")
    assert json.loads(call["arguments"]) == {"text": "hi"}


def test_responses_ask_to_leave_the_sandbox(http: httpx.Client):
    (call,) = http.post("/v1/responses", json=response("%%esc ls", SHELL)).json()["output"]
    assert json.loads(call["arguments"])["sandbox_permissions"] == "require_escalated"


def test_responses_fill_a_schema(http: httpx.Client):
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    whole = http.post("/v1/responses", json=response("title: %%bash rm", SHELL, text=form)).json()
    assert json.loads(whole["output"][0]["content"][0]["text"]) == {"title": "x", "n": 1}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (429, "rate_limit_exceeded"), (503, "server_error")],
)
def test_openai_refuses_in_its_own_words(http: httpx.Client, status: int, kind: str):
    for path, body in (("responses", response), ("chat/completions", chat)):
        answer = http.post(f"/v1/{path}", json=body(f"%%error {status}"))
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)


# ---- OpenAI Chat Completions -------------------------------------------------------------------


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    bash = {"type": "function", "function": {"name": "bash", "parameters": TOOL_FIELDS}}
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], "tools": [bash]} | more


def test_a_completion_is_told_whole(http: httpx.Client):
    whole = http.post("/v1/chat/completions", json=chat("%%text hello there")).json()
    (choice,) = whole["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("hello there", "stop")
    assert whole["usage"]["total_tokens"] == 110


def test_a_completion_is_streamed_in_pieces(http: httpx.Client):
    body = chat("%%text hello there", stream=True)
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.text.endswith("data: [DONE]\n\n")
    told = events(answer)
    deltas = [one["choices"][0]["delta"].get("content", "") for one in told[:-1]]
    assert "".join(deltas) == "hello there"
    assert told[-2]["choices"][0]["finish_reason"] == "stop"
    assert told[-1]["usage"]["total_tokens"] == 110


@pytest.mark.parametrize("stream", [True, False])
def test_a_completion_calls_a_tool_and_goes_on_after_its_result(http: httpx.Client, stream: bool):
    body = chat("%%bash ls;;text done", stream=stream)
    answer = http.post("/v1/chat/completions", json=body)
    if stream:
        deltas = [one["choices"][0]["delta"] for one in events(answer)[:-1]]
        (calls,) = [one["tool_calls"] for one in deltas if "tool_calls" in one]
        assert calls[0].pop("index") == 0
    else:
        calls = answer.json()["choices"][0]["message"]["tool_calls"]
    assert json.loads(calls[0]["function"]["arguments"])["command"] == "ls"
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "a"},
    ]
    whole = http.post("/v1/chat/completions", json=body | {"stream": False}).json()
    assert whole["choices"][0]["message"]["content"] == "done"


def test_a_completion_fills_a_schema(http: httpx.Client):
    form = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    body = chat("title: %%bash rm", response_format=form)
    whole = http.post("/v1/chat/completions", json=body).json()
    assert json.loads(whole["choices"][0]["message"]["content"]) == {"title": "x", "n": 1}


# ---- Gemini ------------------------------------------------------------------------------------


def gemini(prompt: str, **more: Any) -> dict[str, Any]:
    shell = {"name": "run_shell_command", "parametersJsonSchema": TOOL_FIELDS}
    contents = [{"role": "user", "parts": [{"text": prompt}]}]
    return {"contents": contents, "tools": [{"functionDeclarations": [shell]}], **more}


GEMINI = "/v1beta/models/gemini-x"


def test_gemini_tells_an_answer_whole(http: httpx.Client):
    whole = http.post(f"{GEMINI}:generateContent", json=gemini("%%text hello there")).json()
    (one,) = whole["candidates"]
    assert one["content"]["parts"] == [{"text": "hello there"}]
    assert (one["finishReason"], whole["usageMetadata"]["totalTokenCount"]) == ("STOP", 110)


def test_gemini_streams_an_answer_in_pieces(http: httpx.Client):
    body = gemini("%%think hm;;text hello there")
    told = events(http.post(f"{GEMINI}:streamGenerateContent?alt=sse", json=body))
    parts = [part for one in told for part in one["candidates"][0]["content"]["parts"]]
    assert parts[0] == {"text": "hm", "thought": True}
    assert "".join(part["text"] for part in parts[1:]) == "hello there"
    assert told[-1]["candidates"][0]["finishReason"] == "STOP"


def test_gemini_calls_a_function_and_goes_on_after_its_response(http: httpx.Client):
    body = gemini("%%bash ls;;text done")
    whole = http.post(f"{GEMINI}:generateContent", json=body).json()
    (part,) = whole["candidates"][0]["content"]["parts"]
    assert part["functionCall"]["args"]["command"] == "ls"
    response = {"functionResponse": {"name": "run_shell_command", "response": {"output": "a"}}}
    body["contents"] += [
        {"role": "model", "parts": [part]},
        {"role": "user", "parts": [response]},
    ]
    whole = http.post(f"{GEMINI}:generateContent", json=body).json()
    assert whole["candidates"][0]["content"]["parts"] == [{"text": "done"}]


def test_the_router_of_gemini_never_plays_the_script(http: httpx.Client):
    settings = {"responseJsonSchema": SCHEMA}
    body = gemini("route: %%bash rm", generationConfig=settings)
    whole = http.post(f"{GEMINI}:generateContent", json=body).json()
    (part,) = whole["candidates"][0]["content"]["parts"]
    assert json.loads(part["text"]) == {"title": "x", "n": 1}


def test_gemini_counts_tokens_and_refuses_in_its_own_words(http: httpx.Client):
    answer = http.post(f"{GEMINI}:countTokens", json=gemini("hello"))
    assert answer.json() == {"totalTokens": 100}
    answer = http.post(f"{GEMINI}:generateContent", json=gemini("%%error 429"))
    assert answer.json()["error"]["status"] == "RESOURCE_EXHAUSTED"


# ---- all ---------------------------------------------------------------------------------------


def test_the_models_are_listed_and_nothing_else_is_known(http: httpx.Client):
    listed = http.get("/v1/models").json()
    assert [one["id"] for one in listed["data"]] == ["scripted-1"]
    assert http.post("/telemetry", content=b"x" * 9999).status_code == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": 3}', b'{"input": [1]}', b"\xff"])
@pytest.mark.parametrize(
    "path",
    ["/v1/messages", "/v1/responses", "/v1/chat/completions", f"{GEMINI}:generateContent"],
)
def test_no_request_breaks_the_model(http: httpx.Client, path: str, body: bytes):
    assert http.post(path, content=body).status_code == 200


@contextmanager
def streaming(http: httpx.Client, path: str, body: dict[str, Any]) -> Generator[list[float]]:
    """Yield when each line came, seconds after the first."""
    with http.stream("POST", path, json=body) as answer:
        came = [time.monotonic() for line in answer.iter_lines() if line]
    yield [one - came[0] for one in came]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", message("%%slow 0.4", stream=True)),
        ("/v1/responses", response("%%slow 0.4", stream=True)),
        ("/v1/chat/completions", chat("%%slow 0.4", stream=True)),
        (f"{GEMINI}:streamGenerateContent?alt=sse", gemini("%%slow 0.4")),
    ],
    ids=["anthropic", "responses", "chat", "gemini"],
)
def test_a_slow_answer_keeps_the_stream_open_and_comes_word_by_word(
    http: httpx.Client, path: str, body: dict[str, Any]
):
    with streaming(http, path, body) as came:
        assert came[-1] >= 0.35
        assert any(0.1 < one < came[-1] - 0.1 for one in came)


def test_what_was_asked_is_kept_with_a_line_each(http: httpx.Client, model: Model):
    before = len(model.requests())
    http.post("/v1/messages", json=message("%%text kept-7f3a"))
    (last,) = model.requests()[before:]
    assert (last["api"], last["path"], last["note"]) == ("anthropic", "/v1/messages", "0:text")
    assert model.said_to("kept-7f3a") == 1
    lines = (model.log / "access.log").read_text().splitlines()
    assert lines[-1].endswith("-anthropic.json /v1/messages 0:text")
