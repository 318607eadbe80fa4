import pytest
from hypothesis import given
from hypothesis import strategies as some

from bullpen.planning.caps import cap_of, is_research, split
from bullpen.planning.levels import cycle_of, layers_of
from bullpen.planning.plan import Exec, Phase


def test_pl_7_a_phase_lies_above_its_highest_dependency_and_the_longest_chain_is_critical():
    found = layers_of({"A": [], "B": ["A"], "C": ["A"], "D": ["B", "C"], "E": []})
    assert found.levels == (("A", "E"), ("B", "C"), ("D",))
    assert found.critical == ("A", "B", "D")


def test_pl_7_with_weights_the_dearest_chain_is_critical():
    needs = {"A": [], "B": ["A"], "C": ["A"], "D": ["B", "C"]}
    assert layers_of(needs, weights={"A": 1, "B": 1, "C": 9, "D": 1}).critical == ("A", "C", "D")


def test_pl_6_a_cycle_is_named_without_those_who_only_wait_for_it():
    needs = {"A": ["B"], "B": ["C"], "C": ["B"], "D": []}
    assert set(cycle_of(needs)) == {"B", "C"}
    assert cycle_of({"A": ["A"]}) == ("A",)
    assert cycle_of({"A": [], "B": ["A"]}) == ()
    with pytest.raises(ValueError, match="cycle"):
        layers_of(needs)


def test_cap_1_three_sessions_run_at_once():
    assert cap_of([Phase(id="1A", writes=("a.py",))]).sessions == 3


def test_cap_2_five_run_at_once_when_all_are_research_that_writes_nothing():
    spikes = [Phase(id=f"1{one}", exec=Exec.SPIKE) for one in "ABCDE"]
    assert (cap_of(spikes).sessions, cap_of(spikes).rule) == (5, "CAP-2")
    assert cap_of([*spikes, Phase(id="1F")]).sessions == 3
    assert not is_research(Phase(id="1A", exec=Exec.SPIKE, writes=("notes.md",)))
    assert is_research(Phase(id="1A", exec=Exec.TDD, produces_changes=False))


def test_cap_3_more_need_a_recorded_reason():
    phases = [Phase(id="1A")]
    assert cap_of(phases, wanted=8).sessions == 3
    raised = cap_of(phases, wanted=8, reason="a large machine")
    assert (raised.sessions, raised.reason) == (8, "a large machine")
    assert cap_of(phases, wanted=2).sessions == 2


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, []), (1, [1]), (3, [3]), (4, [2, 2]), (5, [3, 2]), (6, [3, 3]), (7, [3, 2, 2])],
)
def test_cap_4_phases_are_split_evenly(count: int, sizes: list[int]):
    assert split(count, 3) == sizes


@given(count=some.integers(2, 500), cap=some.integers(2, 9))
def test_cap_4_nobody_is_left_alone_and_none_is_lost(count: int, cap: int):
    sizes = split(count, cap)
    assert sum(sizes) == count
    assert max(sizes) <= cap
    assert min(sizes) > 1 or (cap == 2 and count % 2)
