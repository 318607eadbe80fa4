import json
import subprocess
import sys

import pytest

from cli.conftest import Command, Stub

ONE = {
    "id": "0a1b2c",
    "session": "a",
    "request": "7",
    "kind": "permission",
    "tool_kind": "execute",
    "title": "make deploy",
    "asked_at": 0.0,
    "why": "no rule is about it",
}
TWO = ONE | {"id": "0d0e0f", "session": "b", "title": "rm -r x\x1b[2J", "why": ""}
THREE = ONE | {"id": "111111", "session": "b"}


def test_what_is_asked_is_listed_and_nothing_an_agent_says_moves_the_cursor(
    bullpen: Command, stub: Stub
):
    stub.on("GET", "/v1/approvals", {"approvals": [ONE, TWO]})
    listed = bullpen("approvals")
    assert "0a1b2c" in listed.out
    assert "execute: make deploy (no rule is about it)" in " ".join(listed.out.split())
    assert "\x1b" not in listed.out
    assert bullpen("approvals", "--json").json == [ONE, TWO]


def test_nothing_asked_is_said(bullpen: Command, stub: Stub):
    stub.on("GET", "/v1/approvals", {"approvals": []})
    assert bullpen("approvals").out == "Nothing is asked\n"
    assert bullpen("approvals", "--json").json == []


def test_following_prints_each_approval_once_as_it_comes(stub: Stub, environment: dict[str, str]):
    for found in ([ONE], [ONE, TWO], [TWO], [TWO, THREE]):
        stub.on("GET", "/v1/approvals", {"approvals": found})
    stub.refuse("GET", "/v1/approvals", "boom", "enough", status=500)
    words = [sys.executable, "-m", "bullpen", "approvals", "--follow", "--json"]
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    told = [json.loads(line)["id"] for line in done.stdout.splitlines() if '"session"' in line]
    assert told == ["0a1b2c", "0d0e0f", "111111"]
    known = [one.query.get("known") for one in stub.asked if one.query]
    assert known[0] == ["0a1b2c"]


@pytest.mark.parametrize(
    ("verb", "allow", "said"), [("approve", True, "Allowed"), ("deny", False, "Denied")]
)
def test_an_approval_is_answered_by_its_id_or_by_its_session(
    bullpen: Command, stub: Stub, verb: str, allow: bool, said: str
):
    stub.on("GET", "/v1/approvals", {"approvals": [ONE, TWO, THREE]})
    stub.on("POST", "/v1/approvals/0a1b2c", {"id": "a"})
    assert bullpen(verb, "0a1b2c").out == f"{said} 0a1b2c\n"
    assert bullpen(verb, "a", "--always", "--reason", "why not").code == 0
    bodies = [one.json for one in stub.asked if one.method == "POST"]
    assert bodies == [
        {"allow": allow, "always": False, "reason": ""},
        {"allow": allow, "always": True, "reason": "why not"},
    ]


def test_what_is_not_open_or_not_clear_is_refused_and_nothing_is_answered(
    bullpen: Command, stub: Stub
):
    stub.on("GET", "/v1/approvals", {"approvals": [ONE, TWO, THREE]})
    ended = bullpen("approve", "b")
    assert ended.code != 0
    assert "0d0e0f, 111111" in ended.err
    ended = bullpen("deny", "zzz")
    assert ended.code != 0
    assert "bullpen approvals" in ended.err
    assert [one for one in stub.asked if one.method == "POST"] == []


def test_several_are_answered_at_once(bullpen: Command, stub: Stub):
    stub.on("GET", "/v1/approvals", {"approvals": [ONE, TWO]})
    stub.on("POST", "/v1/approvals/0a1b2c", {"id": "a"})
    stub.on("POST", "/v1/approvals/0d0e0f", {"id": "b"})
    assert bullpen("approve", "a", "b").out == "Allowed 0a1b2c\nAllowed 0d0e0f\n"
    assert bullpen("approve", "a", "b", "--json").json == [{"id": "a"}, {"id": "b"}]
