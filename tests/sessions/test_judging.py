"""Rules answer what agents ask, in the same commit as the question; the rest goes to the user."""

import json
from pathlib import Path

import pytest

from bullpen.api import Bullpen
from bullpen.errors import AskNotFound, PolicyInvalid, RequestInvalid, RuleUnknown
from bullpen.model.fact import AskAnswered, Deed, PermissionAsked, StateChanged
from bullpen.model.session import SessionState, TurnState
from bullpen.policy.rule import Effect
from kit.door import door, service
from kit.world import World, all_events, eventually, until

SESSION = "judged-one"
_ASK = (
    'request session/request_permission {"sessionId": "SESSION", "toolCall": {"toolCallId": "c1", '
    '"title": "T", "kind": "execute", "rawInput": {"command": "LINE"}}, "options": ['
    '{"optionId": "yes", "name": "Yes", "kind": "allow_once"}, '
    '{"optionId": "no", "name": "No", "kind": "reject_once"}]}'
)


async def begin(pen: Bullpen, world: World, **more: object) -> str:
    record, _ = await pen.create(world.wish(id=SESSION, **more))
    assert record.agent_session is not None
    return record.agent_session


def asking(line: str, conversation: str) -> str:
    words = _ASK.replace("LINE", line).replace("SESSION", conversation)
    return f"```demo\n{words}\nsay went on\n```"


async def ended(pen: Bullpen) -> None:
    await until(
        pen, SESSION, lambda one: one.turn is not None and one.turn.state is not TurnState.RUNNING
    )


async def answers(pen: Bullpen) -> list[AskAnswered]:
    return [e.fact for e in await all_events(pen, SESSION) if isinstance(e.fact, AskAnswered)]


@pytest.mark.parametrize(("effect", "outcome"), [("allow", "allowed"), ("deny", "rejected")])
async def test_a_rule_answers_before_anybody_is_asked(world: World, effect: str, outcome: str):
    async with world.host() as pen:
        conversation = await begin(pen, world)
        rule = await pen.add_rule({"effect": effect, "command": "make test", "reason": "why not"})
        await pen.send(SESSION, asking("make test", conversation))
        await ended(pen)
        (answer,) = await answers(pen)
        assert (answer.outcome, answer.by) == (outcome, "policy")
        assert rule.id in answer.reason
        events = await all_events(pen, SESSION)
        kinds = [type(e.fact) for e in events]
        at = kinds.index(PermissionAsked)
        # Nothing stands between the question and the answer, so nobody saw it `asking`.
        assert kinds[at + 1] is AskAnswered
        states = [e.fact.after for e in events if isinstance(e.fact, StateChanged)]
        assert "asking" not in states


async def test_what_no_rule_decides_goes_to_the_user(world: World):
    async with world.host() as pen:
        conversation = await begin(pen, world)
        await pen.add_rule({"effect": "allow", "command": "make test"})
        await pen.send(SESSION, asking("make test && rm -rf x", conversation))
        await until(pen, SESSION, lambda one: one.state is SessionState.ASKING)
        (one,) = await pen.approvals()
        assert (one.session, one.kind, one.why) == (SESSION, "permission", "no rule is about it")
        await pen.approve(one.id, allow=False, reason="no")
        await ended(pen)
        with pytest.raises(AskNotFound):
            await pen.approve(one.id, allow=True)


async def test_always_decides_just_this_for_the_session(world: World):
    async with world.host() as pen:
        conversation = await begin(pen, world)
        await pen.send(SESSION, asking("npm run build", conversation))
        await until(pen, SESSION, lambda one: one.state is SessionState.ASKING)
        (one,) = await pen.approvals()
        await pen.approve(one.id, allow=True, always=True)
        await ended(pen)
        rules = [rule for rule, _ in await pen.rules(SESSION)]
        assert [(rule.command, rule.exact, rule.effect) for rule in rules] == [
            ("npm run build", True, Effect.ALLOW)
        ]
        await pen.send(SESSION, asking("npm run build", conversation))
        await until(pen, SESSION, lambda one: one.turns == 2 and one.state is SessionState.IDLE)
        assert (await answers(pen))[-1].by == "policy"
        await pen.send(SESSION, asking("npm run build --watch", conversation))
        await until(pen, SESSION, lambda one: one.state is SessionState.ASKING)
        await pen.interrupt(SESSION)
        assert await pen.rules() == []
        assert await pen.remove_rule(rules[0].id) == world.home.sessions / SESSION / "policy.toml"


async def test_a_broken_file_lets_nothing_through_and_nothing_start(world: World):
    file = world.folder / "config" / "policy.toml"
    async with world.host() as pen:
        conversation = await begin(pen, world)
        await pen.add_rule({"effect": "allow", "command": "make test"})
        file.write_text(file.read_text() + "\n[[rule]\n")
        await pen.send(SESSION, asking("make test", conversation))
        await until(pen, SESSION, lambda one: one.state is SessionState.ASKING)
        (one,) = await pen.approvals()
        assert "is invalid" in one.why
        with pytest.raises(PolicyInvalid):
            await pen.create(world.wish())
        with pytest.raises(PolicyInvalid):
            await pen.add_rule({"effect": "allow", "command": "ls"})
        assert "[[rule]\n" in file.read_text()
        await pen.interrupt(SESSION)


async def test_a_repository_may_forbid_and_not_allow(world: World):
    folder = world.work / ".bullpen"
    folder.mkdir()
    (folder / "policy.toml").write_text('[[rule]]\neffect = "deny"\ncommand = "make deploy"\n')
    async with world.host() as pen:
        conversation = await begin(pen, world)
        await pen.add_rule({"effect": "allow", "command": "make"})
        await pen.send(SESSION, asking("make deploy", conversation))
        await ended(pen)
        assert (await answers(pen))[-1].outcome == "rejected"
    (folder / "policy.toml").write_text('[[rule]]\neffect = "allow"\ncommand = "make"\n')
    async with world.host() as pen:
        with pytest.raises(PolicyInvalid, match="allow nothing"):
            await pen.create(world.wish())


async def test_a_session_may_bring_rules_of_its_own(world: World, tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text('[[rule]]\neffect = "allow"\ncommand = "make test"\n')
    async with world.host() as pen:
        conversation = await begin(pen, world, policy=str(file))
        await pen.send(SESSION, asking("make test", conversation))
        await ended(pen)
        assert (await answers(pen))[-1].outcome == "allowed"
        verdict = await pen.judge(Deed(kind="edit", paths=[str(file)]), session=SESSION)
        assert verdict.effect is Effect.DENY
        with pytest.raises(PolicyInvalid, match="no such file"):
            await pen.create(world.wish(policy=str(tmp_path / "none.toml")))


async def test_rules_are_checked_and_found_by_name(world: World):
    async with world.host() as pen:
        for wrong in ({"effect": "allow"}, {"effect": "no", "command": "x"}):
            with pytest.raises(RequestInvalid):
                await pen.add_rule(dict(wrong))
        with pytest.raises(RequestInvalid, match="quotes or operators"):
            await pen.add_rule({"effect": "allow", "command": "a && b"})
        with pytest.raises(RuleUnknown):
            await pen.remove_rule("nobody")
        rule = await pen.add_rule({"effect": "ask", "path": "**/.env", "kind": "edit"})
        assert [one["did"] for one in pen.audit(limit=10)] == ["added"]
        await pen.remove_rule(rule.id)
        assert [one["did"] for one in pen.audit(limit=10)] == ["added", "removed"]


async def test_our_own_files_are_closed_whatever_the_rules_say(world: World):
    (world.folder / "config").mkdir()
    link = world.work / "innocent"
    link.symlink_to(world.folder / "config")
    async with world.host() as pen:
        await begin(pen, world)
        await pen.add_rule({"effect": "allow", "kind": "edit", "path": "inside"})
        await pen.add_rule({"effect": "allow", "command": "cat"})
        for path in (
            world.folder / "config" / "policy.toml",
            link / "policy.toml",
            world.home.folder / "state.db",
            world.home.socket,
        ):
            verdict = await pen.judge(Deed(kind="edit", paths=[str(path)]), session=SESSION)
            assert verdict.effect is Effect.DENY, path
        line = Deed(kind="execute", command="cat innocent/policy.toml")
        assert (await pen.judge(line, session=SESSION)).effect is Effect.DENY
        fine = Deed(kind="edit", paths=["a.txt"])
        assert (await pen.judge(fine, session=SESSION)).effect is Effect.ALLOW


async def test_an_answer_survives_the_service_that_took_it(world: World):
    with service(world) as process:
        async with door(world) as http:
            body = {"agent": "demo", "path": str(world.work), "id": SESSION}
            made = (await http.post("/v1/sessions", json=body)).json()
            text = asking("make test", made["agent_session"])
            await http.post(f"/v1/sessions/{SESSION}/turns", json={"text": text})
            found: list[dict[str, object]] = []
            while not found:
                waited = await http.get("/v1/approvals?known=&wait=10")
                found = json.loads(waited.content)["approvals"]
            answered = await http.post(f"/v1/approvals/{found[0]['id']}", json={"allow": True})
            assert answered.status_code == 200
            process.kill()
            process.wait()
    async with world.host() as pen:
        await ended(pen)
        record = await pen.session(SESSION)
        assert record.turn is not None
        assert (record.turn.state, record.last_line) == (TurnState.DONE, "went on")
        await eventually(lambda: not record.asks)
