"""How a turn of Claude Code ends, and what it cost."""

from typing import Any, Final

from bullpen.agents.claude_state import State
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


def hear_result(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take a `result`: the end of a turn, or of an attempt to bring a conversation back."""
    if state.phase == "opening":
        state.phase = "refused"
        return [OpeningFailed(code="conversation-not-found", message=_words(message))]
    if state.phase != "open" or not state.running:
        return _spent(state, message, turn=None)
    turn, is_interrupted = next(iter(state.running.items()))
    spent = _spent(state, message, turn=turn)
    if any(not taken for taken in state.steers.values()) and not is_interrupted:
        # Words that came too late for this answer get one of their own, in the same turn.
        return spent
    return [*spent, *_end(state, message, turn, is_interrupted=is_interrupted)]


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
    cost = None if total is None else max(0.0, total - state.cost)
    state.cost = state.cost if total is None else total
    models = dict_of(message.get("model_usage_since_last_result"))
    models = models or dict_of(message.get("modelUsage")) or {}
    usage = dict_of(message.get("usage")) or {}
    counts: dict[str, Any] = {
        ours: count_of(usage.get(theirs))
        for ours, theirs in (
            ("input_tokens", "input_tokens"),
            ("output_tokens", "output_tokens"),
            ("cached_read_tokens", "cache_read_input_tokens"),
            ("cached_write_tokens", "cache_creation_input_tokens"),
        )
    }
    if turn is not None and (any(counts.values()) or cost):
        model = next(iter(models), None) or state.model
        facts.append(TokensCounted(turn=turn, model=model, cost_usd=cost, **counts))
    sizes = [count_of((dict_of(each) or {}).get("contextWindow")) for each in models.values()]
    size = next((each for each in sizes if each), None)
    if total is not None or size is not None:
        facts.append(UsageReported(size_tokens=size, cost=total, currency="USD"))
    return facts
