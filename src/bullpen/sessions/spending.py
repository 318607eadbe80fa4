"""Money: what turns cost that agents do not price, and budgets that end the spending."""

import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bullpen.errors import ConfigInvalid
from bullpen.model.fact import (
    AgentFact,
    AnyFact,
    BudgetReached,
    CostReckoned,
    TokensCounted,
    TurnEnded,
    TurnFailed,
    UsageReported,
)
from bullpen.model.session import SessionRecord
from bullpen.sessions.reflex import Reaction
from bullpen.sessions.settings import BudgetSettings

_OURS = Path(__file__).with_name("prices.toml")
_MILLION = 1_000_000


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a million tokens of a model cost, in USD."""

    match: str
    """A beginning of the model's name."""
    input: float
    output: float
    cached_read: float | None = None
    cached_write: float | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    price: list[Price] = []


class Prices:
    """The price table: the user's before ours, the longest match first."""

    def __init__(self, prices: Sequence[tuple[Price, str]]) -> None:
        self._prices = prices

    @classmethod
    def load(cls, file: Path) -> "Prices":
        """Read ours and the user's.

        Raises:
            ConfigInvalid: the user's file is no price table.
        """
        found: list[tuple[Price, str]] = []
        for one in (file, _OURS):
            source = "prices.toml" if one is file else "shipped prices"
            table = sorted(_read(one), key=lambda price: -len(price.match))
            found += [(price, source) for price in table]
        return cls(found)

    def cost(self, fact: TokensCounted) -> tuple[float, str] | None:
        """Return the USD of a turn and where the price is from; None when nobody knows."""
        if not fact.model:
            return None
        for price, source in self._prices:
            if fact.model.startswith(price.match):
                usd = _reckon(price, fact)
                return None if usd is None else (usd, source)
        return None


def _read(file: Path) -> list[Price]:
    try:
        return msgspec.convert(tomllib.loads(file.read_text("utf-8")), _File).price
    except FileNotFoundError:
        return []
    except (OSError, ValueError, msgspec.ValidationError) as fault:
        raise ConfigInvalid(file, str(fault)) from fault


def _reckon(price: Price, fact: TokensCounted) -> float | None:
    total = 0.0
    for count, each in (
        (fact.input_tokens, price.input),
        (fact.output_tokens, price.output),
        (fact.cached_read_tokens, price.cached_read),
        (fact.cached_write_tokens, price.cached_write),
    ):
        if count and each is None:
            return None
        total += (count or 0) * (each or 0.0) / _MILLION
    return total


class Spending:
    """The reflex that prices turns and watches budgets."""

    def __init__(self, prices: Prices, settings: BudgetSettings) -> None:
        self._prices = prices
        self._settings = settings
        self._day = ""
        self._today = 0.0
        self._day_warned = False

    def begin(self, spent_today: float) -> None:
        """Take up what was spent today before this service ran."""
        self._day, self._today = _day(time.time()), spent_today

    def react(self, record: SessionRecord, heard: Sequence[AgentFact]) -> Sequence[Reaction]:
        """Price what was counted, and say which budgets it reached."""
        facts: list[AnyFact] = []
        paid = tokens = 0.0
        for fact in heard:
            if isinstance(fact, TokensCounted):
                tokens += (fact.input_tokens or 0) + (fact.output_tokens or 0)
                paid += fact.cost_usd or 0.0
                facts += self._priced(record, fact, heard)
        told = self._told_at_the_end(record, heard, counted=bool(facts) or paid > 0)
        facts += told
        paid += sum(one.usd for one in facts if isinstance(one, CostReckoned))
        if paid or tokens:
            facts += self._reached(record, paid, tokens)
        return [Reaction(facts=facts)] if facts else []

    def _priced(
        self, record: SessionRecord, fact: TokensCounted, heard: Sequence[AgentFact]
    ) -> list[AnyFact]:
        if fact.cost_usd is not None or _total(record, heard) is not None:
            return []
        found = self._prices.cost(fact)
        if found is None:
            return []
        return [CostReckoned(turn=fact.turn, usd=found[0], model=fact.model or "", source=found[1])]

    def _told_at_the_end(
        self, record: SessionRecord, heard: Sequence[AgentFact], *, counted: bool
    ) -> list[AnyFact]:
        """Agents that only tell what the whole session cost: the turn cost the difference."""
        end = next((one for one in heard if isinstance(one, (TurnEnded, TurnFailed))), None)
        priced = any(isinstance(one, TokensCounted) and one.cost_usd is not None for one in heard)
        total = _total(record, heard)
        if end is None or priced or counted or total is None or record.prices_itself:
            return []
        delta = total - (record.cost_counted or 0.0)
        if delta <= 0:
            return []
        model = record.model or ""
        return [CostReckoned(turn=end.turn, usd=delta, model=model, source="agent")]

    def _reached(self, record: SessionRecord, paid: float, tokens: float) -> list[AnyFact]:
        facts: list[AnyFact] = []
        spent = record.spent
        usd = (spent.usd if spent and spent.usd else 0.0) + paid
        known = ((spent.input_tokens or 0) + (spent.output_tokens or 0)) if spent else 0
        total = known + tokens
        budget, settings = record.budget, self._settings
        usd_limit = budget.usd if budget and budget.usd is not None else settings.session_usd
        is_spent = budget is not None and budget.is_spent
        if usd_limit is not None and usd >= usd_limit and not is_spent:
            facts.append(_fact("session", usd, usd_limit, "usd", hard=True))
        elif budget and budget.tokens is not None and total >= budget.tokens and not is_spent:
            facts.append(_fact("session", total, budget.tokens, "tokens", hard=True))
        soft = settings.session_soft_usd
        is_warned = budget is not None and budget.is_warned
        if soft is not None and usd >= soft and not is_warned:
            facts.append(_fact("session", usd, soft, "usd", hard=False))
        # A script's tokens cost nothing, whatever the agent believes.
        return facts if record.rehearsal is not None else [*facts, *self._day_reached(paid)]

    def _day_reached(self, paid: float) -> list[AnyFact]:
        today = _day(time.time())
        if today != self._day:
            self._day, self._today, self._day_warned = today, 0.0, False
        before, self._today = self._today, self._today + paid
        settings = self._settings
        facts: list[AnyFact] = []
        if settings.day_usd is not None and before < settings.day_usd <= self._today:
            facts.append(_fact("day", self._today, settings.day_usd, "usd", hard=True))
        soft = settings.day_soft_usd
        if soft is not None and self._today >= soft and not self._day_warned:
            self._day_warned = True
            facts.append(_fact("day", self._today, soft, "usd", hard=False))
        return facts

    def holds(self, record: SessionRecord, coming: Sequence[AnyFact]) -> bool:
        """Whether a hard budget lets no turn start."""
        if any(isinstance(one, BudgetReached) and one.is_hard for one in coming):
            return True
        return self.spent(record) is not None

    def spent(self, record: SessionRecord) -> tuple[str, str, str] | None:
        """Return which hard budget is spent, how much of it, and how large it is."""
        budget = record.budget
        if budget is not None and budget.is_spent:
            found = record.spent
            usd = f"{found.usd:.2f} USD" if found and found.usd is not None else "all"
            limit = f"{budget.usd:.2f} USD" if budget.usd is not None else f"{budget.tokens} tokens"
            return "session", usd, limit
        day = self._settings.day_usd
        is_over = self._day == _day(time.time()) and day is not None and self._today >= day
        if day is not None and is_over and record.rehearsal is None:
            return "day", f"{self._today:.2f} USD", f"{day:.2f} USD"
        return None


def _total(record: SessionRecord, heard: Sequence[AgentFact]) -> float | None:
    """Return what the agent says the whole session cost, in USD."""
    for fact in reversed(heard):
        if isinstance(fact, UsageReported) and fact.cost is not None:
            return fact.cost if fact.currency in (None, "USD") else None
    return record.cost if record.currency in (None, "USD") else None


def _fact(budget: str, spent: float, limit: float, unit: str, *, hard: bool) -> BudgetReached:
    return BudgetReached(budget=budget, is_hard=hard, spent=spent, limit=limit, unit=unit)


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))
