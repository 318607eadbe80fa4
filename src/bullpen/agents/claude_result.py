"""How a turn of Claude Code ends, and what it cost."""

from typing import Any, Final

from bullpen.agents.claude_state import State, turn_of
from bullpen.agents.limit_text import LimitText, read_limit
from bullpen.agents.wire import count_of, dict_of, list_of, money_of, text_of
from bullpen.model.fact import (
    AgentFact,
    AskWithdrawn,
    LimitReached,
    OpeningFailed,
    TokensCounted,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    UsageReported,
)

_STOPS: Final = {"error_max_turns": "max_turn_requests", "error_max_budget_usd": "max_budget"}
_REASONS: Final = {"end_turn": "end_turn", "max_tokens": "max_tokens", "refusal": "refusal"}

_MODEL_KEYS: Final = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cached_read_tokens": "cacheReadInputTokens",
    "cached_write_tokens": "cacheCreationInputTokens",
}
_USAGE_KEYS: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_read_tokens": "cache_read_input_tokens",
    "cached_write_tokens": "cache_creation_input_tokens",
}


def hear_result(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take a `result`: the end of a turn, or of an attempt to bring a conversation back."""
    if state.phase == "opening":
        state.phase = "refused"
        return [OpeningFailed(code="conversation-not-found", message=_words(message))]
    if state.phase != "open" or not state.running:
        return _spent(state, message, turn=None)
    turn, is_interrupted = next(iter(state.running.items()))
    if _is_of_another(message, turn):
        return _spent(state, message, turn=None)
    spent = _spent(state, message, turn=turn)
    if any(not taken for taken in state.steers.values()) and not is_interrupted:
        # Words that came too late for this answer get one of their own, in the same turn.
        return spent
    return [*spent, *_end(state, message, turn, is_interrupted=is_interrupted)]


def _is_of_another(message: dict[str, Any], turn: int) -> bool:
    """Whether a result answers a prompt of ours that is not of `turn`: one that was given up
    because nobody knew whether it had arrived, and that had."""
    names = [text_of(each) or "" for each in list_of(message.get("user_message_uuids")) or []]
    turns = {found for name in names if (found := turn_of(name)) is not None}
    return bool(turns) and turn not in turns


def _end(
    state: State, message: dict[str, Any], turn: int, *, is_interrupted: bool
) -> list[AgentFact]:
    state.running = {}
    state.steers = {}
    facts: list[AgentFact] = [AskWithdrawn(request=name) for name in state.asks]
    state.asks = {}
    reason = text_of(message.get("terminal_reason")) or ""
    if is_interrupted or reason.startswith("aborted"):
        end: TurnEnded | TurnFailed = TurnEnded(turn=turn, stop="cancelled")
    elif message.get("is_error") is True:
        end = _failed(state, message, turn)
    else:
        stop = text_of(message.get("stop_reason")) or "end_turn"
        end = TurnEnded(turn=turn, stop=_REASONS.get(stop, "end_turn"))
    if isinstance(end, TurnFailed):
        facts += limit_of(state, end, status=count_of(message.get("api_error_status")))
    if not isinstance(end, TurnEnded) or end.stop == "cancelled":
        status = "failed" if isinstance(end, TurnFailed) else "cancelled"
        facts += [ToolChanged(call=call, status=status) for call in state.calls]
    state.calls = {}
    state.error = ""
    return [*facts, end]


def _failed(state: State, message: dict[str, Any], turn: int) -> TurnEnded | TurnFailed:
    subtype = text_of(message.get("subtype")) or ""
    if subtype in _STOPS:
        return TurnEnded(turn=turn, stop=_STOPS[subtype])
    status = count_of(message.get("api_error_status"))
    named = state.error if state.error != "unknown" else ""
    code = named or (f"http-{status}" if status else "") or subtype or "error"
    return TurnFailed(turn=turn, code=code.replace("_", "-"), message=_words(message))


def limit_of(state: State, end: TurnFailed, *, status: int | None) -> list[AgentFact]:
    """Return the limit that ended a turn, if one did: what the account's own event said of it
    first, then the words of the error."""
    said = read_limit(end.message, status=status)
    if state.limit_kind and (said is not None or end.code == "rate-limit"):
        said = LimitText(limit=state.limit_kind, resets_at=state.limit_resets_at)
    if said is None and end.code == "billing-error":
        said = LimitText(limit="credit")
    if said is None:
        return []
    return [
        LimitReached(
            limit=said.limit,
            message=end.message,
            turn=end.turn,
            resets_at=said.resets_at,
            resets_in=said.resets_in,
            clock=said.clock,
        )
    ]


def hear_rate_limit(state: State, message: dict[str, Any]) -> None:
    """Take a `rate_limit_event`; only a rejection matters, the rest is a warning."""
    info = dict_of(message.get("rate_limit_info")) or {}
    if info.get("status") != "rejected":
        state.limit_kind, state.limit_resets_at = "", None
        return
    kind = text_of(info.get("rateLimitType")) or ""
    state.limit_kind = "credit" if kind == "overage" else "usage"
    state.limit_resets_at = money_of(info.get("resetsAt"))


def _words(message: dict[str, Any]) -> str:
    errors = [each for each in list_of(message.get("errors")) or [] if isinstance(each, str)]
    said = text_of(message.get("result"))
    return said or "; ".join(errors) or text_of(message.get("subtype")) or "no reason was given"


def _spent(state: State, message: dict[str, Any], *, turn: int | None) -> list[AgentFact]:
    facts: list[AgentFact] = []
    total = money_of(message.get("total_cost_usd"))
    told = dict_of(message.get("model_usage_since_last_result"))
    since = _listed(told)
    every = since or _listed(message.get("modelUsage"))
    # A conversation that came back counts what it cost before, so the difference is no measure.
    cost = _more(total, state.cost) if told is None else _sum(since, "costUSD")
    state.cost = state.cost if total is None else total
    usage = dict_of(message.get("usage")) or {}
    counts = _counts_of(usage) if told is None else _counts(since)
    if turn is not None and (any(counts.values()) or cost):
        model = state.model if state.model in every else next(iter(every), state.model)
        facts.append(TokensCounted(turn=turn, model=model, cost_usd=cost, **counts))
    sizes = [count_of(each.get("contextWindow")) for each in every.values()]
    size = next((each for each in sizes if each), None)
    if total is not None or size is not None:
        facts.append(UsageReported(size_tokens=size, cost=total, currency="USD"))
    return facts


def _listed(models: Any) -> dict[str, dict[str, Any]]:
    return {name: dict_of(each) or {} for name, each in (dict_of(models) or {}).items()}


def _more(total: float | None, before: float) -> float | None:
    return None if total is None else max(0.0, total - before)


def _sum(models: dict[str, dict[str, Any]], key: str) -> float | None:
    found = [money_of(each.get(key)) for each in models.values()]
    known = [each for each in found if each is not None]
    return sum(known) if known else None


def _counts(models: dict[str, dict[str, Any]]) -> dict[str, int | None]:
    """Add up every model: that of helpers too, and what an interrupted answer used."""
    return {ours: count_of(_sum(models, theirs)) for ours, theirs in _MODEL_KEYS.items()}


def _counts_of(usage: dict[str, Any]) -> dict[str, int | None]:
    return {ours: count_of(usage.get(theirs)) for ours, theirs in _USAGE_KEYS.items()}
