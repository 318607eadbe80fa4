from pathlib import Path

import anyio
import pytest

from bullpen.errors import (
    AgentDied,
    AgentUnknown,
    BranchTaken,
    BullpenError,
    DirectoryMissing,
    HandshakeTimedOut,
    InvalidSessionId,
    LoginNeeded,
    MessageInvalid,
    ModelRefused,
    ModeUnsupported,
    NotARepository,
    ProgramNotFound,
    RequestInvalid,
    SessionIdTaken,
    SessionNotFound,
    SetupFailed,
)
from bullpen.model.fact import SetupPrinted
from bullpen.process import marked
from kit.world import World, all_events, ask, until


async def nothing_is_left(world: World, *, but: int = 0) -> None:
    async with world.host() as bullpen:
        assert len(await bullpen.sessions()) == but
    folder = world.home.sessions
    assert len(list(folder.iterdir()) if folder.exists() else []) == but
    assert [one for one in marked() if one.journal.is_relative_to(world.folder)] == []


async def test_a_created_session_has_shaken_hands_and_answers(world: World):
    async with world.host() as bullpen:
        record, is_new = await bullpen.create(world.wish(title="t"))
        assert (is_new, record.state, record.title) == (True, "idle", "t")
        assert record.agent_session
        record = await ask(bullpen, record.id, "%% say hello")
        assert record.turn is not None
        assert (record.turn.state, record.last_line) == ("done", "hello")
        messages = await bullpen.messages(record.id)
        assert [one.text for one in messages] == ["hello"]


async def test_a_prompt_given_at_creation_is_the_first_turn(world: World):
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(prompt="%% say first"))
        with anyio.fail_after(20):
            await bullpen.wait([record.id])
        assert [one.text for one in await bullpen.messages(record.id)] == ["first"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"agent": "demmo"}, AgentUnknown),
        ({"directory": "/no/such/folder"}, DirectoryMissing),
        ({"mode": "yolo"}, ModeUnsupported),
        ({"model": "nonsense"}, ModelRefused),
        ({"id": "Not OK"}, InvalidSessionId),
        ({"prompt": "  \n"}, MessageInvalid),
        ({"place": "worktree"}, NotARepository),
        ({"environment": {"BULLPEN_DEMO_START": "exit:3"}}, AgentDied),
        ({"environment": {"BULLPEN_DEMO_START": "refuse"}}, BullpenError),
        ({"environment": {"BULLPEN_DEMO_LOGIN": "1"}}, LoginNeeded),
        ({"setup": "echo broken >&2; exit 4"}, SetupFailed),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_creation_that_fails_says_why_and_leaves_nothing(
    world: World, fields: dict[str, object], error: type[BullpenError]
):
    async with world.host() as bullpen:
        with pytest.raises(error), anyio.fail_after(20):
            await bullpen.create(world.wish(**fields))
        assert await bullpen.sessions() == []
    await nothing_is_left(world)


async def test_a_failed_creation_in_a_worktree_leaves_no_branch_and_no_folder(world: World):
    world.repository()
    async with world.host() as bullpen:
        with pytest.raises(AgentDied) as died:
            await bullpen.create(
                world.wish(
                    id="calm-otter",
                    place="worktree",
                    environment={"BULLPEN_DEMO_START": "exit:3"},
                )
            )
        assert died.value.exit_code == 3
    assert world.git("branch", "--list", "bullpen/*") == ""
    assert len(world.git("worktree", "list").splitlines()) == 1
    await nothing_is_left(world)


async def test_the_id_of_a_session_that_never_came_up_may_be_asked_for_again(world: World):
    async with world.host() as bullpen:
        broken = world.wish(id="calm-otter", environment={"BULLPEN_DEMO_START": "exit:3"})
        with pytest.raises(AgentDied):
            await bullpen.create(broken)
        record, _ = await bullpen.create(world.wish(id="calm-otter"))
        assert record.state == "idle"


async def test_an_agent_that_does_not_answer_is_given_up_on(world: World):
    (world.folder / "config" / "agents").mkdir(parents=True)
    catalog = Path(__file__).parents[2] / "src/bullpen/agents/catalog/demo.toml"
    slow = catalog.read_text().replace('id = "demo"', 'id = "mute"')
    lines = [
        line for line in slow.splitlines() if not line.startswith(("start_timeout", "aliases"))
    ]
    first_table = next((i for i, line in enumerate(lines) if line.startswith("[")), len(lines))
    lines.insert(first_table, "start_timeout = 0.5")
    (world.folder / "config" / "agents" / "mute.toml").write_text("\n".join(lines))
    async with world.host() as bullpen:
        with pytest.raises(HandshakeTimedOut):
            await bullpen.create(
                world.wish(agent="mute", environment={"BULLPEN_DEMO_START": "hang"})
            )
    await nothing_is_left(world)


async def test_an_agent_that_is_not_installed_is_named_with_how_to_get_it(world: World):
    async with world.host() as bullpen:
        with pytest.raises(ProgramNotFound) as missing:
            await bullpen.create(world.wish(agent="goose", environment={"PATH": str(world.folder)}))
        assert missing.value.hint
    await nothing_is_left(world)


async def test_an_id_is_never_used_twice_not_even_after_removal(world: World):
    async with world.host() as bullpen:
        await bullpen.create(world.wish(id="calm-otter"))
        with pytest.raises(SessionIdTaken):
            await bullpen.create(world.wish(id="calm-otter"))
        await bullpen.stop("calm-otter")
        await bullpen.remove("calm-otter")
        with pytest.raises(SessionNotFound):
            await bullpen.session("calm-otter")
    async with world.host() as bullpen:
        with pytest.raises(SessionIdTaken):
            await bullpen.create(world.wish(id="calm-otter"))


async def test_the_same_key_gives_the_same_session_however_often_and_however_fast(world: World):
    async with world.host() as bullpen:
        found: list[str] = []

        async def create() -> None:
            record, _ = await bullpen.create(world.wish(key="once"))
            found.append(record.id)

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(create)
        assert len(set(found)) == 1
        session = found[0]
        await bullpen.stop(session)
        assert (await bullpen.create(world.wish(key="once")))[0].id == session
        await bullpen.remove(session)
        with pytest.raises(RequestInvalid, match="was removed"):
            await bullpen.create(world.wish(key="once"))


async def test_a_worktree_session_works_on_its_own_branch(world: World):
    repo = world.repository()
    (repo / ".worktreeinclude").write_text("secret.env\n")
    (repo / ".gitignore").write_text("secret.env\n")
    (repo / "secret.env").write_text("TOKEN=x\n")
    world.git("add", "-A")
    world.git("commit", "-qm", "ignore secrets")
    async with world.host() as bullpen:
        wish = world.wish(id="calm-otter", place="worktree", setup="cat secret.env && pwd")
        record, _ = await bullpen.create(wish)
        assert record.branch == "bullpen/calm-otter"
        assert Path(record.path).is_relative_to(world.home.worktrees)
        assert (Path(record.path) / "secret.env").read_text() == "TOKEN=x\n"
        facts = [event.fact for event in await all_events(bullpen, record.id)]
        printed = [fact.text for fact in facts if isinstance(fact, SetupPrinted)]
        assert "".join(printed) == f"TOKEN=x\n{record.path}\n"
        await ask(bullpen, record.id, "%% write b.txt new\n%% commit add b")
        numbers = await bullpen.changes(record.id)
        assert (numbers.files, numbers.insertions) == (1, 1)
        assert b"b.txt" in await bullpen.diff(record.id)
        assert not (repo / "b.txt").exists()
        with pytest.raises(BranchTaken):
            await bullpen.create(world.wish(place="worktree", branch="bullpen/calm-otter"))


async def test_a_creation_that_does_not_wait_keeps_a_failed_session_with_its_reason(world: World):
    async with world.host() as bullpen:
        broken = world.wish(environment={"BULLPEN_DEMO_START": "exit:3"})
        record, _ = await bullpen.create(broken, wait=False)
        record = await until(bullpen, record.id, lambda one: one.state == "failed")
        assert "exited with code 3" in record.reason
        assert record.exit_code == 3


async def test_agents_see_only_what_they_may_and_who_they_are(world: World):
    world.environment["AWS_SECRET_ACCESS_KEY"] = "dummy"
    world.environment["CLAUDECODE"] = "1"
    async with world.host() as bullpen:
        record, _ = await bullpen.create(world.wish(environment={"MINE": "yes"}))
        names = ("AWS_SECRET_ACCESS_KEY", "CLAUDECODE", "MINE", "BULLPEN_SESSION")
        await ask(bullpen, record.id, "\n".join(f"%% env {name}" for name in names))
        said = " ".join(one.text for one in await bullpen.messages(record.id, count=9))
        assert "dummy" not in said
        assert "CLAUDECODE=1" not in said
        assert "yes" in said
        assert record.id in said


async def test_no_turn_runs_with_a_model_that_was_not_asked_for(world: World):
    async with world.host() as bullpen:
        wish = world.wish(model="nonsense", prompt="%% write done.txt x")
        with pytest.raises(ModelRefused):
            await bullpen.create(wish)
    assert not (world.work / "done.txt").exists()
