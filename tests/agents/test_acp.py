from typing import Any

import pytest

from bullpen.agents.dialect import (
    Abandon,
    AnswerPermission,
    AnswerQuestion,
    Interrupt,
    ListConversations,
    OrderImpossible,
    Prompt,
)
from bullpen.agents.wire import Ask, request_id
from bullpen.model.fact import (
    AskWithdrawn,
    MessageStreamed,
    PermissionAsked,
    QuestionAsked,
    TokensCounted,
    ToolCalled,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    Unrecognised,
)
from kit.talk import PERMISSION, Talk, opened, working


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


def test_an_abandoned_turn_is_forgotten_and_its_late_answer_ends_nothing():
    talk = working()
    assert talk.order(Abandon(turn=1)) == []
    assert talk.order(Abandon(turn=1)) == []
    talk.order(Prompt(turn=2, text="next"))
    late = talk.hear(id=request_id(Ask.PROMPT, 1), result={"stopReason": "end_turn"})
    assert [type(fact) for fact in late] == [Unrecognised]
    assert talk.answer({"stopReason": "end_turn"}) == [TurnEnded(turn=2, stop="end_turn")]
