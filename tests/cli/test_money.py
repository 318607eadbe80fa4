from typing import Any

import pytest

from cli.conftest import Command, Stub

GOAL = {"objective": "win", "status": "active", "turns": 2, "used_tokens": 30, "used_usd": 0.5}
PATH = "/v1/sessions/a/goal"


def test_a_goal_is_set_with_its_bounds_and_shown(bullpen: Command, stub: Stub):
    stub.on("PUT", PATH, {"id": "a", "goal": GOAL})
    stub.on("GET", PATH, GOAL)
    words = ("--budget-tokens", "9", "--budget-usd", "1.5", "--max-turns", "3")
    assert bullpen("goal", "a", "win", *words).code == 0
    assert stub.only("PUT", PATH).json == {
        "objective": "win",
        "budget_tokens": 9,
        "budget_usd": 1.5,
        "max_turns": 3,
    }
    assert bullpen("goal", "a").out == "active (2 turns, 30 tokens, 0.50 USD)  win\n"
    assert bullpen("goal", "a", "--json").json == GOAL


@pytest.mark.parametrize(
    ("flag", "status"), [("--pause", "paused"), ("--resume", "active"), ("--clear", "cleared")]
)
def test_a_goal_is_paused_resumed_and_cleared(bullpen: Command, stub: Stub, flag: str, status: str):
    stub.on("PATCH", PATH, {"id": "a"})
    ended = bullpen("goal", "a", flag)
    assert (ended.code, ended.out) == (0, "Session a has no goal\n")
    assert stub.only("PATCH", PATH).json == {"status": status}


def test_a_goal_is_not_set_and_changed_at_once(bullpen: Command, stub: Stub):
    for words in (("win", "--pause"), ("--pause", "--clear")):
        ended = bullpen("goal", "a", *words)
        assert ended.code == 2
    assert stub.asked == []


def test_no_goal_is_an_error(bullpen: Command, stub: Stub):
    stub.refuse("GET", PATH, "goal-missing", "session 'a' has no goal", status=404)
    ended = bullpen("goal", "a")
    assert ended.code not in (0, 2)
    assert "has no goal" in ended.err


@pytest.mark.parametrize(
    ("status", "code"), [("complete", 0), ("blocked", 4), ("budget-limited", 3), ("paused", 3)]
)
def test_waiting_for_a_goal_ends_with_how_it_stands(
    bullpen: Command, stub: Stub, status: str, code: int
):
    stub.on("GET", PATH, GOAL)
    record: dict[str, Any] = {"id": "a", "state": "idle", "goal": GOAL | {"status": status}}
    answer = {"timed_out": False, "settled": ["a"], "pending": [], "sessions": {"a": record}}
    stub.on("POST", "/v1/wait", answer)
    ended = bullpen("wait", "a", "--goal")
    assert (ended.code, ended.out) == (code, f"{status}\n")


def test_a_goal_that_is_still_worked_on_is_a_timeout(bullpen: Command, stub: Stub):
    stub.on("GET", PATH, GOAL)
    record: dict[str, Any] = {"id": "a", "state": "working", "goal": GOAL}
    answer = {"timed_out": True, "settled": [], "pending": ["a"], "sessions": {"a": record}}
    stub.on("POST", "/v1/wait", answer)
    assert bullpen("wait", "a", "--goal", "-t", "0.2").code == 124


def test_limits_are_listed_with_their_end_and_cleared(bullpen: Command, stub: Stub):
    one = {"account": "claude", "limit": "usage", "until": 4102444800.0, "is_guess": True}
    credit = {"account": "codex", "limit": "credit", "until": 0.0, "message": "no credit"}
    stub.on("GET", "/v1/limits", {"accounts": {}, "sessions": {"a": one, "b": credit}})
    out = bullpen("limits").out
    assert "(a guess)" in out
    assert "cleared by you" in out
    stub.on("POST", "/v1/limits/claude/clear", {"account": "claude", "sessions": ["a"]})
    assert bullpen("limits", "clear", "claude").out == "Tried again: a\n"
    assert bullpen("limits", "clear").code == 2
    assert bullpen("limits", "frob", "x").code == 2


def test_no_limit_is_said(bullpen: Command, stub: Stub):
    stub.on("GET", "/v1/limits", {"accounts": {}, "sessions": {}})
    assert bullpen("limits").out == "No limit is reached\n"


def test_what_nobody_knows_is_shown_as_unknown(bullpen: Command, stub: Stub):
    known = {"name": "a", "turns": 2, "input_tokens": 10, "output_tokens": 5, "usd": 0.25}
    partly = known | {"name": "b", "unpriced_turns": 1, "is_estimate": True, "cached_tokens": 3}
    nothing = {"name": "c", "turns": 1}
    stub.on("GET", "/v1/cost", {"by": "agent", "cost": [known, partly, nothing]})
    rows = [line.split() for line in bullpen("cost", "--by", "agent").out.splitlines()]
    assert rows[0][0] == "AGENT"
    assert rows[1] == ["a", "2", "10", "5", "unknown", "0.2500"]
    assert rows[2] == ["b", "2", "10", "5", "3", "~0.2500", "+", "1", "turns", "unknown"]
    assert rows[3] == ["c", "1", *["unknown"] * 4]
    assert stub.asked[-1].query["by"] == ["agent"]
    assert bullpen("cost", "--since", "yesterday").code == 2
    assert bullpen("cost", "--by", "moon").code == 2


def test_a_budget_is_set_and_taken_away(bullpen: Command, stub: Stub):
    path = "/v1/sessions/a/budget"
    stub.on("PUT", path, {"id": "a"})
    assert bullpen("budget", "a", "--usd", "2.5").code == 0
    assert stub.asked[-1].json == {"usd": 2.5, "tokens": None}
    assert bullpen("budget", "a", "--none").code == 0
    assert stub.asked[-1].json == {}
    assert bullpen("budget", "a").code == 2


def test_an_interface_is_switched_and_a_screen_needs_one(bullpen: Command, stub: Stub):
    stub.on("POST", "/v1/sessions/a/switch", {"id": "a", "interface": "terminal"})
    ended = bullpen("switch", "a", "--interface", "terminal", "--interrupt")
    assert ended.out == "Switched session a to terminal\n"
    assert stub.asked[-1].json == {"interface": "terminal", "interrupt": True}
    assert bullpen("switch", "a").code == 2
    stub.record("a")
    refused = bullpen("screen", "a")
    assert refused.code not in (0, 2)
    assert "bullpen switch a --interface terminal" in refused.err
    stub.record("gone", interface="terminal", state="stopped")
    assert "bullpen resume gone" in bullpen("screen", "gone").err
