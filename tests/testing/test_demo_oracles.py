"""What the demo agent writes, held against the protocol's schema and its official package."""

import json
import os
from pathlib import Path
from typing import Any, cast

import pytest
from acp import schema
from jsonschema import Draft202012Validator

from bullpen.testing.line_client import Json, LineClient

EVERYTHING = """\
%% title T
%% commands fix: Mend it
%% plan [x] one; [>] two (high); three
%% think a thought
%% say some words
%% mode edit
%% mode bypass
%% write a.txt x
%% edit a.txt: x => y
%% append a.txt z
%% run echo out; exit 1
%% usage 1 2 0.5
%% usage 1 2
%% tokens 1 2
%% flood 2
%% big-line 10
%% mode plan
%% write b.txt x
%% mode ask
%% write c.txt x
%% ask Go?
%% question choices=a|b Which?
%% question What?
%% visit https://example.org/
"""
RESULTS = {
    "initialize": "InitializeResponse",
    "session/new": "NewSessionResponse",
    "session/load": "LoadSessionResponse",
    "session/resume": "ResumeSessionResponse",
    "session/list": "ListSessionsResponse",
    "session/close": "CloseSessionResponse",
    "session/set_mode": "SetSessionModeResponse",
    "session/set_config_option": "SetSessionConfigOptionResponse",
    "session/prompt": "PromptResponse",
}
PARAMS = {
    "session/update": "SessionNotification",
    "session/request_permission": "RequestPermissionRequest",
    "elicitation/create": "CreateElicitationRequest",
    "$/cancel_request": "CancelRequestNotification",
}


async def _answer(agent: LineClient, message: Json) -> None:
    if message.get("method") == "session/request_permission":
        await agent.allow(message, "allow_once")
    elif message.get("method") == "elicitation/create":
        await agent.send(id=message["id"], result={"action": "accept", "content": {}})


async def _conversation(agent: LineClient, cwd: Path) -> list[tuple[str, Json]]:
    """Do all there is to do and return every message with the name of its form."""
    prompt = await agent.prompt(EVERYTHING)
    while (await agent.message()).get("id") != prompt or "method" in agent.heard[-1]:
        await _answer(agent, agent.heard[-1])
    methods = {1: "initialize", 2: "session/new", 3: "session/prompt"}
    who = {"sessionId": agent.session}
    calls: list[tuple[str, Json]] = [
        ("session/set_mode", who | {"modeId": "ask"}),
        ("session/set_config_option", who | {"configId": "model", "value": "demo-deep"}),
        ("session/list", {}),
        ("session/close", who),
        ("session/load", who | {"cwd": str(cwd), "mcpServers": []}),
        ("session/resume", who | {"cwd": str(cwd), "mcpServers": []}),
    ]
    for method, params in calls:
        methods[(await agent.call(method, **params))["id"]] = method
    return [
        (PARAMS[each["method"]], each["params"])
        if "method" in each
        else (RESULTS[methods[each["id"]]], each["result"])
        for each in agent.heard
    ]


async def test_every_message_is_of_the_form_the_schema_wants(agent: LineClient, cwd: Path) -> None:
    file = os.environ.get("BULLPEN_ACP_SCHEMA")
    if not file:
        pytest.skip("BULLPEN_ACP_SCHEMA names no schema file")
    definitions: Json = json.loads(Path(file).read_text())["$defs"]
    for name, value in await _conversation(agent, cwd):
        rule = {"$ref": f"#/$defs/{name}", "$defs": definitions}
        check = cast("Any", Draft202012Validator(rule))
        assert [error.message for error in check.iter_errors(value)] == [], value


async def test_every_message_is_read_by_the_official_package(agent: LineClient, cwd: Path) -> None:
    read = 0
    for name, value in await _conversation(agent, cwd):
        model = getattr(schema, name, None)
        if model is None or name == "CreateElicitationRequest":
            continue
        model.model_validate(value)
        read += 1
    assert read > 40
