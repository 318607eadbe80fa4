import msgspec
import pytest

from bullpen.model.fact import (
    AgentEnded,
    AgentLaunched,
    AnyFact,
    AskAnswered,
    ConversationOpened,
    DeliveryDoubted,
    Event,
    LaunchIntended,
    MessageStreamed,
    PermissionAsked,
    PermissionOption,
    SessionCreated,
    StateChanged,
    TurnDelivered,
    TurnEnded,
    TurnFailed,
    TurnQueued,
    TurnStarted,
    TurnWithdrawn,
    UsageReported,
)
from bullpen.model.session import SessionRecord, SessionState, TurnState
from bullpen.model.story import apply, outcome, settled

CREATED = SessionCreated(agent="demo", directory="/repo", key="k")
LIFE: list[AnyFact] = [
    CREATED,
    StateChanged(before="queued", after="starting", reason="there is room"),
    LaunchIntended(run=1, argv=["demo"], offset=0),
    AgentLaunched(run=1, pid=7, start_time="b:1"),
    ConversationOpened(agent_session="a-1", abilities=["load"]),
    StateChanged(before="starting", after="idle", reason="conversation opened"),
]


def told(*facts: AnyFact) -> SessionRecord:
    record = None
    for seq, fact in enumerate(facts, start=1):
        record = apply(record, Event("calm-otter", seq, float(seq), fact))
    assert record is not None
    return record


def test_a_story_must_begin_with_the_wish():
    with pytest.raises(ValueError, match="begins with"):
        apply(None, Event("calm-otter", 1, 0.0, TurnDelivered(turn=1)))


def test_an_event_the_record_holds_already_changes_nothing():
    record = told(*LIFE, TurnQueued(turn=1, text="do it"))
    before = msgspec.json.encode(record)
    apply(record, Event("calm-otter", 3, 99.0, TurnQueued(turn=9, text="again")))
    assert msgspec.json.encode(record) == before


def test_a_turn_goes_from_the_queue_to_running_to_done():
    record = told(*LIFE, TurnQueued(turn=1, text="do it"), TurnQueued(turn=2, text="then"))
    assert (record.turns, record.queue) == (2, [1, 2])
    record = told(*LIFE, TurnQueued(turn=1, text="x"), TurnStarted(turn=1), TurnDelivered(turn=1))
    assert record.turn is not None
    assert (record.queue, record.turn.state, record.turn.delivered) == ([], "running", True)
    record = told(
        *LIFE, TurnQueued(turn=1, text="x"), TurnStarted(turn=1), TurnEnded(turn=1, stop="end_turn")
    )
    assert record.turn is not None
    assert (record.turn.state, outcome(record)) == (TurnState.DONE, "completed")


def test_the_end_of_a_turn_that_does_not_run_changes_nothing():
    record = told(*LIFE, TurnEnded(turn=4, stop="end_turn"))
    assert record.turn is None


def test_a_doubted_delivery_is_settled_by_the_agents_answer():
    facts = [*LIFE, TurnQueued(turn=1, text="x"), TurnStarted(turn=1), DeliveryDoubted(turn=1)]
    record = told(*facts)
    assert record.turn is not None
    assert record.turn.doubted
    record = told(*facts, TurnEnded(turn=1, stop="end_turn"))
    assert record.turn is not None
    assert (record.turn.doubted, record.turn.delivered) == (False, True)


def test_a_doubted_turn_needs_the_user_until_the_agent_shows_that_it_got_it():
    working = StateChanged(before="idle", after="working", reason="r")
    facts = [*LIFE, TurnQueued(turn=1, text="x"), TurnStarted(turn=1), working]
    doubted = told(*facts, DeliveryDoubted(turn=1))
    assert (outcome(doubted), settled(doubted), settled(doubted, turn=1)) == ("doubted", True, True)
    heard = told(*facts, DeliveryDoubted(turn=1), MessageStreamed(text="on it"))
    assert (outcome(heard), settled(heard)) == ("working", False)
    assert heard.turn is not None
    assert heard.turn.delivered


def test_an_ask_is_open_until_it_is_answered_or_its_turn_is_over():
    options = [PermissionOption("yes", "allow_once", "Yes")]
    asked = PermissionAsked(request="n:1", options=options, title="Write a")
    running = [*LIFE, TurnQueued(turn=1, text="x"), TurnStarted(turn=1), asked]
    assert [ask.request for ask in told(*running).asks] == ["n:1"]
    assert told(*running, AskAnswered(request="n:1", outcome="allowed", choice="yes")).asks == []
    assert told(*running, TurnFailed(turn=1, code="x", message="y")).asks == []
    assert told(*running, AgentEnded(run=1, exit_code=3)).asks == []


def test_a_withdrawn_prompt_leaves_the_queue():
    record = told(*LIFE, TurnQueued(turn=1, text="x"), TurnWithdrawn(turn=1, reason="replaced"))
    assert record.queue == []


def test_the_title_is_the_first_line_of_prose_of_the_first_prompt():
    text = "\n# Add a coupon\n\nmore"
    assert told(*LIFE, TurnQueued(turn=1, text=text)).title == "Add a coupon"
    assert told(*LIFE, TurnQueued(turn=1, text="%% say x")).title == ""


def test_usage_keeps_what_a_later_report_leaves_out():
    record = told(
        *LIFE, UsageReported(used_tokens=5, size_tokens=9), UsageReported(cost=1.5, currency="USD")
    )
    assert (record.used_tokens, record.size_tokens, record.cost) == (5, 9, 1.5)


def test_the_last_line_is_the_last_that_says_something():
    record = told(*LIFE, MessageStreamed(text="one\ntwo\n\n"))
    assert record.last_line == "two"
    pieces = [MessageStreamed(text=text) for text in ("no more than ", "the goods ", "cost.")]
    assert told(*LIFE, *pieces).last_line == "no more than the goods cost."


@pytest.mark.parametrize(
    ("stop", "word"),
    [
        ("end_turn", "completed"),
        ("cancelled", "cancelled"),
        ("refusal", "refused"),
        ("max_tokens", "truncated"),
        ("max_turn_requests", "truncated"),
        ("something_new", "completed"),
    ],
)
def test_an_outcome_says_how_the_turn_ended(stop: str, word: str):
    record = told(
        *LIFE, TurnQueued(turn=1, text="x"), TurnStarted(turn=1), TurnEnded(turn=1, stop=stop)
    )
    assert outcome(record) == word


def test_waiting_ends_when_nothing_more_will_happen_by_itself():
    fresh = told(*LIFE)
    assert settled(fresh)
    assert not settled(told(*LIFE, TurnQueued(turn=1, text="x")))
    running = told(
        *LIFE,
        TurnQueued(turn=1, text="x"),
        TurnStarted(turn=1),
        StateChanged(before="idle", after="working", reason="r"),
    )
    assert not settled(running)
    assert not settled(running, turn=1)
    running.state = SessionState.ASKING
    assert settled(running)
    running.state = SessionState.STARTING
    assert not settled(running)
    running.state = SessionState.FAILED
    assert settled(running)


def test_waiting_for_one_turn_does_not_wait_for_those_behind_it():
    record = told(
        *LIFE,
        TurnQueued(turn=1, text="x"),
        TurnQueued(turn=2, text="y"),
        TurnStarted(turn=1),
        TurnEnded(turn=1, stop="end_turn"),
        TurnStarted(turn=2),
        StateChanged(before="idle", after="working", reason="r"),
    )
    assert settled(record, turn=1)
    assert not settled(record, turn=2)
    assert not settled(record, turn=3), "it does not exist yet"
    assert not settled(record)
