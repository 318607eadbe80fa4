"""What turns cost, who is asked for the price, and budgets that end the spending."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bullpen.errors import BudgetSpent, ConfigInvalid
from bullpen.model.fact import BudgetReached, TokensCounted
from bullpen.model.session import SessionState
from bullpen.sessions.costing import Entry, summed
from bullpen.sessions.spending import Prices
from kit.world import World, all_events, ask, until

SESSION = "cost-one"


def script(*steps: str) -> str:
    body = "\n".join(steps)
    return f"```demo\n{body}\n```"


def counted(**more: object) -> TokensCounted:
    base: dict[str, object] = {"turn": 1, "input_tokens": 1_000_000, "output_tokens": 100_000}
    return TokensCounted(**(base | more))  # pyright: ignore[reportArgumentType]


def test_a_known_model_is_priced_and_an_unknown_one_is_not(tmp_path: Path):
    prices = Prices.load(tmp_path / "prices.toml")
    found = prices.cost(counted(model="claude-opus-5-5"))
    assert found == (6.0, "shipped prices")
    assert prices.cost(counted(model="nobody-knows")) is None
    assert prices.cost(counted()) is None


def test_the_users_prices_come_first_and_the_longest_name_wins(tmp_path: Path):
    file = tmp_path / "prices.toml"
    file.write_text(
        '[[price]]\nmatch = "claude"\ninput = 1.0\noutput = 0.0\n'
        '[[price]]\nmatch = "claude-opus"\ninput = 2.0\noutput = 0.0\n'
    )
    prices = Prices.load(file)
    assert prices.cost(counted(model="claude-opus-5-5")) == (2.0, "prices.toml")
    assert prices.cost(counted(model="claude-x")) == (1.0, "prices.toml")


def test_cached_tokens_without_a_price_make_the_whole_unknown(tmp_path: Path):
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nmatch = "m"\ninput = 1.0\noutput = 1.0\n')
    prices = Prices.load(file)
    assert prices.cost(counted(model="m", cached_read_tokens=5)) is None
    assert prices.cost(counted(model="m", cached_read_tokens=0)) is not None


def test_a_broken_price_table_is_named(tmp_path: Path):
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nmatch = "m"\n')
    with pytest.raises(ConfigInvalid, match=r"prices\.toml"):
        Prices.load(file)


async def test_what_nobody_prices_stays_unknown(world: World):
    async with world.host() as pen:
        await pen.create(world.wish(id=SESSION))
        await ask(pen, SESSION, script("tokens 100 20"))
        record = await pen.session(SESSION)
        assert record.spent is not None
        assert (record.spent.input_tokens, record.spent.usd) == (100, None)
        assert record.spent.unpriced_turns == 1
        (one,) = await pen.cost()
        assert (one.name, one.turns, one.usd, one.unpriced_turns) == (SESSION, 1, None, 1)


async def test_what_an_agent_says_of_the_session_is_told_per_turn(world: World):
    async with world.host() as pen:
        await pen.create(world.wish(id=SESSION))
        await ask(pen, SESSION, script("usage 10 1000 0.25"))
        await ask(pen, SESSION, script("usage 20 1000 0.60"))
        record = await pen.session(SESSION)
        assert record.spent is not None
        assert record.spent.usd == pytest.approx(0.60)
        (one,) = await pen.cost(by="agent")
        assert (one.name, one.turns, one.is_estimate) == ("demo", 2, False)
        assert one.usd == pytest.approx(0.60)
        assert [each.name for each in await pen.cost(by="workspace")] == [str(world.work)]
        assert [each.name for each in await pen.cost(by="day")] == [time.strftime("%Y-%m-%d")]


async def test_a_hard_budget_lets_no_further_turn_start(world: World):
    async with world.host() as pen:
        await pen.create(world.wish(id=SESSION, budget_usd=0.5))
        await pen.send(SESSION, script("usage 10 1000 0.75"))
        waiting = await pen.send(SESSION, "never begun")
        record = await until(pen, SESSION, lambda one: bool(one.budget and one.budget.is_spent))
        record = await until(pen, SESSION, lambda one: one.state is SessionState.IDLE)
        assert record.queue == [waiting]
        with pytest.raises(BudgetSpent):
            await pen.send(SESSION, "more")
        await pen.lifter.set_budget(SESSION, usd=2.0, tokens=None)
        await until(pen, SESSION, lambda one: one.queue == [])


async def test_a_token_budget_works_without_a_price(world: World):
    async with world.host() as pen:
        await pen.create(world.wish(id=SESSION, budget_tokens=100))
        await ask(pen, SESSION, script("tokens 90 20"))
        with pytest.raises(BudgetSpent, match="tokens"):
            await pen.send(SESSION, "more")


async def test_a_soft_budget_tells_once_and_stops_nothing(world: World):
    world.configure("[budget]\nsession_soft_usd = 0.1\n")
    async with world.host() as pen:
        await pen.create(world.wish(id=SESSION))
        await ask(pen, SESSION, script("usage 10 1000 0.2"))
        await ask(pen, SESSION, script("usage 10 1000 0.3"))
        told = [e.fact for e in await all_events(pen, SESSION) if isinstance(e.fact, BudgetReached)]
        assert [(one.budget, one.is_hard) for one in told] == [("session", False)]


async def test_the_days_budget_is_one_for_all_and_survives_the_service(world: World):
    world.configure("[budget]\nday_usd = 0.5\n")
    async with world.host() as pen:
        await pen.create(world.wish(id="one-a"))
        await pen.create(world.wish(id="two-b"))
        await ask(pen, "one-a", script("usage 10 1000 0.3"))
        await ask(pen, "two-b", script("usage 10 1000 0.3"))
        with pytest.raises(BudgetSpent, match="day"):
            await pen.send("one-a", "more")
    async with world.host() as pen:
        await pen.resume("one-a")
        with pytest.raises(BudgetSpent, match="day"):
            await pen.send("one-a", "more")


async def test_a_rebuilt_record_has_spent_the_same(world: World):
    async with world.host() as pen:
        await pen.create(world.wish(id=SESSION, budget_usd=5.0))
        await ask(pen, SESSION, script("tokens 100 20", "usage 10 1000 0.25"))
        before = (await pen.session(SESSION)).spent
        await pen.rebuild()
    async with world.host() as pen:
        assert (await pen.session(SESSION)).spent == before


entries = st.builds(
    Entry,
    session=st.sampled_from(["a", "b"]),
    turn=st.integers(1, 5),
    at=st.floats(0, 1e9),
    agent=st.sampled_from(["x", "y"]),
    workspace=st.just("/w"),
    model=st.sampled_from([None, "m"]),
    input_tokens=st.none() | st.integers(0, 1000),
    output_tokens=st.none() | st.integers(0, 1000),
    usd=st.none() | st.floats(0, 10),
    source=st.sampled_from(["agent", "prices.toml"]),
)


@given(st.lists(entries, max_size=30), st.sampled_from(["session", "agent", "model", "workspace"]))
@settings(deadline=None)
def test_no_way_of_adding_up_loses_or_invents_anything(ledger: list[Entry], by: str):
    sums = summed(ledger, by=by)
    assert sum(one.turns for one in sums) == len(ledger)
    assert sum(one.unpriced_turns for one in sums) == sum(one.usd is None for one in ledger)
    total = sum(one.usd or 0.0 for one in ledger)
    assert sum(one.usd or 0.0 for one in sums) == pytest.approx(total)
    assert sum(one.input_tokens or 0 for one in sums) == sum(
        one.input_tokens or 0 for one in ledger
    )
