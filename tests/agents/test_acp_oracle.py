"""The protocol's own package and schema are the judges of what we send and understand."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import acp.schema as sdk
import anyio
import jsonschema
import pytest
from anyio.abc import Process
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from bullpen.agents.acp import AcpDialect
from bullpen.agents.dialect import (
    AnswerPermission,
    AnswerQuestion,
    AnyOrder,
    Close,
    Interrupt,
    ListConversations,
    Open,
    Prompt,
    SetMode,
    SetModel,
    SetOption,
)
from bullpen.agents.permission import choose
from bullpen.model.agent import Quirks
from bullpen.model.fact import (
    ConversationClosed,
    ConversationOpened,
    ConversationsListed,
    MessageStreamed,
    ModeChanged,
    OrderDone,
    PermissionAsked,
    ToolCalled,
    ToolChanged,
    TurnEnded,
    Unrecognised,
    decode_fact,
    encode_fact,
)

SCHEMA = os.environ.get("BULLPEN_ACP_SCHEMA", "")
with_schema = pytest.mark.skipif(
    not Path(SCHEMA).is_file(), reason="BULLPEN_ACP_SCHEMA names no schema file"
)

PARAMS: dict[str, tuple[str, type[BaseModel]]] = {
    "initialize": ("InitializeRequest", sdk.InitializeRequest),
    "authenticate": ("AuthenticateRequest", sdk.AuthenticateRequest),
    "session/new": ("NewSessionRequest", sdk.NewSessionRequest),
    "session/load": ("LoadSessionRequest", sdk.LoadSessionRequest),
    "session/resume": ("ResumeSessionRequest", sdk.ResumeSessionRequest),
    "session/list": ("ListSessionsRequest", sdk.ListSessionsRequest),
    "session/close": ("CloseSessionRequest", sdk.CloseSessionRequest),
    "session/prompt": ("PromptRequest", sdk.PromptRequest),
    "session/cancel": ("CancelNotification", sdk.CancelNotification),
    "session/set_mode": ("SetSessionModeRequest", sdk.SetSessionModeRequest),
}


def definitions() -> dict[str, Any]:
    return json.loads(Path(SCHEMA).read_text())["$defs"]


def check(definition: str, value: Any) -> None:
    judge(definition).validate(value)


def judge(definition: str) -> Any:
    schema = {"$ref": f"#/$defs/{definition}", "$defs": definitions()}
    return jsonschema.Draft202012Validator(schema)


SERVERS: list[Any] = [
    {"name": "files", "command": "/bin/files", "env": [{"name": "A", "value": "b"}]},
    {"type": "http", "name": "web", "url": "http://127.0.0.1:1", "headers": []},
]
OFFERS: dict[str, Any] = {
    "loadSession": True,
    "mcpCapabilities": {"http": True},
    "sessionCapabilities": {"list": {}, "close": {}, "additionalDirectories": {}},
}
OPTIONS: list[Any] = [
    {"id": "mode", "category": "mode", "options": [{"value": "m"}]},
    {"id": "model", "category": "model", "options": []},
    {"id": "loud", "options": []},
]
PERMISSION: dict[str, Any] = {
    "sessionId": "s1",
    "toolCall": {"toolCallId": "c"},
    "options": [{"optionId": "y", "name": "Y", "kind": "allow_once"}],
}
FORM: dict[str, Any] = {
    "mode": "form",
    "message": "?",
    "requestedSchema": {"type": "object"},
    "sessionId": "s1",
}


def everything_we_send() -> list[dict[str, Any]]:
    """Drive dialects so that each message of ours is sent at least once."""
    sent: list[dict[str, Any]] = []
    resumes: Any = {**OFFERS, "sessionCapabilities": {"resume": {}, "list": {}, "close": {}}}
    for resume, offers in ((None, OFFERS), ("s1", OFFERS), ("s1", resumes)):
        order = Open(directory="/w", resume=resume, mcp_servers=SERVERS)
        if "additionalDirectories" in offers["sessionCapabilities"]:
            order = Open(directory="/w", resume=resume, extra_directories=["/x"])
        sent += _session(AcpDialect(quirks=Quirks(authenticate="key")), order, offers)
    return sent


def _session(dialect: AcpDialect, opening: Open, offers: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    def give(order: AnyOrder) -> None:
        sent.extend(json.loads(line) for line in dialect.order(order))

    def hear(**message: Any) -> None:
        heard = dialect.feed(json.dumps(message).encode())
        sent.extend(json.loads(line) for line in heard.out)

    give(opening)
    hear(id=sent[-1]["id"], result={"protocolVersion": 1, "agentCapabilities": offers})
    hear(id=sent[-1]["id"], result={})
    modes = {"availableModes": [{"id": "old", "name": "Old"}]}
    hear(id=sent[-1]["id"], result={"sessionId": "s1", "configOptions": OPTIONS, "modes": modes})
    for order in (
        SetMode(mode="m"),
        SetMode(mode="old"),
        SetModel(model="x"),
        SetOption(option="loud", value=True),
        ListConversations(directory="/w", cursor="c"),
        ListConversations(),
        Prompt(turn=1, text="hi"),
    ):
        give(order)
    for number in range(3):
        hear(id=number, method="session/request_permission", params=PERMISSION)
    give(AnswerPermission(request="0", option="y"))
    give(AnswerPermission(request="1", option=None))
    for number, action in enumerate(("accept", "decline", "cancel")):
        hear(id=f"q{number}", method="elicitation/create", params=FORM)
        give(AnswerQuestion(request=f"q{number}", action=action, content={"a": ["b"], "n": 1}))
    hear(id="q9", method="elicitation/create", params=FORM)
    hear(id="x", method="terminal/create", params={})
    hear(method="$/cancel_request", params={"requestId": "q9"})
    give(Interrupt(turn=1))
    give(Close())
    return sent


def body_of(message: dict[str, Any]) -> tuple[str, Any]:
    """Return the definition a message must hold to, and what must hold to it."""
    if "error" in message:
        return "Error", message["error"]
    if "result" in message:
        is_form = "action" in message["result"]
        name = "CreateElicitationResponse" if is_form else "RequestPermissionResponse"
        return name, message["result"]
    if message["method"] == "session/set_config_option":
        return "SetSessionConfigOptionRequest", message["params"]
    return PARAMS[message["method"]][0], message["params"]


@with_schema
def test_everything_we_send_is_valid_by_the_schema():
    for message in everything_we_send():
        assert message["jsonrpc"] == "2.0"
        if "id" in message:
            check("RequestId", message["id"])
        check(*body_of(message))


def test_everything_we_send_is_read_by_the_official_models():
    methods: set[str] = set()
    for message in everything_we_send():
        methods.add(message.get("method", "answer"))
        known = PARAMS.get(message.get("method", ""))
        if known is not None:
            known[1].model_validate(message["params"])
        elif "outcome" in message.get("result", {}):
            sdk.RequestPermissionResponse.model_validate(message["result"])
    assert methods == {*PARAMS, "session/set_config_option", "answer"}


# ---- what the schema allows, generated ---------------------------------------------------------

PLAIN: dict[str, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
    "string": lambda node: st.text(max_size=6),
    "integer": lambda node: st.integers(node.get("minimum", -5), 2**40),
    "number": lambda node: st.floats(-100, 100, allow_nan=False),
    "boolean": lambda node: st.booleans(),
    "null": lambda node: st.none(),
}
free = st.none() | st.booleans() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


class Grammar:
    """Strategies for the subset of JSON Schema the protocol's file uses."""

    def __init__(self) -> None:
        self.defs = definitions()
        self.made: dict[str, st.SearchStrategy[Any]] = {}

    def named(self, name: str) -> st.SearchStrategy[Any]:
        if name not in self.made:
            self.made[name] = st.deferred(lambda: self.of(self.defs[name]))
        return self.made[name]

    def of(self, node: dict[str, Any]) -> st.SearchStrategy[Any]:
        if "const" in node or "enum" in node:
            return st.sampled_from(node.get("enum") or [node["const"]])
        parts = [self.named(node["$ref"].rsplit("/", 1)[1])] if "$ref" in node else []
        parts += [self.of(each) for each in node.get("allOf", [])]
        choices = node.get("oneOf") or node.get("anyOf")
        if choices:
            parts.append(st.one_of([self.of(each) for each in choices]))
        own = self.own(node)
        if own is not None:
            parts.append(own)
        if not parts:
            return free
        return parts[0] if len(parts) == 1 else st.tuples(*parts).map(merged)

    def own(self, node: dict[str, Any]) -> st.SearchStrategy[Any] | None:
        kind = node.get("type")
        if isinstance(kind, list):
            kinds = cast("list[str]", kind)
            return st.one_of([self.of({**node, "type": each}) for each in kinds])
        if kind == "array":
            return st.lists(self.of(node.get("items", {})), max_size=2)
        if kind == "object" or "properties" in node:
            return self.object(node)
        return PLAIN[kind](node) if kind in PLAIN else None

    def object(self, node: dict[str, Any]) -> st.SearchStrategy[Any]:
        given_by = {name: self.of(each) for name, each in node.get("properties", {}).items()}
        required = {
            name: given_by.pop(name) for name in node.get("required", []) if name in given_by
        }
        return st.fixed_dictionaries(required, optional=given_by)


def merged(parts: tuple[Any, ...]) -> Any:
    whole: dict[str, Any] = {}
    for part in parts:
        if not isinstance(part, dict):
            return parts[-1]
        whole.update(cast("dict[str, Any]", part))
    return whole


def opened() -> AcpDialect:
    dialect = AcpDialect()
    dialect.order(Open(directory="/w"))
    dialect.feed(b'{"id":32,"result":{"protocolVersion":1}}')
    dialect.feed(b'{"id":67,"result":{"sessionId":"s1"}}')
    return dialect


KNOWN = {
    "user_message_chunk",
    "agent_message_chunk",
    "agent_thought_chunk",
    "tool_call",
    "tool_call_update",
    "plan",
    "available_commands_update",
    "current_mode_update",
    "config_option_update",
    "session_info_update",
    "usage_update",
}
generous = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    deadline=None,
    database=None,
)


@with_schema
@generous
@given(st.data())
def test_every_update_the_schema_allows_is_understood(data: st.DataObject):
    update = data.draw(Grammar().named("SessionUpdate"))
    assert judge("SessionUpdate").is_valid(update)
    params = {"sessionId": "s1", "update": update}
    line = json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params})
    facts = opened().feed(line.encode()).facts
    for fact in facts:
        decode_fact(encode_fact(fact))
        if update["sessionUpdate"] in KNOWN - {"session_info_update"}:
            assert not isinstance(fact, Unrecognised)


@with_schema
def test_no_kind_of_update_in_the_schema_is_unknown_to_us():
    kinds = {
        each["properties"]["sessionUpdate"]["const"]
        for each in definitions()["SessionUpdate"]["oneOf"]
    }
    assert kinds == KNOWN


@with_schema
@generous
@given(st.data())
def test_every_request_the_schema_allows_is_asked_or_answered(data: st.DataObject):
    grammar = Grammar()
    method, definition = data.draw(
        st.sampled_from(
            [
                ("session/request_permission", "RequestPermissionRequest"),
                ("elicitation/create", "CreateElicitationRequest"),
                ("fs/read_text_file", "ReadTextFileRequest"),
                ("terminal/create", "CreateTerminalRequest"),
            ]
        )
    )
    number = data.draw(grammar.named("RequestId"))
    params = data.draw(grammar.named(definition))
    line = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
    dialect = opened()
    heard = dialect.feed(line.encode())
    asked = [fact for fact in heard.facts if fact.__class__.__name__.endswith("Asked")]
    if asked:
        assert heard.out == []
        assert len(dialect.order(Prompt(turn=1, text="x"))) == 1
        out = [json.loads(each) for each in dialect.order(Interrupt(turn=1))]
        assert out[1]["id"] == number
    else:
        assert json.loads(heard.out[0])["id"] == number
        assert isinstance(heard.facts[-1], Unrecognised)
    if definition == "RequestPermissionRequest":
        assert asked


# ---- an agent written with the official package ------------------------------------------------

AGENT = """
import asyncio
from acp import (Agent, InitializeResponse, LoadSessionResponse, NewSessionResponse,
                 PromptResponse, run_agent, update_agent_message_text, start_tool_call,
                 update_tool_call, plan_entry, update_plan)
from acp.schema import (AgentCapabilities, CloseSessionResponse, Implementation,
                        ListSessionsResponse, PermissionOption, SessionCapabilities,
                        SessionCloseCapabilities, SessionInfo, SessionListCapabilities,
                        SessionMode, SessionModeState, SetSessionModeResponse, ToolCallUpdate)

MODES = SessionModeState(current_mode_id="ask", available_modes=[
    SessionMode(id="ask", name="Ask"), SessionMode(id="free", name="Free")])

class Scripted(Agent):
    def on_connect(self, conn):
        self.conn = conn
        self.stop = asyncio.Event()

    async def initialize(self, protocol_version, client_capabilities=None, client_info=None, **k):
        assert client_info.name == "bullpen"
        able = SessionCapabilities(list=SessionListCapabilities(), close=SessionCloseCapabilities())
        return InitializeResponse(
            protocol_version=protocol_version,
            agent_capabilities=AgentCapabilities(load_session=True, session_capabilities=able),
            agent_info=Implementation(name="scripted", version="1"))

    async def new_session(self, cwd, mcp_servers=None, **k):
        return NewSessionResponse(session_id="one", modes=MODES)

    async def load_session(self, cwd, session_id, mcp_servers=None, **k):
        await self.conn.session_update(session_id, update_agent_message_text("history"))
        return LoadSessionResponse(modes=MODES)

    async def list_sessions(self, cursor=None, cwd=None, **k):
        return ListSessionsResponse(sessions=[SessionInfo(session_id="one", cwd="/w")])

    async def close_session(self, session_id, **k):
        return CloseSessionResponse()

    async def set_session_mode(self, mode_id, session_id, **k):
        return SetSessionModeResponse()

    async def cancel(self, session_id, **k):
        self.stop.set()

    async def prompt(self, session_id, prompt, **k):
        text = prompt[0].text
        if text == "wait":
            await self.conn.session_update(session_id, update_agent_message_text("waiting"))
            await self.stop.wait()
            return PromptResponse(stop_reason="cancelled")
        if text == "ask":
            await self.conn.session_update(session_id, start_tool_call("c1", "Write", kind="edit"))
            reply = await self.conn.request_permission(
                session_id=session_id, tool_call=ToolCallUpdate(tool_call_id="c1"),
                options=[PermissionOption(option_id="ja", name="Ja", kind="allow_once"),
                         PermissionOption(option_id="nein", name="Nein", kind="reject_once")])
            said = getattr(reply.outcome, "option_id", "cancelled")
            await self.conn.session_update(session_id, update_tool_call("c1", status="completed"))
            await self.conn.session_update(session_id, update_agent_message_text(said))
            return PromptResponse(stop_reason="end_turn")
        await self.conn.session_update(session_id, update_plan([plan_entry("step")]))
        await self.conn.session_update(session_id, update_agent_message_text(text[::-1]))
        return PromptResponse(stop_reason="end_turn")

asyncio.run(run_agent(Scripted(), use_unstable_protocol=True))
"""


class Pump:
    """Carries bytes between a real agent and a dialect."""

    def __init__(self, process: Process, dialect: AcpDialect) -> None:
        self.process = process
        self.dialect = dialect
        self.rest = b""
        self.facts: list[Any] = []

    async def order(self, order: AnyOrder) -> None:
        await self.send(self.dialect.order(order))

    async def send(self, lines: list[bytes]) -> None:
        assert self.process.stdin is not None
        for line in lines:
            await self.process.stdin.send(line)

    async def until(self, wanted: type[Any]) -> Any:
        """Return the next fact of that type, and keep all facts on the way to it."""
        assert self.process.stdout is not None
        while True:
            while b"\n" in self.rest:
                line, self.rest = self.rest.split(b"\n", 1)
                heard = self.dialect.feed(line)
                await self.send(heard.out)
                self.facts += heard.facts
                found = [fact for fact in heard.facts if isinstance(fact, wanted)]
                if found:
                    return found[-1]
            self.rest += await self.process.stdout.receive()


@asynccontextmanager
async def talking(folder: Path, dialect: AcpDialect) -> AsyncGenerator[Pump]:
    script = folder / "agent.py"
    script.write_text(textwrap.dedent(AGENT))
    command = [sys.executable, "-W", "ignore", str(script)]
    with (folder / "stderr").open("wb") as stderr:
        async with await anyio.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=folder
        ) as process:
            try:
                yield Pump(process, dialect)
            finally:
                process.kill()


async def test_an_agent_written_with_the_official_package_talks_to_us(tmp_path: Path):
    with anyio.fail_after(30):
        async with talking(tmp_path, AcpDialect(mode="free")) as pump:
            await pump.order(Open(directory=str(tmp_path)))
            opened = await pump.until(ConversationOpened)
            assert (opened.agent_session, opened.mode) == ("one", "free")
            assert opened.abilities == ["load", "list", "close"]

            await pump.order(Prompt(turn=1, text="drow"))
            assert await pump.until(TurnEnded) == TurnEnded(turn=1, stop="end_turn")
            assert MessageStreamed(text="word") in pump.facts

            await pump.order(Prompt(turn=2, text="ask"))
            asked = await pump.until(PermissionAsked)
            assert (asked.title, asked.tool_kind) == ("Write", "edit")
            option = choose(asked.options, allow=False)
            await pump.order(AnswerPermission(request=asked.request, option=option))
            await pump.until(TurnEnded)
            assert MessageStreamed(text="nein") in pump.facts
            assert [type(f) for f in pump.facts if isinstance(f, ToolCalled | ToolChanged)] == [
                ToolCalled,
                ToolChanged,
            ]

            await pump.order(Prompt(turn=3, text="wait"))
            await pump.until(MessageStreamed)
            await pump.order(Interrupt(turn=3))
            assert await pump.until(TurnEnded) == TurnEnded(turn=3, stop="cancelled")

            await pump.order(SetMode(mode="ask"))
            assert await pump.until(ModeChanged) == ModeChanged(mode="ask")
            assert OrderDone(order="set-mode") in pump.facts
            await pump.order(ListConversations())
            listed = await pump.until(ConversationsListed)
            assert listed.conversations[0]["sessionId"] == "one"
            await pump.order(Close())
            await pump.until(ConversationClosed)
            assert not [fact for fact in pump.facts if isinstance(fact, Unrecognised)]


async def test_a_permission_pending_at_an_interrupt_is_cancelled_for_the_official_package(
    tmp_path: Path,
):
    with anyio.fail_after(30):
        async with talking(tmp_path, AcpDialect()) as pump:
            await pump.order(Open(directory=str(tmp_path)))
            await pump.until(ConversationOpened)
            await pump.order(Prompt(turn=1, text="ask"))
            await pump.until(PermissionAsked)
            await pump.order(Interrupt(turn=1))
            await pump.until(TurnEnded)
            assert MessageStreamed(text="cancelled") in pump.facts


async def test_a_conversation_of_the_official_package_is_loaded_without_its_history(
    tmp_path: Path,
):
    with anyio.fail_after(30):
        async with talking(tmp_path, AcpDialect()) as pump:
            await pump.order(Open(directory=str(tmp_path), resume="one"))
            opened = await pump.until(ConversationOpened)
            assert opened.resumed
            await pump.order(Prompt(turn=9, text="ab"))
            await pump.until(TurnEnded)
            streamed = [fact for fact in pump.facts if isinstance(fact, MessageStreamed)]
            assert streamed == [MessageStreamed(text="ba")]
