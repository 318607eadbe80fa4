import json
from typing import Any

import pytest

from bullpen.agents.acp import AcpDialect
from bullpen.agents.dialect import (
    AnswerPermission,
    AnswerQuestion,
    AnyOrder,
    Close,
    Interrupt,
    ListConversations,
    Open,
    OrderImpossible,
    Prompt,
    SetMode,
    SetModel,
    SetOption,
)
from bullpen.model.agent import Quirks
from bullpen.model.fact import (
    AskWithdrawn,
    CommandsOffered,
    ContentShown,
    ConversationClosed,
    ConversationOpened,
    ConversationsListed,
    MessageStreamed,
    ModeChanged,
    OptionsChanged,
    OrderDone,
    OrderRefused,
    PermissionAsked,
    PlanShown,
    QuestionAsked,
    ThoughtStreamed,
    TitleChanged,
    TokensCounted,
    ToolCalled,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    Unrecognised,
    UsageReported,
    UserEchoed,
)

CAPABILITIES: dict[str, Any] = {
    "loadSession": True,
    "sessionCapabilities": {"list": {}, "resume": {}, "close": {}},
}
OPTIONS: list[Any] = [
    {
        "id": "how",
        "name": "Mode",
        "category": "mode",
        "type": "select",
        "currentValue": "careful",
        "options": [{"value": "careful", "name": "Careful"}, {"value": "bold", "name": "Bold"}],
    },
    {
        "id": "brain",
        "name": "Model",
        "category": "model",
        "type": "select",
        "currentValue": "small",
        "options": [
            {"group": "g", "name": "G", "options": [{"value": "small", "name": "Small"}]},
        ],
    },
    {"id": "loud", "name": "Loud", "type": "boolean", "currentValue": False},
]
PERMISSION: dict[str, Any] = {
    "sessionId": "s1",
    "toolCall": {"toolCallId": "c1", "rawInput": {"a": 1}},
    "options": [
        {"optionId": "yes!", "name": "Yes", "kind": "allow_once"},
        {"optionId": "no!", "name": "No", "kind": "reject_once"},
    ],
}


class Talk:
    """A dialect with the agent's side of the wire written by hand."""

    def __init__(self, **wishes: Any) -> None:
        self.dialect = AcpDialect(**wishes)
        self.out: list[dict[str, Any]] = []

    def order(self, order: AnyOrder) -> list[dict[str, Any]]:
        sent = [json.loads(line) for line in self.dialect.order(order)]
        self.out += sent
        return sent

    def hear(self, **message: Any) -> list[Any]:
        heard = self.dialect.feed(json.dumps({"jsonrpc": "2.0", **message}).encode())
        self.out += [json.loads(line) for line in heard.out]
        return heard.facts

    def update(self, name: str, /, **fields: Any) -> list[Any]:
        update = {"sessionUpdate": name, **fields}
        return self.hear(method="session/update", params={"sessionId": "s1", "update": update})

    def answer(self, result: Any) -> list[Any]:
        return self.hear(id=self.last()["id"], result=result)

    def last(self) -> dict[str, Any]:
        return self.out[-1]


def opened(result: dict[str, Any] | None = None, **wishes: Any) -> Talk:
    talk = Talk(**wishes)
    talk.order(Open(directory="/w"))
    talk.answer({"protocolVersion": 1, "agentCapabilities": CAPABILITIES})
    talk.answer({"sessionId": "s1", **(result or {})})
    return talk


def working(result: dict[str, Any] | None = None) -> Talk:
    talk = opened(result)
    talk.order(Prompt(turn=1, text="go"))
    return talk


def test_a_prompt_id_is_a_function_of_the_turn_alone():
    first, second = opened(), opened(mode=None)
    second.order(ListConversations())
    one = first.order(Prompt(turn=7, text="hi"))[0]
    two = second.order(Prompt(turn=7, text="hi"))[0]
    assert one == two
    assert one["id"] == 7 * 32 + 6


def test_a_turn_ends_with_the_stop_reason_and_its_tokens():
    talk = working()
    usage = {"totalTokens": 12, "inputTokens": 10, "outputTokens": 2}
    facts = talk.answer({"stopReason": "end_turn", "usage": usage})
    assert facts == [
        TokensCounted(turn=1, input_tokens=10, output_tokens=2, total_tokens=12),
        TurnEnded(turn=1, stop="end_turn"),
    ]


def test_a_stop_reason_of_the_agents_own_is_kept():
    assert working().answer({"stopReason": "bored"}) == [TurnEnded(turn=1, stop="bored")]


@pytest.mark.parametrize("result", [None, {}, [], {"stopReason": 3}])
def test_a_turn_ends_even_when_its_answer_makes_no_sense(result: Any):
    facts = working().answer(result)
    assert isinstance(facts[0], Unrecognised)
    assert facts[-1] == TurnEnded(turn=1, stop="unknown")


def test_a_model_error_fails_the_turn_and_tells_its_detail():
    talk = working()
    error = {"code": -32603, "message": "Internal error", "data": {"details": "quota"}}
    facts = talk.hear(id=talk.last()["id"], error=error)
    assert facts == [TurnFailed(turn=1, code="-32603", message="Internal error: quota")]


def test_the_answer_to_a_prompt_given_twice_ends_one_turn():
    talk = working()
    number = talk.last()["id"]
    talk.answer({"stopReason": "end_turn"})
    again = talk.hear(id=number, result={"stopReason": "end_turn"})
    assert [type(fact) for fact in again] == [Unrecognised]


def test_an_error_after_an_interrupt_counts_as_cancelled():
    talk = working()
    number = talk.last()["id"]
    talk.order(Interrupt(turn=1))
    facts = talk.hear(id=number, error={"code": -32603, "message": "aborted"})
    assert facts == [TurnEnded(turn=1, stop="cancelled")]


def test_an_interrupt_cancels_first_and_then_answers_what_is_open():
    talk = working()
    talk.hear(id="p", method="session/request_permission", params=PERMISSION)
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    form: dict[str, Any] = {
        "sessionId": "s1",
        "mode": "form",
        "message": "who?",
        "requestedSchema": schema,
    }
    talk.hear(id=4, method="elicitation/create", params=form)
    sent = talk.order(Interrupt(turn=1))
    assert [message.get("method") for message in sent] == ["session/cancel", None, None]
    assert sent[1]["id"] == "p"
    assert sent[1]["result"] == {"outcome": {"outcome": "cancelled"}}
    assert sent[2]["id"] == 4
    assert sent[2]["result"] == {"action": "cancel"}


def test_updates_after_an_interrupt_are_still_taken():
    talk = working()
    talk.order(Interrupt(turn=1))
    content = {"type": "text", "text": "bye"}
    assert talk.update("agent_message_chunk", content=content) == [MessageStreamed(text="bye")]


def test_a_permission_asked_after_the_interrupt_is_cancelled_and_bothers_nobody():
    talk = working()
    talk.order(Interrupt(turn=1))
    facts = talk.hear(id=9, method="session/request_permission", params=PERMISSION)
    assert [type(fact) for fact in facts] == [ToolCalled]
    assert talk.last()["result"] == {"outcome": {"outcome": "cancelled"}}


def test_an_interrupted_turn_marks_its_unfinished_calls_as_cancelled():
    talk = working()
    number = talk.last()["id"]
    talk.update("tool_call", toolCallId="a", title="A", status="in_progress")
    talk.update("tool_call", toolCallId="b", title="B", status="completed")
    talk.order(Interrupt(turn=1))
    facts = talk.hear(id=number, result={"stopReason": "cancelled"})
    assert facts == [
        ToolChanged(call="a", status="cancelled"),
        TurnEnded(turn=1, stop="cancelled"),
    ]


def test_a_call_that_runs_on_after_the_turn_is_known_when_it_reports():
    talk = working()
    talk.update("tool_call", toolCallId="a", title="A", status="in_progress")
    talk.answer({"stopReason": "end_turn"})
    facts = talk.update("tool_call_update", toolCallId="a", status="completed")
    assert facts == [ToolChanged(call="a", status="completed")]


@pytest.mark.parametrize("before", ["never started", "over"])
def test_an_interrupt_without_its_turn_gives_no_bytes(before: str):
    talk = opened()
    if before == "over":
        talk.order(Prompt(turn=1, text="go"))
        talk.answer({"stopReason": "end_turn"})
    assert talk.order(Interrupt(turn=1)) == []


def test_a_second_prompt_while_a_turn_runs_is_impossible():
    with pytest.raises(OrderImpossible, match="turn 1 is still running"):
        working().order(Prompt(turn=2, text="more"))


def test_a_prompt_before_the_conversation_is_open_is_impossible():
    with pytest.raises(OrderImpossible, match="no conversation is open"):
        Talk().order(Prompt(turn=1, text="go"))


def test_text_that_is_no_unicode_is_impossible_and_changes_nothing():
    talk = opened()
    with pytest.raises(OrderImpossible, match="not valid Unicode"):
        talk.order(Prompt(turn=1, text="half \ud83d"))
    talk.order(Prompt(turn=2, text="whole"))


def test_a_permission_is_answered_with_the_agents_exact_id():
    talk = working()
    for raw in (5, "5", "abc", 2**70):
        facts = talk.hear(id=raw, method="session/request_permission", params=PERMISSION)
        asked = facts[-1]
        assert isinstance(asked, PermissionAsked)
        sent = talk.order(AnswerPermission(request=asked.request, option="yes!"))
        assert sent[0]["id"] == raw
        assert type(sent[0]["id"]) is type(raw)
        assert sent[0]["result"] == {"outcome": {"outcome": "selected", "optionId": "yes!"}}


def test_a_number_and_the_same_digits_as_text_are_two_requests():
    talk = working()
    names = {
        talk.hear(id=raw, method="session/request_permission", params=PERMISSION)[-1].request
        for raw in (5, "5", "s:5", None, "null", 5.5, "5.5")
    }
    assert len(names) == 7


def test_a_permission_can_be_the_first_sight_of_a_call():
    talk = working()
    facts = talk.hear(id=0, method="session/request_permission", params=PERMISSION)
    assert facts[0] == ToolCalled(call="c1", raw_input={"a": 1})
    assert facts[1].request == "0"
    assert facts[1].call == "c1"
    changed = talk.update("tool_call_update", toolCallId="c1", status="completed")
    assert changed == [ToolChanged(call="c1", status="completed")]


def test_a_permission_borrows_title_and_kind_from_the_call_it_is_about():
    talk = working()
    talk.update("tool_call", toolCallId="c1", title="Write x", kind="edit", status="pending")
    facts = talk.hear(id=0, method="session/request_permission", params=PERMISSION)
    assert len(facts) == 1
    assert (facts[0].title, facts[0].tool_kind) == ("Write x", "edit")


def test_a_permission_answered_once_cannot_be_answered_again():
    talk = working()
    talk.hear(id=0, method="session/request_permission", params=PERMISSION)
    with pytest.raises(OrderImpossible, match="no option"):
        talk.order(AnswerPermission(request="0", option="perhaps"))
    assert talk.order(AnswerPermission(request="0", option=None))[0]["result"] == {
        "outcome": {"outcome": "cancelled"}
    }
    with pytest.raises(OrderImpossible, match="no permission"):
        talk.order(AnswerPermission(request="0", option="yes!"))


def test_what_is_open_when_its_turn_ends_is_withdrawn_and_still_answered():
    talk = working()
    number = talk.last()["id"]
    talk.hear(id=0, method="session/request_permission", params=PERMISSION)
    facts = talk.hear(id=number, result={"stopReason": "end_turn"})
    assert facts == [AskWithdrawn(request="0"), TurnEnded(turn=1, stop="end_turn")]
    assert talk.last()["id"] == 0
    assert talk.last()["result"] == {"outcome": {"outcome": "cancelled"}}


def test_a_request_the_agent_takes_back_is_answered_with_its_own_code():
    talk = working()
    talk.hear(id=3, method="session/request_permission", params=PERMISSION)
    assert talk.hear(method="$/cancel_request", params={"requestId": "3"}) == []
    assert talk.hear(method="$/cancel_request", params={"requestId": 3}) == [
        AskWithdrawn(request="3")
    ]
    assert talk.last()["error"]["code"] == -32800
    assert talk.hear(method="$/cancel_request", params={"requestId": 3}) == []


def test_a_form_is_asked_and_answered():
    talk = working()
    schema: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}
    form: dict[str, Any] = {
        "sessionId": "s1",
        "mode": "form",
        "message": "who?",
        "requestedSchema": schema,
    }
    facts = talk.hear(id=1, method="elicitation/create", params=form)
    assert facts == [QuestionAsked(request="1", message="who?", schema=schema)]
    sent = talk.order(AnswerQuestion(request="1", action="accept", content={"name": "Ada"}))
    assert sent[0]["result"] == {"action": "accept", "content": {"name": "Ada"}}


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_a_question_can_be_declined_and_carries_no_content_then(action: str):
    talk = working()
    params: dict[str, Any] = {
        "mode": "url",
        "message": "log in",
        "url": "https://x.example",
        "elicitationId": "e",
    }
    facts = talk.hear(id=1, method="elicitation/create", params=params)
    assert facts == [QuestionAsked(request="1", message="log in", url="https://x.example")]
    sent = talk.order(AnswerQuestion(request="1", action=action, content={"a": "b"}))
    assert sent[0]["result"] == {"action": action}


def test_a_page_visited_without_us_closes_its_question():
    talk = working()
    params: dict[str, Any] = {
        "mode": "url",
        "message": "log in",
        "url": "https://x.example",
        "elicitationId": "e",
    }
    talk.hear(id=1, method="elicitation/create", params=params)
    facts = talk.hear(method="elicitation/complete", params={"elicitationId": "e"})
    assert facts == [AskWithdrawn(request="1")]
    assert talk.last()["result"] == {"action": "accept"}


@pytest.mark.parametrize(
    "method",
    ["fs/read_text_file", "fs/write_text_file", "terminal/create", "mcp/connect", "_own.dev/x"],
)
def test_what_we_do_not_serve_is_refused_at_once_and_kept(method: str):
    talk = working()
    facts = talk.hear(id=8, method=method, params={"path": "/x"})
    assert facts[0].what == method
    assert facts[0].raw["params"] == {"path": "/x"}
    assert talk.last()["id"] == 8
    assert talk.last()["error"]["code"] == -32601


@pytest.mark.parametrize("method", ["session/request_permission", "elicitation/create"])
def test_a_request_with_unusable_parameters_is_refused_and_kept(method: str):
    talk = working()
    facts = talk.hear(id=8, method=method, params={"options": [1], "message": 4})
    assert [type(fact) for fact in facts] == [Unrecognised]
    assert talk.last()["error"]["code"] == -32602


def test_a_request_with_an_id_that_is_none_is_refused():
    talk = working()
    facts = talk.hear(id=[1], method="session/request_permission", params=PERMISSION)
    assert [type(fact) for fact in facts] == [Unrecognised]
    assert talk.last()["id"] is None
    assert talk.last()["error"]["code"] == -32600


def test_notifications_nobody_knows_are_kept():
    talk = working()
    for method in ("auth/status_update", "_vendor/x", "$/progress"):
        facts = talk.hear(method=method, params={"a": 1})
        assert [(type(fact), fact.what) for fact in facts] == [(Unrecognised, method)]


TEXT = {"type": "text", "text": "hi"}
IMAGE = {"type": "image", "data": "AA==", "mimeType": "image/png"}


@pytest.mark.parametrize(
    ("update", "fact"),
    [
        (
            {"sessionUpdate": "agent_message_chunk", "content": TEXT, "messageId": "m"},
            MessageStreamed(text="hi", message="m"),
        ),
        (
            {"sessionUpdate": "agent_thought_chunk", "content": TEXT},
            ThoughtStreamed(text="hi"),
        ),
        ({"sessionUpdate": "user_message_chunk", "content": TEXT}, UserEchoed(text="hi")),
        (
            {"sessionUpdate": "agent_message_chunk", "content": IMAGE},
            ContentShown(role="agent", block=IMAGE),
        ),
        (
            {"sessionUpdate": "tool_call", "toolCallId": "t", "title": "T", "kind": "edit"},
            ToolCalled(call="t", title="T", tool_kind="edit"),
        ),
        (
            {
                "sessionUpdate": "available_commands_update",
                "availableCommands": [{"name": "web", "description": "search"}],
            },
            CommandsOffered(commands=[]),
        ),
        ({"sessionUpdate": "current_mode_update", "currentModeId": "x"}, ModeChanged(mode="x")),
        ({"sessionUpdate": "current_mode_update", "modeId": "x"}, ModeChanged(mode="x")),
        ({"sessionUpdate": "session_info_update", "title": None}, TitleChanged(title=None)),
        ({"sessionUpdate": "session_info_update", "title": "T"}, TitleChanged(title="T")),
        (
            {
                "sessionUpdate": "usage_update",
                "used": 5,
                "size": 10,
                "cost": {"amount": 1, "currency": "USD"},
            },
            UsageReported(used_tokens=5, size_tokens=10, cost=1.0, currency="USD"),
        ),
        (
            {"sessionUpdate": "config_option_update", "configOptions": OPTIONS},
            OptionsChanged(options=OPTIONS, mode="careful", model="small"),
        ),
        ({"sessionUpdate": "plan", "entries": []}, PlanShown(entries=[])),
    ],
)
def test_each_kind_of_update_becomes_its_fact(update: dict[str, Any], fact: Any):
    params: dict[str, Any] = {"sessionId": "s1", "update": update}
    heard = working().hear(method="session/update", params=params)
    if isinstance(fact, CommandsOffered):
        assert heard[0].commands[0].description == "search"
    else:
        assert heard == [fact]


@pytest.mark.parametrize(
    "update",
    [
        {"sessionUpdate": "notice", "level": "info"},
        {"sessionUpdate": "agent_message_chunk"},
        {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": 5}},
        {"sessionUpdate": "tool_call", "title": "no id"},
        {"sessionUpdate": "plan", "entries": [{"status": "pending"}]},
        {"sessionUpdate": "usage_update", "used": "many"},
        {"sessionUpdate": ["odd"]},
        {},
    ],
)
def test_an_update_of_an_unknown_or_broken_kind_is_kept_whole(update: dict[str, Any]):
    params: dict[str, Any] = {"sessionId": "s1", "update": update}
    facts = working().hear(method="session/update", params=params)
    assert [type(fact) for fact in facts] == [Unrecognised]
    assert facts[0].raw == update


def test_vendor_details_of_a_session_are_kept_beside_its_title():
    facts = working().update("session_info_update", title="T", _meta={"codex": {"error": "x"}})
    assert [type(fact) for fact in facts] == [TitleChanged, Unrecognised]


def test_an_update_of_another_conversation_is_not_taken_for_ours():
    update = {"sessionUpdate": "agent_message_chunk", "content": TEXT}
    params: dict[str, Any] = {"sessionId": "other", "update": update}
    facts = working().hear(method="session/update", params=params)
    assert [type(fact) for fact in facts] == [Unrecognised]


def test_a_mode_is_set_through_the_option_of_that_category():
    talk = opened({"configOptions": OPTIONS, "modes": {"availableModes": [{"id": "bold"}]}})
    sent = talk.order(SetMode(mode="bold"))[0]
    assert sent["method"] == "session/set_config_option"
    assert sent["params"] == {"sessionId": "s1", "configId": "how", "value": "bold"}
    facts = talk.answer({"configOptions": OPTIONS})
    assert facts[0] == OrderDone(order="set-mode")
    assert isinstance(facts[1], OptionsChanged)


def test_a_mode_is_set_the_old_way_where_there_are_no_options():
    talk = opened({"modes": {"availableModes": [{"id": "bold", "name": "B"}]}})
    assert talk.order(SetMode(mode="bold"))[0]["params"] == {"sessionId": "s1", "modeId": "bold"}
    assert talk.answer({}) == [OrderDone(order="set-mode"), ModeChanged(mode="bold")]


def test_a_model_is_set_the_old_way_where_there_are_no_options():
    talk = opened({"models": {"availableModels": [{"modelId": "m", "name": "M"}]}})
    sent = talk.order(SetModel(model="other"))[0]
    assert (sent["method"], sent["params"]["modelId"]) == ("session/set_model", "other")
    assert talk.answer(None) == [
        OrderDone(order="set-model"),
        OptionsChanged(options=[], model="other"),
    ]


def test_a_refused_order_leaves_the_conversation_as_it_was():
    talk = opened({"configOptions": OPTIONS})
    sent = talk.order(SetOption(option="loud", value=True))[0]
    assert sent["params"] == {
        "sessionId": "s1",
        "configId": "loud",
        "value": True,
        "type": "boolean",
    }
    facts = talk.hear(id=sent["id"], error={"code": -32602, "message": "no"})
    assert facts == [OrderRefused(order="set-option", code="-32602", message="no")]
    talk.order(Prompt(turn=1, text="go on"))


def test_an_order_answered_twice_is_done_once():
    talk = opened({"configOptions": OPTIONS})
    number = talk.order(SetMode(mode="bold"))[0]["id"]
    assert talk.hear(id=number, result={})[0] == OrderDone(order="set-mode")
    assert [type(fact) for fact in talk.hear(id=number, result={})] == [Unrecognised]


@pytest.mark.parametrize(
    "order", [SetMode(mode="x"), SetModel(model="x"), SetOption(option="x", value="y")]
)
def test_what_the_agent_never_offered_is_impossible(order: AnyOrder):
    with pytest.raises(OrderImpossible):
        opened().order(order)


def test_the_agents_conversations_are_listed_page_by_page():
    talk = opened()
    sent = talk.order(ListConversations(directory="/w", cursor="2"))[0]
    assert sent["params"] == {"cwd": "/w", "cursor": "2"}
    entry = {"sessionId": "old", "cwd": "/w"}
    facts = talk.answer({"sessions": [entry], "nextCursor": "3"})
    assert facts == [ConversationsListed(conversations=[entry], next_cursor="3")]


def test_a_closed_conversation_takes_no_prompt():
    talk = opened()
    assert talk.order(Close())[0]["params"] == {"sessionId": "s1"}
    assert talk.answer({}) == [ConversationClosed()]
    with pytest.raises(OrderImpossible):
        talk.order(Prompt(turn=1, text="hello?"))


def test_a_dead_agent_fails_its_turn_and_frees_whoever_was_asked():
    talk = working({"configOptions": OPTIONS})
    talk.update("tool_call", toolCallId="a", title="A")
    talk.hear(id=0, method="session/request_permission", params=PERMISSION)
    talk.order(SetMode(mode="bold"))
    facts = talk.dialect.ended()
    assert facts[0] == AskWithdrawn(request="0")
    assert ToolChanged(call="a", status="failed") in facts
    assert isinstance(facts[-2], TurnFailed)
    assert facts[-2].code == "agent-ended"
    assert isinstance(facts[-1], OrderRefused)
    assert talk.dialect.ended() == []


def test_an_interrupted_turn_of_an_agent_that_died_was_cancelled():
    talk = working()
    talk.order(Interrupt(turn=1))
    assert talk.dialect.ended() == [TurnEnded(turn=1, stop="cancelled")]


def test_ids_can_be_texts_for_agents_that_want_them():
    talk = opened(quirks=Quirks(numeric_ids=False))
    assert talk.order(Prompt(turn=1, text="go"))[0]["id"] == "38"
    assert talk.answer({"stopReason": "end_turn"}) == [TurnEnded(turn=1, stop="end_turn")]


def test_an_answer_with_its_id_as_text_is_understood():
    talk = working()
    number = talk.last()["id"]
    assert talk.hear(id=str(number), result={"stopReason": "end_turn"}) == [
        TurnEnded(turn=1, stop="end_turn")
    ]


def test_a_snapshot_at_rest_is_small_whatever_was_said_before():
    talk = working()
    for number in range(500):
        talk.update("tool_call", toolCallId=f"c{number}", title="T" * 100, status="completed")
    number = talk.last()["id"]
    talk.hear(id=number, result={"stopReason": "end_turn"})
    assert len(talk.dialect.snapshot()) < 400


def test_a_snapshot_of_another_kind_is_not_taken():
    talk = working()
    with pytest.raises(ValueError, match="version 99"):
        talk.dialect.restore(b'{"dialect":"acp","version":99,"state":{}}')
    for junk in (b"", b"{}", b"\xff", talk.dialect.snapshot()[:-2]):
        with pytest.raises(ValueError, match="not a snapshot"):
            talk.dialect.restore(junk)


def test_a_restored_dialect_still_knows_of_the_interrupt_and_the_open_requests():
    talk = working()
    talk.hear(id="p", method="session/request_permission", params=PERMISSION)
    later = Talk()
    later.dialect.restore(talk.dialect.snapshot())
    assert later.order(AnswerPermission(request="p", option="no!"))[0]["id"] == "p"
    later.order(Interrupt(turn=1))
    last = Talk()
    last.dialect.restore(later.dialect.snapshot())
    assert last.hear(id=38, error={"code": 1, "message": "x"}) == [
        ToolChanged(call="c1", status="cancelled"),
        TurnEnded(turn=1, stop="cancelled"),
    ]


def test_the_journal_of_a_turn_reads_the_same_without_the_orders():
    live = opened()
    lines = [
        {"id": 32, "result": {"protocolVersion": 1, "agentCapabilities": CAPABILITIES}},
        {"id": 67, "result": {"sessionId": "s1"}},
        {"id": 38, "result": {"stopReason": "end_turn"}},
    ]
    alone = Talk()
    facts = [fact for line in lines for fact in alone.hear(**line)]
    live.order(Prompt(turn=1, text="x"))
    assert facts[-1:] == live.answer({"stopReason": "end_turn"})
    assert isinstance(facts[0], ConversationOpened)
    assert alone.order(Prompt(turn=2, text="y"))[0]["params"]["sessionId"] == "s1"
