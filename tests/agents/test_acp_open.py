import json
from typing import Any

import pytest

from bullpen.agents.acp import AcpDialect
from bullpen.agents.dialect import AnyOrder, Open, Prompt
from bullpen.model.agent import Quirks
from bullpen.model.fact import (
    Choice,
    CommandsOffered,
    ConversationOpened,
    LoginRequired,
    MessageStreamed,
    OpeningFailed,
    OptionsChanged,
    OrderRefused,
    TurnEnded,
    Unrecognised,
)

CHUNK: dict[str, Any] = {
    "sessionUpdate": "agent_message_chunk",
    "content": {"type": "text", "text": "old"},
}
MODES: dict[str, Any] = {
    "currentModeId": "default",
    "availableModes": [{"id": "default", "name": "Default"}, {"id": "plan", "name": "Plan"}],
}


class Shake:
    """A handshake with the agent's side of the wire written by hand."""

    def __init__(self, **wishes: Any) -> None:
        self.dialect = AcpDialect(**wishes)
        self.last: dict[str, Any] = {}

    def order(self, order: AnyOrder) -> "Shake":
        self.last = json.loads(self.dialect.order(order)[-1])
        return self

    def hear(self, **message: Any) -> list[Any]:
        heard = self.dialect.feed(json.dumps({"jsonrpc": "2.0", **message}).encode())
        for line in heard.out:
            self.last = json.loads(line)
        return heard.facts

    def answer(self, result: Any) -> list[Any]:
        return self.hear(id=self.last["id"], result=result)

    def refuse(self, code: int, message: str = "no", **more: Any) -> list[Any]:
        return self.hear(id=self.last["id"], error={"code": code, "message": message, **more})

    def update(self, update: dict[str, Any], session: str = "s1") -> list[Any]:
        return self.hear(method="session/update", params={"sessionId": session, "update": update})


def greeted(order: Open | None = None, *, offers: Any = None, **wishes: Any) -> Shake:
    shake = Shake(**wishes).order(order or Open(directory="/w"))
    info = {"name": "agent", "title": "Agent", "version": "3"}
    shake.answer(
        {
            "protocolVersion": 1,
            "agentCapabilities": offers or {},
            "agentInfo": info,
            "authMethods": [{"id": "key", "name": "A key"}],
        }
    )
    return shake


def test_a_conversation_opens_in_two_steps_and_says_what_the_agent_can_do():
    offers: dict[str, Any] = {
        "loadSession": True,
        "promptCapabilities": {"image": True, "audio": False},
        "mcpCapabilities": {"http": True},
        "sessionCapabilities": {"list": {}, "resume": None, "close": {}},
    }
    shake = greeted(offers=offers)
    assert shake.last["method"] == "session/new"
    assert shake.last["params"] == {"cwd": "/w", "mcpServers": []}
    assert shake.answer({"sessionId": "s1", "modes": MODES}) == [
        ConversationOpened(
            agent_session="s1",
            agent_name="Agent",
            agent_version="3",
            abilities=["load", "list", "close", "image", "mcp-http"],
            modes=[Choice("default", "Default"), Choice("plan", "Plan")],
            mode="default",
        )
    ]


def test_neither_files_nor_terminals_are_offered_even_where_the_catalog_wishes_it():
    shake = Shake(quirks=Quirks(client_fs=True)).order(Open(directory="/w"))
    offered = shake.last["params"]["clientCapabilities"]
    assert offered["fs"] == {"readTextFile": False, "writeTextFile": False}
    assert offered["terminal"] is False


@pytest.mark.parametrize("version", [2, 0, "1", None, True, [1], 10**30])
def test_another_protocol_is_refused(version: Any):
    shake = Shake().order(Open(directory="/w"))
    facts = shake.answer({"protocolVersion": version})
    assert [type(fact) for fact in facts] == [OpeningFailed]
    assert facts[0].code == "protocol-unsupported"


def test_a_login_names_the_methods_told_before():
    facts = greeted().refuse(-32000, "Authentication required")
    assert facts == [
        LoginRequired(message="Authentication required", methods=[Choice("key", "A key")])
    ]


def test_a_login_is_told_apart_when_it_is_wanted_at_once():
    shake = Shake().order(Open(directory="/w"))
    facts = shake.refuse(-32000, data={"authMethods": [{"id": "web", "name": "Web"}]})
    assert facts == [LoginRequired(message="no", methods=[Choice("web", "Web")])]


def test_any_other_error_fails_the_opening_with_its_code():
    facts = greeted().refuse(-32603, "Internal error", data="no such model")
    assert facts == [OpeningFailed(code="-32603", message="Internal error: no such model")]


def test_a_conversation_without_an_id_fails_the_opening():
    assert greeted().answer({})[0].code == "malformed"


def test_after_a_login_the_same_process_can_be_asked_again():
    shake = greeted()
    first = shake.last["id"]
    shake.refuse(-32000)
    shake.order(Open(directory="/w"))
    assert shake.last["id"] > first
    shake.answer({"protocolVersion": 1})
    assert isinstance(shake.answer({"sessionId": "s1"})[0], ConversationOpened)


def test_the_catalog_can_say_that_authenticate_comes_first():
    shake = greeted(quirks=Quirks(authenticate="key"))
    assert shake.last["method"] == "authenticate"
    assert shake.last["params"] == {"methodId": "key"}
    shake.answer({})
    assert shake.last["method"] == "session/new"


def test_a_refused_authentication_wants_a_login():
    facts = greeted(quirks=Quirks(authenticate="key")).refuse(-32603, "bad key")
    assert facts == [LoginRequired(message="bad key", methods=[Choice("key", "A key")])]


def test_tool_servers_are_handed_over_complete():
    servers = [{"name": "a", "command": "/bin/a"}, {"type": "http", "name": "b", "url": "http://x"}]
    order = Open(directory="/w", mcp_servers=servers)
    shake = greeted(order, offers={"mcpCapabilities": {"http": True}})
    assert shake.last["params"]["mcpServers"] == [
        {"name": "a", "command": "/bin/a", "args": [], "env": []},
        {"type": "http", "name": "b", "url": "http://x", "headers": []},
    ]


def test_an_agent_that_cannot_reach_a_tool_server_is_not_opened_without_it():
    order = Open(directory="/w", mcp_servers=[{"type": "http", "name": "b", "url": "http://x"}])
    shake = Shake().order(order)
    facts = shake.answer({"protocolVersion": 1})
    assert facts[0].code == "mcp-unsupported"
    assert "'b'" in facts[0].message


def test_further_directories_are_told_only_to_agents_that_take_them():
    order = Open(directory="/w", extra_directories=["/x"])
    able = greeted(order, offers={"sessionCapabilities": {"additionalDirectories": {}}})
    assert able.last["params"]["additionalDirectories"] == ["/x"]
    unable = Shake().order(order)
    assert unable.answer({"protocolVersion": 1})[0].code == "directories-unsupported"


def test_a_conversation_is_resumed_rather_than_loaded():
    order = Open(directory="/w", resume="s1")
    shake = greeted(order, offers={"loadSession": True, "sessionCapabilities": {"resume": {}}})
    assert shake.last["method"] == "session/resume"
    facts = shake.answer({})
    assert facts[0].resumed
    assert facts[0].agent_session == "s1"


def test_an_agent_that_boasts_of_resume_is_asked_to_load_instead():
    order = Open(directory="/w", resume="s1")
    shake = greeted(order, offers={"loadSession": True, "sessionCapabilities": {"resume": {}}})
    shake.refuse(-32601)
    assert shake.last["method"] == "session/load"
    assert shake.answer(None)[0].resumed


def test_an_agent_without_memory_refuses_to_resume():
    shake = Shake().order(Open(directory="/w", resume="s1"))
    assert shake.answer({"protocolVersion": 1})[0].code == "resume-unsupported"


def loading(**wishes: Any) -> Shake:
    order = Open(directory="/w", resume="s1")
    return greeted(order, offers={"loadSession": True}, **wishes)


def test_loaded_history_is_no_news_but_the_present_is():
    shake = loading()
    assert shake.update(CHUNK) == []
    assert shake.update({"sessionUpdate": "tool_call", "toolCallId": "t", "title": "T"}) == []
    now = shake.update({"sessionUpdate": "available_commands_update", "availableCommands": []})
    assert now == [CommandsOffered(commands=[])]
    shake.answer({"modes": MODES})
    shake.order(Prompt(turn=4, text="go"))
    assert shake.update(CHUNK) == [MessageStreamed(text="old")]


def test_history_that_comes_after_the_answer_is_no_news_either_where_it_is_known_to():
    shake = loading(quirks=Quirks(late_history=True))
    assert isinstance(shake.answer({})[0], ConversationOpened)
    assert shake.update(CHUNK) == []
    shake.order(Prompt(turn=4, text="go"))
    assert shake.update(CHUNK) == [MessageStreamed(text="old")]


def test_what_an_agent_says_after_loading_is_news_where_nothing_else_is_known():
    shake = loading()
    shake.answer({})
    assert shake.update(CHUNK) == [MessageStreamed(text="old")]


def test_the_history_is_recognised_in_a_journal_read_without_its_orders():
    alone = Shake()
    result = {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}}
    assert alone.hear(id=33, result=result) == []
    assert alone.update(CHUNK) == []
    facts = alone.hear(id=68, result={})
    assert facts[0].resumed
    assert facts[0].agent_session == "s1"


def test_a_resumed_journal_reads_the_same_after_an_order_to_open_anew():
    later = Shake().order(Open(directory="/w"))
    result = {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}}
    later.hear(id=33, result=result)
    assert later.update(CHUNK) == []
    assert later.hear(id=68, result={})[0].resumed


def test_updates_before_the_conversation_has_its_id_are_taken():
    shake = greeted()
    assert shake.update(CHUNK) == [MessageStreamed(text="old")]
    assert isinstance(shake.answer({"sessionId": "s1"})[0], ConversationOpened)
    assert shake.update(CHUNK) == [MessageStreamed(text="old")]


def test_the_mode_asked_for_is_set_before_the_conversation_counts_as_open():
    shake = greeted(mode="plan")
    assert shake.answer({"sessionId": "s1", "modes": MODES}) == []
    assert shake.last["method"] == "session/set_mode"
    facts = shake.answer({})
    assert facts[0].mode == "plan"


def test_a_mode_the_agent_is_in_already_is_not_set():
    facts = greeted(mode="default").answer({"sessionId": "s1", "modes": MODES})
    assert isinstance(facts[0], ConversationOpened)


def test_a_mode_that_cannot_be_set_fails_the_opening():
    facts = greeted(mode="yolo").answer({"sessionId": "s1", "modes": MODES})
    assert facts == [
        OpeningFailed(
            code="mode-unsupported",
            message="the agent has no mode 'yolo'; it offers default, plan",
        )
    ]


def test_a_mode_the_agent_refuses_fails_the_opening():
    shake = greeted(mode="plan")
    shake.answer({"sessionId": "s1", "modes": MODES})
    assert shake.refuse(-32602, "not here") == [OpeningFailed(code="-32602", message="not here")]


def test_a_mode_the_agent_only_pretends_to_set_fails_the_opening():
    option: dict[str, Any] = {
        "id": "mode",
        "category": "mode",
        "currentValue": "ask",
        "options": [{"value": "ask"}, {"value": "plan"}],
    }
    shake = greeted(mode="plan")
    shake.answer({"sessionId": "s1", "configOptions": [option]})
    assert shake.last["method"] == "session/set_config_option"
    facts = shake.answer({"configOptions": [option]})
    assert facts[0].code == "mode-unsupported"


def test_the_catalog_can_say_that_modes_exist_which_are_not_listed():
    shake = greeted(mode="auto", quirks=Quirks(set_mode_after_open=True))
    shake.answer({"sessionId": "s1"})
    assert shake.last["params"] == {"sessionId": "s1", "modeId": "auto"}


def test_a_model_is_set_after_the_mode():
    models = {"currentModelId": "m", "availableModels": [{"modelId": "m", "name": "M"}]}
    shake = greeted(mode="plan", model="n")
    shake.answer({"sessionId": "s1", "modes": MODES, "models": models})
    shake.answer({})
    assert shake.last["method"] == "session/set_model"
    facts = shake.answer({})
    assert (facts[0].mode, facts[0].model) == ("plan", "n")


def test_a_model_that_cannot_be_set_opens_the_conversation_and_says_so():
    facts = greeted(model="n").answer({"sessionId": "s1"})
    assert [type(fact) for fact in facts] == [ConversationOpened, OrderRefused]
    assert facts[1].code == "not-offered"


def test_a_model_the_agent_refuses_opens_the_conversation_and_says_so():
    option: dict[str, Any] = {
        "id": "model",
        "category": "model",
        "currentValue": "m",
        "options": [],
    }
    shake = greeted(model="n")
    shake.answer({"sessionId": "s1", "configOptions": [option]})
    facts = shake.refuse(-32602, "unknown model")
    assert [type(fact) for fact in facts] == [ConversationOpened, OptionsChanged, OrderRefused]
    assert facts[0].model == "m"


def test_an_answer_to_the_handshake_given_twice_changes_nothing():
    shake = greeted()
    number = shake.last["id"]
    shake.answer({"sessionId": "s1"})
    facts = shake.hear(id=number, result={"sessionId": "s2"})
    assert [type(fact) for fact in facts] == [Unrecognised]
    shake.order(Prompt(turn=1, text="go"))
    assert shake.last["params"]["sessionId"] == "s1"


def test_a_second_run_of_the_same_dialect_starts_afresh():
    shake = greeted()
    shake.answer({"sessionId": "s1"})
    shake.order(Prompt(turn=1, text="go"))
    restored = Shake()
    restored.dialect.restore(shake.dialect.snapshot())
    assert [type(fact).__name__ for fact in restored.dialect.ended()] == ["TurnFailed"]
    restored.order(Open(directory="/w", resume="s1"))
    offers: dict[str, Any] = {"sessionCapabilities": {"resume": {}}}
    restored.answer({"protocolVersion": 1, "agentCapabilities": offers})
    assert restored.answer({})[0].agent_session == "s1"
    restored.order(Prompt(turn=1, text="go"))
    assert restored.answer({"stopReason": "end_turn"}) == [TurnEnded(turn=1, stop="end_turn")]
