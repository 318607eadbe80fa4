from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as some

from bullpen.planning.batches import schedule
from bullpen.planning.plan import Phase, Plan
from bullpen.planning.tree import Decision, judge, sets_of


def plan_of(*phases: Phase) -> Plan:
    return Plan(title="a plan", phases=phases)


def test_cap_6_batches_keep_the_levels_and_the_plans_order():
    names = ["1A", "1B", "1C", "1D", "1E", "1F", "1G"]
    phases = [Phase(id=one, writes=(f"{one}.py",)) for one in names]
    found = schedule(plan_of(*phases, Phase(id="2A", depends_on=("1A",))))
    assert found.batches == (("1A", "1B", "1C"), ("1D", "1E"), ("1F", "1G"), ("2A",))


def test_two_that_must_be_apart_are_never_in_one_batch():
    shared = [Phase(id=one, writes=("a.py",), branchable=False) for one in ("1A", "1B")]
    found = schedule(plan_of(*shared, Phase(id="1C")))
    assert found.batches == (("1A", "1C"), ("1B",))


def test_pl_6_a_cycle_leaves_no_batches_and_is_named():
    found = schedule(plan_of(Phase(id="A", depends_on=("B",)), Phase(id="B", depends_on=("A",))))
    assert set(found.cycle) == {"A", "B"}
    assert found.batches == ()
    assert schedule(plan_of(Phase(id="A", depends_on=("A",)))).cycle == ("A",)


def test_a_need_that_is_no_phase_is_told():
    assert schedule(plan_of(Phase(id="A", depends_on=("Z",)))).unknown == (("A", "Z"),)


def test_a_need_declared_by_the_earlier_phase_is_seen():
    found = schedule(plan_of(Phase(id="A", depends_on=("B",)), Phase(id="B")))
    assert found.batches == (("B",), ("A",))


PATHS = some.lists(some.sampled_from(["", "a", "a/b", "a/b/c", "b", "x:y"]), max_size=2).map(tuple)


@settings(max_examples=150)
@given(
    given_sets=some.lists(some.tuples(PATHS, PATHS, PATHS, some.booleans()), max_size=6),
    needs=some.lists(some.tuples(some.integers(0, 5), some.integers(0, 5)), max_size=4),
)
def test_the_index_finds_exactly_the_pairs_that_asking_every_pair_finds(
    given_sets: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], bool]],
    needs: list[tuple[int, int]],
):
    phases = [
        Phase(
            id=str(at),
            reads=reads,
            writes=writes,
            outputs=outputs,
            infra=("ci",) if infra else (),
            depends_on=tuple(str(to) for of, to in needs if of == at and to != at),
        )
        for at, (reads, writes, outputs, infra) in enumerate(given_sets)
    ]
    every = [judge(sets_of(one), sets_of(other)) for one, other in combinations(phases, 2)]
    wanted = [one for one in every if one.decision is not Decision.PARALLEL]
    found = schedule(plan_of(*phases)).verdicts
    assert sorted(found, key=lambda one: (one.first, one.second)) == wanted
