from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Command, Stub

GOAL = {"id": "g", "objective": "win the race", "set_at": 1.0, "used_tokens": 7}
PATH = "/v1/sessions/a/goal"


@pytest.fixture
def goal(stub: Stub) -> dict[str, Any]:
    """Session `a` with a goal, and session `b` without."""
    record = stub.record("a", goal=GOAL)
    stub.record("b")
    stub.on("GET", PATH, GOAL)
    stub.on("PUT", PATH, record)
    stub.on("PATCH", PATH, record)
    return record


@pytest.mark.usefixtures("goal")
def test_a_goal_is_shown_in_five_lines_or_as_json(dev: Command):
    lines = dev("goal", "a").out.splitlines()
    assert lines[:4] == [
        "objective: win the race",
        "status: active",
        "tokens used: 7",
        "token budget: none",
    ]
    assert lines[4].startswith("time used: ")
    told = dev("goal", "a", "--json").json
    assert (told["threadId"], told["status"], told["tokenBudget"]) == ("a", "active", None)
    assert dev("goal", "b").out == "No goal set for b\n"
    assert dev("goal", "b", "--json").out == "null\n"


@pytest.mark.usefixtures("goal")
def test_the_words_of_an_objective_are_joined(dev: Command, stub: Stub, tmp_path: Path):
    assert dev("goal", "a", "win", "the", "race ", "--budget", "500").code == 0
    assert stub.asked[-1].json == {"objective": "win the race", "budget_tokens": 500}
    file = tmp_path / "objective"
    file.write_text("finish\nthe parser\n")
    assert dev("goal", "b", "-f", str(file)).code == 1
    stub.on("PUT", "/v1/sessions/b/goal", {"goal": GOAL})
    assert dev("goal", "b", "-f", str(file)).code == 0
    assert stub.asked[-1].json == {"objective": "finish\nthe parser"}
    assert dev("goal", "a", "--budget", "9").code == 0
    assert stub.asked[-1].json == {"objective": "win the race", "budget_tokens": 9}


@pytest.mark.usefixtures("goal")
@pytest.mark.parametrize(
    ("flag", "status"), [("--pause", "paused"), ("--resume", "active"), ("--clear", "cleared")]
)
def test_a_goal_is_paused_resumed_and_cleared(dev: Command, stub: Stub, flag: str, status: str):
    assert dev("goal", "a", flag).code == 0
    assert stub.only("PATCH", PATH).json == {"status": status}


@pytest.mark.usefixtures("goal")
def test_clearing_says_whether_there_was_one(dev: Command):
    assert dev("goal", "a", "--clear").out == "Cleared goal for a\n"
    assert dev("goal", "b", "--clear").out == "No goal to clear for b\n"
    assert dev("goal", "b", "--clear", "--json").json == {"cleared": False}


@pytest.mark.usefixtures("goal")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a", "--pause", "--clear"), "Use only one of --pause, --resume, --clear"),
        (("a", "win", "--pause"), "--pause cannot be combined with an objective"),
        (("a", "--clear", "--budget", "5"), "--clear cannot be combined with --budget"),
        (("a", "win", "-f", "x"), "Provide either <objective> or --file, not both"),
        (("a", "win", "--budget", "many"), "--budget must be a positive integer"),
        (("b", "--resume"), "No goal set for b"),
    ],
)
def test_what_cannot_be_meant_is_refused(dev: Command, words: tuple[str, ...], message: str):
    ended = dev("goal", *words)
    assert (ended.code, ended.err) == (1, f"{message}\n")


@pytest.mark.usefixtures("goal")
def test_an_empty_objective_file_is_refused(dev: Command, tmp_path: Path):
    file = tmp_path / "objective"
    file.write_text(" \n")
    ended = dev("goal", "a", "--file", str(file))
    assert ended.err == "Objective file is empty. Provide a non-empty objective.\n"


@pytest.mark.parametrize(
    ("status", "word"),
    [("complete", "complete"), ("budget-limited", "budgetLimited"), ("limited", "usageLimited")],
)
def test_waiting_for_a_goal_prints_how_it_ended(
    dev: Command, stub: Stub, goal: dict[str, Any], status: str, word: str
):
    over = {"timed_out": False, "settled": ["a"], "pending": []}
    ended = goal | {"goal": GOAL | {"status": status}}
    stub.on("POST", "/v1/wait", over | {"sessions": {"a": ended}})
    assert dev("wait", "a", "--goal").out == f"{word}\n"


def test_waiting_for_a_goal_that_is_dropped_prints_cleared(
    dev: Command, stub: Stub, goal: dict[str, Any]
):
    over = {"timed_out": False, "settled": ["a"], "pending": []}
    stub.on("POST", "/v1/wait", over | {"sessions": {"a": goal | {"goal": None}}})
    assert dev("wait", "a", "--goal").out == "cleared\n"


def test_waiting_for_a_goal_ends_with_the_session_with_time_and_without_a_goal(
    dev: Command, stub: Stub, goal: dict[str, Any]
):
    going = {"timed_out": True, "settled": [], "pending": ["a"], "sessions": {"a": goal}}
    stub.on("POST", "/v1/wait", going)
    ended = dev("wait", "a", "--goal", "-t", "1")
    assert (ended.code, ended.err) == (124, "Timed out waiting for goal on a\n")
    stub.forget("POST", "/v1/wait")
    dead = going | {"sessions": {"a": goal | {"state": "failed"}}}
    stub.on("POST", "/v1/wait", dead)
    ended = dev("wait", "a", "--goal")
    assert (ended.code, ended.err) == (1, "Session a died during wait\n")
    ended = dev("wait", "b", "--goal")
    assert (ended.code, ended.err) == (1, "No goal set for b\n")
