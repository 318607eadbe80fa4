from typing import Any

import pytest

from bullpen.agents.dialect import (
    AnswerPermission,
    AnyOrder,
    Close,
    Interrupt,
    ListConversations,
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
    PlanShown,
    ThoughtStreamed,
    TitleChanged,
    ToolCalled,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    Unrecognised,
    UsageReported,
    UserEchoed,
)
from kit.talk import CAPABILITIES, OPTIONS, PERMISSION, Talk, opened, working

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
