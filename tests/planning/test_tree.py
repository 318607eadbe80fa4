from typing import Any

import pytest

from bullpen.planning.modes import launch_mode, may_change, select
from bullpen.planning.paths import expand, overlaps
from bullpen.planning.plan import Exec, Phase
from bullpen.planning.tree import Answers, Decision, Verdict, decide, judge, sets_of

S, B, P = Decision.SEQUENTIAL, Decision.PARALLEL_WITH_BRANCH, Decision.PARALLEL


def judged(one: dict[str, Any], other: dict[str, Any], **options: Any) -> Verdict:
    first, second = Phase(id="1A", **one), Phase(id="1B", **other)
    files = options.pop("files", ())
    return judge(sets_of(first, files), sets_of(second, files), **options)


@pytest.mark.parametrize(
    ("answers", "literal", "strict"),
    [
        *(((1, o, s, i), S, S) for o in (0, 1) for s in (0, 1) for i in (0, 1)),
        ((0, 1, 1, 0), B, B),
        ((0, 1, 1, 1), B, S),
        ((0, 1, 0, 0), S, S),
        ((0, 1, 0, 1), S, S),
        ((0, 0, 0, 1), S, S),
        ((0, 0, 1, 1), S, S),
        ((0, 0, 0, 0), P, P),
        ((0, 0, 1, 0), P, P),
    ],
)
def test_dt_5_the_tree_asks_about_infrastructure_unless_it_is_literal(
    answers: tuple[int, ...], literal: Decision, strict: Decision
):
    r, o, s, i = map(bool, answers)
    asked = Answers(reads=r, overlaps=o, separable=s, infra=i)
    assert decide(asked, tree="literal")[0] is literal
    assert decide(asked, tree="strict")[0] is strict


def test_dt_1_who_reads_anothers_output_waits_for_it():
    verdict = judged({"outputs": ("schema:orders",)}, {"reads": ("schema:orders",)})
    assert (verdict.decision, verdict.rule, verdict.waits) == (S, "DT-1", ("1B",))
    assert verdict.evidence == ("schema:orders",)


def test_dt_2_without_shared_files_only_infrastructure_stands_between_two():
    assert judged({"writes": ("a.py",)}, {"writes": ("b.py",)}).decision is P


def test_dt_3_shared_files_go_on_branches_or_one_after_the_other():
    assert judged({"writes": ("a.py",)}, {"writes": ("a.py",)}).decision is B
    stuck = judged({"writes": ("a.py",), "branchable": False}, {"writes": ("a.py",)})
    assert (stuck.decision, stuck.rule, stuck.waits) == (S, "DT-3", ())


def test_dt_4_two_that_change_the_same_infrastructure_go_one_after_the_other():
    verdict = judged({"infra": ("ci",)}, {"infra": ("ci", "db")})
    assert (verdict.decision, verdict.rule, verdict.evidence) == (S, "DT-4", ("ci",))


def test_dt_6_reading_each_other_is_a_cycle():
    verdict = judged(
        {"reads": ("b.py",), "writes": ("a.py",)}, {"reads": ("a.py",), "writes": ("b.py",)}
    )
    assert verdict.is_cycle
    assert verdict.rule == "DT-6"


def test_dt_6_a_file_both_edit_is_shared_and_makes_no_cycle():
    verdict = judged(*[{"reads": ("a.py",), "writes": ("a.py",)}] * 2)
    assert (verdict.decision, verdict.waits) == (B, ())


def test_dt_7_a_directory_overlaps_what_lies_in_it_and_globs_are_expanded():
    assert overlaps("src", "src/a.py")
    assert not overlaps("src", "src2/a.py")
    files = ("src/a.py", "src/b/c.py", "docs/x.md")
    assert expand(("src/*.py",), files) == ("src/a.py",)
    assert expand(("src/**/*.py",), files) == ("src/a.py", "src/b/c.py")
    assert expand(("src/**",), files) == ("src/a.py", "src/b/c.py")
    assert expand(("./new/*.py",), files) == ("new",)
    verdict = judged({"writes": ("src/*.py",)}, {"writes": ("src/a.py",)}, files=files)
    assert verdict.evidence == ("src/a.py",)


def test_dt_9_each_verdict_names_its_rule_its_tree_and_its_evidence():
    verdict = judged({"writes": ("src/",)}, {"writes": ("src/a.py",)}, tree="literal")
    assert (verdict.rule, verdict.tree, verdict.evidence) == ("DT-3", "literal", ("src/a.py",))


@pytest.mark.parametrize("mode", list(Exec))
def test_who_changes_nothing_is_launched_in_bypass(mode: Exec):
    assert launch_mode(mode, produces_changes=False) == "bypass"


def test_launch_modes_follow_from_execution_modes():
    modes = {one: launch_mode(one, produces_changes=True) for one in Exec}
    assert {one for one, mode in modes.items() if mode == "plan"} == {Exec.PAIR}
    assert {one for one, mode in modes.items() if mode == "ask"} == {Exec.CHECKPOINT}
    assert launch_mode(Exec.SPIKE, produces_changes=True, investigation=True) == "plan"


def test_a_mode_is_selected_by_what_is_known_of_the_work():
    assert select(is_knowledge=True, is_scoped=False) is Exec.SPIKE
    assert select(is_knowledge=False, is_scoped=True, independent_tasks=5) is Exec.SWARM
    assert select(is_knowledge=False, is_scoped=True, is_testable=True) is Exec.TDD
    assert select(is_knowledge=False, is_scoped=True) is Exec.QUICK
    assert select(is_knowledge=False, is_scoped=False, is_risky=True) is Exec.CHECKPOINT
    assert select(is_knowledge=False, is_scoped=False) is Exec.PAIR


def test_a_downgrade_needs_a_reason():
    assert may_change(Exec.PAIR, Exec.TDD)
    assert not may_change(Exec.TDD, Exec.QUICK)
    assert may_change(Exec.TDD, Exec.QUICK, reason="a typo")
