"""The dialect of Claude Code over journals recorded from it, orders and lines as they came."""

import json
from typing import Any

import pytest

from bullpen.agents.claude import ClaudeDialect, arguments
from bullpen.agents.dialect import (
    Abandon,
    AnswerPermission,
    AnswerQuestion,
    AnyOrder,
    Close,
    Interrupt,
    Launch,
    ListConversations,
    Open,
    OrderImpossible,
    Prompt,
    SetGoal,
    SetMode,
    SetModel,
    SetOption,
    Steer,
)
from bullpen.model.fact import (
    AskWithdrawn,
    CommandsOffered,
    ConversationOpened,
    Faulted,
    LimitReached,
    LoginRequired,
    MessageStreamed,
    ModeChanged,
    OpeningFailed,
    OrderDone,
    OrderRefused,
    PermissionAsked,
    PlanEntry,
    PlanShown,
    QuestionAsked,
    ThoughtStreamed,
    TokensCounted,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    Unrecognised,
    UserEchoed,
    decode_fact,
    encode_fact,
)
from kit.claude import (
    NAMES,
    ask,
    called,
    ends,
    failure,
    hear,
    of,
    opened,
    play,
    read,
    result,
    running,
    said,
    speaker,
    step,
    written,
)

# ---- what Claude Code said -----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_nothing_claude_code_said_is_foreign_to_us(name: str):
    facts = play(name)
    assert [*of(facts, Unrecognised), *of(facts, Faulted)] == []


def test_text_is_streamed_once_and_each_turn_ends_with_its_own_cost():
    facts = play("text")
    [begun] = of(facts, ConversationOpened)
    assert begun.agent_session == "0d9c6f0e-6b0e-5c55-9d77-4f3f0a2b9c11"
    assert (begun.agent_version, begun.mode) == ("2.1.329", "default")
    assert [choice.id for choice in begun.models] == ["default", "opus"]
    assert len(of(facts, CommandsOffered)) == 1
    assert said(facts) == "w0 w1 w2 w3 w4 two"
    assert "".join(one.text for one in of(facts, ThoughtStreamed)) == "hmm"
    counted = [(one.turn, one.input_tokens, one.cost_usd) for one in of(facts, TokensCounted)]
    assert counted == [(1, 100, pytest.approx(0.0006)), (2, 100, pytest.approx(0.0006))]
    assert ends(facts) == [TurnEnded(turn=turn, stop="end_turn") for turn in (1, 2)]


def test_leave_is_asked_with_the_deed_in_neutral_words():
    write, edit, bash = of(play("permissions"), PermissionAsked)
    assert write.deed is not None
    assert (write.deed.kind, write.deed.paths) == ("edit", ["/home/dev/place/a.txt"])
    diff = {"type": "diff", "path": "/home/dev/place/a.txt"}
    assert write.content == [diff | {"newText": "hello\n"}]
    assert edit.content == [diff | {"oldText": "hello", "newText": "bye"}]
    assert bash.deed is not None
    assert (bash.deed.kind, bash.deed.command) == ("execute", "touch /home/dev/elsewhere")


def test_a_wider_leave_says_what_it_allows():
    write = of(play("permissions"), PermissionAsked)[0]
    assert [one.kind for one in write.options] == ["allow_once", "allow_always", "reject_once"]
    assert write.options[1].name == "Allow, and go on in mode acceptEdits"
    assert of(play("permissions"), ModeChanged) == [ModeChanged(mode="acceptEdits")]


def test_a_refused_tool_fails_with_the_reason_and_the_turn_goes_on():
    facts = play("permissions")
    last = of(facts, ToolChanged)[-1]
    assert (last.status, last.content) == (
        "failed",
        [{"type": "content", "content": {"type": "text", "text": "not now"}}],
    )
    assert ends(facts)[-1] == TurnEnded(turn=2, stop="end_turn")


def test_questions_become_forms_and_the_answers_reach_the_model():
    facts = play("questions")
    first = of(facts, QuestionAsked)[0]
    assert first.schema is not None
    assert first.schema["properties"]["q1"]["title"] == "Which colour?"
    assert first.schema["properties"]["q2"]["type"] == "array"
    answered, declined, _ = of(facts, ToolChanged)
    assert '"Which colour?"="Blue", "Which sizes?"="S, L"' in str(answered.content)
    assert declined.status == "failed"


def test_leaving_the_plan_is_asked_and_changes_the_mode():
    facts = play("questions")
    [asked] = of(facts, PermissionAsked)
    assert asked.deed is not None
    assert asked.deed.kind == "mode"
    assert of(facts, ModeChanged) == [ModeChanged(mode="default")]


def test_each_interrupt_ends_its_turn_as_cancelled_and_the_next_one_runs():
    stops = ["cancelled"] * 4 + ["end_turn"]
    assert ends(play("interrupts")) == [
        TurnEnded(turn=turn, stop=stop) for turn, stop in enumerate(stops, 1)
    ]


def test_a_prompt_that_was_interrupted_before_it_began_is_over():
    lines = read("interrupts")
    at = next(i for i, line in enumerate(lines) if line.startswith(b'{"order":"prompt","turn":4'))
    until = next(
        i for i, line in enumerate(lines) if line.startswith(b'{"order":"prompt","turn":5')
    )
    assert not any(b'"type":"result"' in line for line in lines[at:until])
    assert TurnEnded(turn=4, stop="cancelled") in play("interrupts")


def test_what_an_interrupted_answer_used_is_counted():
    counted = of(play("interrupts"), TokensCounted)[0]
    assert (counted.input_tokens, counted.output_tokens) == (100, 1)
    assert counted.cost_usd == pytest.approx(0.00042)


def test_errors_of_the_model_fail_the_turn_and_the_next_one_runs():
    facts = play("errors")
    assert [one.code for one in of(facts, TurnFailed)] == [
        "http-400",
        "authentication-failed",
        "server-error",
        "rate-limit",
        "billing-error",
    ]
    assert [(one.turn, one.limit) for one in of(facts, LimitReached)] == [
        (4, "rate"),
        (5, "credit"),
    ]
    assert ends(facts)[-1] == TurnEnded(turn=6, stop="end_turn")
    assert said(facts) == "fine"


def test_words_that_were_added_never_end_a_turn_twice():
    facts = play("steer")
    assert ends(facts) == [TurnEnded(turn=turn, stop="end_turn") for turn in (1, 2, 3)]
    assert said(facts) == "donew0 w1 w2 w3 w4 late wordslast"
    assert of(facts, UserEchoed) == []


def test_settings_are_answered_and_bypass_cannot_be_had_later():
    facts = play("steer")
    assert [one.order for one in of(facts, OrderDone)] == ["set-model", "set-mode"]
    [refused] = of(facts, OrderRefused)
    assert (refused.order, refused.code) == ("set-mode", "bypass_not_launched")


def test_the_answer_to_a_prompt_that_was_given_up_does_not_end_the_next_turn():
    lines = read("abandoned")
    dialect = speaker()
    spoken: dict[int, str] = {}
    turn, text = 2, ""
    for line in lines:
        for fact in step(dialect, line)[0]:
            text += fact.text if isinstance(fact, MessageStreamed) else ""
            if isinstance(fact, TurnEnded):
                spoken[fact.turn], text = text, ""
                turn += 1
    words = "w0 w1 w2 w3 w4 "
    assert spoken == {2: words + words, 3: "three"}


def test_a_conversation_that_came_back_does_not_cost_its_past_again():
    facts = play("resumed")
    assert of(facts, ConversationOpened)[0].resumed
    [counted] = of(facts, TokensCounted)
    assert counted.cost_usd == pytest.approx(0.0006)


def test_a_turn_that_used_nothing_costs_nothing_after_a_resume():
    facts = hear(running(), **result(total_cost_usd=0.0042, model_usage_since_last_result={}))
    assert of(facts, TokensCounted) == []


def test_an_older_agent_tells_the_cost_as_a_sum_that_grows():
    dialect = running()
    usage = {"input_tokens": 5, "output_tokens": 2}
    first = hear(dialect, **result(total_cost_usd=0.5, usage=usage))
    dialect.order(Prompt(turn=2, text="go"))
    second = hear(dialect, **result(turn=2, total_cost_usd=0.75, usage=usage))
    assert [one.cost_usd for one in of([*first, *second], TokensCounted)] == [0.5, 0.25]
    assert of(second, TokensCounted)[0].input_tokens == 5


def test_mcp_tools_are_named_by_server_and_tool():
    asked = of(play("tools"), PermissionAsked)[0]
    assert asked.deed is not None
    assert (asked.deed.kind, asked.deed.server, asked.deed.mcp_tool) == ("mcp", "probe", "echo")
    assert asked.title == "probe: echo"


def test_what_a_helper_says_is_not_the_answer():
    facts = play("tools")
    assert "inner words" not in said(facts)
    assert said(facts) == "saidouter words"
    assert of(facts, TokensCounted)[-1].input_tokens == 300


# ---- reading a journal again ---------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_at_any_line_goes_on_the_same(name: str):
    whole = speaker(name)
    for line in read(name):
        twin = speaker(name)
        twin.restore(whole.snapshot())
        assert step(twin, line) == step(whole, line)
        assert twin.snapshot() == whole.snapshot()


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_can_be_stored(name: str):
    for fact in play(name):
        assert decode_fact(encode_fact(fact)) == fact


def test_a_snapshot_at_rest_is_small():
    assert len(opened().snapshot()) < 500


def test_a_snapshot_of_another_dialect_is_refused():
    with pytest.raises(ValueError, match="made by"):
        ClaudeDialect().restore(b'{"dialect":"acp","version":1,"state":{}}')


@pytest.mark.parametrize("name", NAMES)
def test_a_running_turn_is_found_again_without_its_words(name: str):
    """As a restarted service does it: the prompt of the open turn and its interrupt once more,
    then the journal. Words that were added are in the journal alone."""
    again, whole = speaker(name), speaker(name)
    for line in read(name):
        order = json.loads(line)
        if order.get("order") == "prompt":
            fresh = speaker(name)
            fresh.restore(again.snapshot())
            fresh.order(Prompt(turn=order["turn"], text=""))
            again = fresh
        elif order.get("order") != "steer":
            assert ends(step(whole, line)[0]) == ends(step(again, line)[0])
            continue
        step(whole, line)


# ---- beyond the recordings -----------------------------------------------------------------


def test_a_new_conversation_is_named_and_an_old_one_asked_for():
    launch = Launch(directory="/w", conversation="new", package="/p", mode="plan", model="opus")
    words = ["--session-id", "new", "--permission-mode", "plan", "--model", "opus"]
    assert arguments(launch) == words
    back = Launch(directory="/w", conversation="new", resume="old", package="/p")
    assert arguments(back) == ["--resume", "old"]


def test_mcp_servers_are_told_in_the_agents_own_form():
    local = {"name": "a", "command": "c", "args": ["x"], "env": [{"name": "K", "value": "v"}]}
    headers = [{"name": "H", "value": "h"}]
    far = {"type": "sse", "name": "b", "url": "http://x/", "headers": headers}
    launch = Launch(directory="/w", conversation="n", package="/p", mcp_servers=[local, far])
    assert json.loads(arguments(launch)[-1])["mcpServers"] == {
        "a": {"type": "stdio", "command": "c", "args": ["x"], "env": {"K": "v"}},
        "b": {"type": "sse", "url": "http://x/", "headers": {"H": "h"}},
    }


def test_a_conversation_nobody_knows_is_an_opening_that_failed():
    dialect = speaker()
    dialect.order(Open(directory="/w", resume="gone"))
    errors = ["No conversation found with session ID: gone"]
    [failed] = hear(dialect, type="result", is_error=True, errors=errors)
    assert failed == OpeningFailed(code="conversation-not-found", message=errors[0])


def test_an_agent_without_a_key_needs_a_login():
    dialect = speaker()
    dialect.order(Open(directory="/w"))
    account = {"tokenSource": "none", "apiProvider": "firstParty"}
    response = {"subtype": "success", "request_id": "open-1", "response": {"account": account}}
    [needed] = hear(dialect, type="control_response", response=response)
    assert isinstance(needed, LoginRequired)


def test_a_mode_that_does_not_hold_refuses_the_opening():
    dialect = ClaudeDialect(mode="plan")
    [failed] = [fact for line in read("text")[:2] for fact in step(dialect, line)[0]]
    assert isinstance(failed, OpeningFailed)
    assert failed.code == "mode-refused"


def test_a_message_that_was_not_streamed_is_told_whole():
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "all at once"}]
    facts = hear(running(), type="assistant", message={"id": "m", "content": content})
    assert facts == [
        ThoughtStreamed(text="hm", message="m"),
        MessageStreamed(text="all at once", message="m"),
    ]


@pytest.mark.parametrize(
    ("more", "end"),
    [
        ({"stop_reason": "end_turn"}, "end_turn"),
        ({"stop_reason": "max_tokens"}, "max_tokens"),
        ({"stop_reason": "refusal"}, "refusal"),
        ({"is_error": True, "subtype": "error_max_turns"}, "max_turn_requests"),
        ({"is_error": True, "terminal_reason": "aborted_tools"}, "cancelled"),
    ],
)
def test_the_result_decides_how_a_turn_ended(more: dict[str, Any], end: str):
    assert hear(running(), **result(**more))[-1] == TurnEnded(turn=1, stop=end)


@pytest.mark.parametrize(
    ("text", "limit", "resets_at", "clock"),
    [
        (
            "You've hit your limit · resets 3pm (Europe/Berlin)",
            "usage",
            None,
            "3pm (Europe/Berlin)",
        ),
        ("Claude AI usage limit reached|1712345678", "usage", 1712345678.0, None),
        ("Your credit balance is too low to access the API", "credit", None, None),
    ],
)
def test_a_limit_in_words_is_told_before_the_failure(
    text: str, limit: str, resets_at: float | None, clock: str | None
):
    told, failed = hear(running(), **failure(text))
    assert isinstance(told, LimitReached)
    assert (told.limit, told.resets_at, told.clock) == (limit, resets_at, clock)
    assert isinstance(failed, TurnFailed)


def test_the_accounts_own_word_on_its_limit_goes_before_the_text():
    dialect = running()
    info = {"status": "rejected", "rateLimitType": "five_hour", "resetsAt": 1712345678}
    assert hear(dialect, type="rate_limit_event", rate_limit_info=info) == []
    told, _ = hear(dialect, **failure("You've hit your limit", api_error_status=429))
    assert isinstance(told, LimitReached)
    assert (told.limit, told.resets_at) == ("usage", 1712345678.0)


def test_a_warning_of_a_limit_is_none():
    dialect = running()
    hear(dialect, type="rate_limit_event", rate_limit_info={"status": "allowed_warning"})
    assert of(hear(dialect, **failure("broken", api_error_status=500)), LimitReached) == []


@pytest.mark.parametrize(
    ("option", "decision"),
    [
        ("allow", {"behavior": "allow", "updatedInput": {"command": "ls"}}),
        ("reject", {"behavior": "deny", "message": "why not"}),
        (None, {"behavior": "deny", "message": "The user ended the turn.", "interrupt": True}),
    ],
)
def test_an_answer_is_told_in_the_agents_own_words(option: str | None, decision: dict[str, Any]):
    dialect = running()
    ask(dialect, "Bash", command="ls")
    order = AnswerPermission(request="q", option=option, reason="why not")
    [line] = dialect.order(order)
    assert json.loads(line)["response"] == {
        "subtype": "success",
        "request_id": "q",
        "response": decision,
    }
    with pytest.raises(OrderImpossible):
        dialect.order(order)


def test_always_carries_what_the_agent_suggested():
    dialect = running()
    rule = {"type": "addRules", "rules": [{"toolName": "Bash"}], "behavior": "allow"}
    wanted = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "ls"}}
    request = wanted | {"permission_suggestions": [rule]}
    hear(dialect, type="control_request", request_id="q", request=request)
    [line] = dialect.order(AnswerPermission(request="q", option="always"))
    assert json.loads(line)["response"]["response"]["updatedPermissions"] == [rule]


def test_there_is_no_always_where_the_agent_suggested_nothing():
    dialect = running()
    [asked] = ask(dialect, "Bash", command="ls")
    assert isinstance(asked, PermissionAsked)
    assert [one.kind for one in asked.options] == ["allow_once", "reject_once"]
    with pytest.raises(OrderImpossible, match="no option"):
        dialect.order(AnswerPermission(request="q", option="always"))


@pytest.mark.parametrize(
    ("tool", "given", "kind"),
    [
        ("Bash", {"command": "ls"}, "execute"),
        ("Read", {"file_path": "/a"}, "read"),
        ("MultiEdit", {"file_path": "/a"}, "edit"),
        ("NotebookEdit", {"notebook_path": "/a"}, "edit"),
        ("Grep", {"pattern": "x", "path": "/a"}, "search"),
        ("WebFetch", {"url": "http://x/"}, "fetch"),
        ("mcp__a__b__c", {}, "mcp"),
        ("ExitPlanMode", {}, "mode"),
        ("Unheard", {}, "other"),
        ("Unheard", {"command": "rm -r /"}, "execute"),
    ],
)
def test_every_tool_has_a_deed(tool: str, given: dict[str, Any], kind: str):
    [asked] = ask(running(), tool, **given)
    assert isinstance(asked, PermissionAsked)
    assert asked.deed is not None
    assert asked.deed.kind == kind
    named = given.get("file_path") or given.get("notebook_path") or given.get("path")
    assert asked.deed.paths == ([named] if named else [])


def test_a_plan_is_shown():
    todos = [{"content": "one", "status": "completed"}, {"content": "two"}]
    facts = called(running(), "TodoWrite", todos=todos)
    assert of(facts, PlanShown) == [
        PlanShown(entries=[PlanEntry("one", "completed"), PlanEntry("two", "pending")])
    ]


def test_what_the_agent_withdraws_is_withdrawn_once():
    dialect = running()
    ask(dialect, "Bash", command="ls")
    assert hear(dialect, type="control_cancel_request", request_id="q") == [
        AskWithdrawn(request="q")
    ]
    assert hear(dialect, type="control_cancel_request", request_id="q") == []


def test_an_interrupt_answers_what_is_open_and_what_comes_after_it():
    dialect = running()
    ask(dialect, "Bash", command="ls")
    stop, answer = (json.loads(line) for line in dialect.order(Interrupt(turn=1)))
    assert stop["request"] == {"subtype": "interrupt", "cancel_queued": True}
    assert answer["response"]["response"]["behavior"] == "deny"
    wanted: dict[str, Any] = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {}}
    [late] = written(dialect, type="control_request", request_id="r", request=wanted)
    assert late["response"]["request_id"] == "r"
    assert late["response"]["response"]["behavior"] == "deny"


@pytest.mark.parametrize("subtype", ["hook_callback", "mcp_message", "elicitation", None])
def test_a_request_we_do_not_serve_is_refused_and_never_left_open(subtype: str | None):
    dialect = running()
    request = {"type": "control_request", "request_id": "q", "request": {"subtype": subtype}}
    [line] = written(dialect, **request)
    assert line["response"]["subtype"] == "error"
    assert line["response"]["request_id"] == "q"


def test_a_result_that_no_turn_waits_for_ends_none():
    dialect = opened()
    assert ends(hear(dialect, **result())) == []
    dialect.order(Prompt(turn=2, text="go"))
    assert ends(hear(dialect, **result(turn=1))) == []
    assert ends(hear(dialect, **result(turn=2))) == [TurnEnded(turn=2, stop="end_turn")]


def test_a_turn_with_open_words_waits_for_their_answer():
    dialect = running()
    [line] = dialect.order(Steer(turn=1, text="more"))
    name = json.loads(line)["uuid"]
    assert ends(hear(dialect, **result())) == []
    hear(dialect, type="command_lifecycle", command_uuid=name, state="started")
    assert ends(hear(dialect, type="result", user_message_uuids=[name])) == [
        TurnEnded(turn=1, stop="end_turn")
    ]


def test_an_interrupt_ends_a_turn_with_open_words():
    dialect = running()
    dialect.order(Steer(turn=1, text="more"))
    dialect.order(Interrupt(turn=1))
    assert ends(hear(dialect, **result())) == [TurnEnded(turn=1, stop="cancelled")]


@pytest.mark.parametrize(
    "order",
    [
        Steer(turn=1, text="more"),
        SetOption(option="effort", value="high"),
        SetGoal(objective="x"),
        ListConversations(),
        Close(),
        AnswerPermission(request="none", option="allow"),
        AnswerQuestion(request="none", action="accept"),
        Prompt(turn=2, text="bad \ud83d"),
    ],
)
def test_what_cannot_be_done_is_impossible_and_not_silent(order: AnyOrder):
    with pytest.raises(OrderImpossible):
        opened().order(order)


def test_two_turns_never_run_at_once():
    with pytest.raises(OrderImpossible, match="turn 1 is still running"):
        running().order(Prompt(turn=2, text="go"))


def test_a_turn_that_was_given_up_makes_room_for_the_next():
    dialect = running()
    assert dialect.order(Abandon(turn=1)) == []
    assert len(dialect.order(Prompt(turn=2, text="go"))) == 1


def test_death_ends_what_was_open_once():
    dialect = running()
    called(dialect, "Bash", command="ls")
    ask(dialect, "Bash", command="ls")
    dialect.order(SetModel(model="opus"))
    facts = dialect.ended()
    assert of(facts, AskWithdrawn) == [AskWithdrawn(request="q")]
    assert of(facts, ToolChanged) == [ToolChanged(call="c", status="failed")]
    assert [type(fact) for fact in facts[-2:]] == [TurnFailed, OrderRefused]
    assert dialect.ended() == []


def test_a_mode_the_agent_did_not_take_is_a_refused_order():
    dialect = opened()
    name = json.loads(dialect.order(SetMode(mode="plan"))[0])["request_id"]
    response = {"subtype": "error", "request_id": name, "error": "no"}
    assert hear(dialect, type="control_response", response=response) == [
        OrderRefused(order="set-mode", code="refused", message="no")
    ]
