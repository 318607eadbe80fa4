from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bullpen.agents.dialect import AnyOrder, Heard
from bullpen.model.fact import (
    AgentFact,
    MessageStreamed,
    ModeChanged,
    ThoughtStreamed,
    TurnEnded,
)
from bullpen.sessions.intake import Intake

_FACTS: dict[bytes, list[AgentFact]] = {
    b"a": [MessageStreamed(text="a", message="1")],
    b"b": [MessageStreamed(text="b", message="1")],
    b"c": [MessageStreamed(text="c", message="2")],
    b"t": [ThoughtStreamed(text="t", message="1")],
    b"m": [ModeChanged(mode="plan")],
    b"e": [TurnEnded(turn=1, stop="end_turn")],
    b"x": [],
    b"d": [MessageStreamed(text="d", message="1"), ModeChanged(mode="ask")],
    b"f": [ModeChanged(mode="edit"), MessageStreamed(text="f", message="1")],
}


class Plain:
    """A dialect whose lines say which facts they are; its state is how many it heard."""

    def __init__(self) -> None:
        self.heard = 0

    def order(self, order: AnyOrder) -> list[bytes]:
        raise NotImplementedError(order)

    def feed(self, line: bytes) -> Heard:
        self.heard += 1
        return Heard(list(_FACTS[line]))

    def snapshot(self) -> bytes:
        return str(self.heard).encode()

    def restore(self, snapshot: bytes) -> None:
        self.heard = int(snapshot)

    def ended(self) -> list[AgentFact]:
        return []


def joined(facts: Sequence[AgentFact]) -> list[AgentFact]:
    """Put neighbouring pieces of one message together, which is all that storing may change."""
    found: list[AgentFact] = []
    for fact in facts:
        last = found[-1] if found else None
        if isinstance(fact, MessageStreamed | ThoughtStreamed) and type(last) is type(fact):
            assert isinstance(last, MessageStreamed | ThoughtStreamed)
            if last.message == fact.message:
                found[-1] = msgspec.structs.replace(last, text=last.text + fact.text)
                continue
        found.append(fact)
    return found


def all_facts(lines: Sequence[bytes]) -> list[AgentFact]:
    return joined([fact for line in lines for fact in _FACTS[line]])


LINES = st.lists(st.sampled_from(sorted(_FACTS)), max_size=40)


@given(
    lines=LINES, cuts=st.lists(st.integers(1, 8), min_size=1), flushes=st.sets(st.integers(0, 9))
)
def test_however_lines_arrive_the_facts_are_the_same(
    lines: list[bytes], cuts: list[int], flushes: set[int]
):
    intake = Intake(Plain(), offset=100)
    facts: list[AgentFact] = []
    start = turn = 0
    while start < len(lines):
        size = cuts[turn % len(cuts)]
        facts += intake.take(lines[start : start + size]).facts
        if turn in flushes:
            facts += intake.flush().facts
        start += size
        turn += 1
    last = intake.flush()
    assert joined([*facts, *last.facts]) == all_facts(lines)
    assert last.offset == 100 + sum(len(line) + 1 for line in lines)


@given(lines=LINES, size=st.integers(1, 8), crash=st.integers(0, 12))
def test_whoever_dies_and_starts_from_the_committed_offset_loses_and_doubles_nothing(
    lines: list[bytes], size: int, crash: int
):
    journal = b"".join(line + b"\n" for line in lines)
    intake = Intake(Plain(), offset=0)
    kept: list[AgentFact] = []
    offset = 0
    for number, start in enumerate(range(0, len(lines), size)):
        if number == crash:
            break
        taken = intake.take(lines[start : start + size])
        kept += taken.facts
        offset = taken.offset
    rest = journal[offset:].splitlines()
    again = Intake(Plain(), offset=offset)
    kept += again.take(rest).facts
    kept += again.flush().facts
    assert joined(kept) == all_facts(lines)


@given(lines=LINES)
def test_a_snapshot_is_of_the_very_line_its_offset_points_behind(lines: list[bytes]):
    intake = Intake(Plain(), offset=0)
    for line in lines:
        taken = intake.take([line])
        if taken.snapshot is not None:
            assert int(taken.snapshot) == taken.offset // 2


def test_text_is_shown_at_once_and_kept_back_for_the_store():
    shown: list[str] = []
    intake = Intake(Plain(), offset=0, on_text=lambda fact: shown.append(fact.text))
    taken = intake.take([b"a", b"b"])
    assert (taken.facts, taken.offset, shown) == ([], 0, ["a", "b"])
    assert intake.is_holding
    assert 0 < intake.patience <= 0.2
    assert intake.flush().facts == [MessageStreamed(text="ab", message="1")]
    assert not intake.is_holding


def test_a_long_text_is_not_kept_back_for_ever():
    class Long(Plain):
        def feed(self, line: bytes) -> Heard:
            return Heard([MessageStreamed(text="x" * 1000, message="1")])

    intake = Intake(Long(), offset=0)
    facts = [fact for _ in range(100) for fact in intake.take([b"a"]).facts]
    assert 1 < len(facts) < 10
