import itertools

import pytest

from bullpen.errors import IllegalMove
from bullpen.model.session import LIVE, MOVES, OVER, SessionState, move

S = SessionState


def reachable(start: SessionState) -> set[SessionState]:
    seen = {start}
    while True:
        wider = seen | set(itertools.chain.from_iterable(MOVES[state] for state in seen))
        if wider == seen:
            return seen
        seen = wider


def test_every_state_has_its_moves_and_none_leads_to_itself():
    assert set(MOVES) == set(S)
    assert all(state not in after for state, after in MOVES.items())


def test_every_state_can_be_reached_from_the_wish_and_every_state_can_come_to_an_end():
    assert reachable(S.QUEUED) == set(S)
    assert all(S.STOPPED in reachable(state) for state in S)


def test_a_live_session_can_always_be_stopped_and_always_die():
    for state in LIVE - {S.STOPPING}:
        assert {S.STOPPING, S.FAILED, S.LOST} <= MOVES[state]


def test_what_is_over_begins_again_only_by_starting():
    for state in OVER:
        assert MOVES[state] <= {S.STARTING, S.QUEUED, S.STOPPED}


@pytest.mark.parametrize("before", S)
def test_a_move_the_table_lacks_is_refused(before: SessionState):
    for after in set(S) - MOVES[before]:
        with pytest.raises(IllegalMove):
            move(before, after)
