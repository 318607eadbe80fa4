"""How a turn of Codex begins and ends, and what it cost."""

from typing import Any, Final

from bullpen.agents.codex_asks import cancel_all
from bullpen.agents.codex_items import plain
from bullpen.agents.codex_state import Running, State
from bullpen.agents.dialect import FOREIGN_TURN, Heard
from bullpen.agents.limit_text import LimitText, read_limit
from bullpen.agents.wire import count_of, dict_of, line_of, money_of, plain_words, text_of
from bullpen.model.fact import (
    AgentFact,
    AskWithdrawn,
    LimitReached,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    TurnTyped,
    UsageReported,
)

_LIMITS: Final = {"usageLimitExceeded": "usage", "rateLimitExceeded": "rate"}
_CREDITS: Final = {"sessionBudgetExceeded": "credit"}


def started(state: State, params: dict[str, Any]) -> Heard:
    """Take the beginning of a turn: one of ours, or one the agent began for its goal."""
    turn = dict_of(params.get("turn")) or {}
    name = text_of(turn.get("id"))
    for number, running in state.running.items():
        if running.agent_turn in (None, name):
            running.agent_turn = name
            return Heard([], interrupt_if_asked(state, number))
    state.running[FOREIGN_TURN] = Running(agent_turn=name)
    return Heard([TurnTyped(text="", by="goal")])


def interrupt_if_asked(state: State, number: int) -> list[bytes]:
    """Return the order to end a turn, once its name is known and if somebody asked."""
    running = state.running[number]
    if not running.is_interrupted or running.is_interrupt_sent or running.agent_turn is None:
        return []
    running.is_interrupt_sent = True
    params = {"threadId": state.thread, "turnId": running.agent_turn}
    name = state.next_id("interrupt")
    return [line_of({"id": name, "method": "turn/interrupt", "params": params})]


def completed(state: State, params: dict[str, Any]) -> Heard:
    """Take the end of a turn."""
    turn = dict_of(params.get("turn")) or {}
    number = state.turn_of(text_of(turn.get("id")))
    if number is None:
        return Heard([])
    status = plain(turn.get("status"))
    error = dict_of(turn.get("error")) or (state.error if status == "failed" else None)
    if state.running[number].is_interrupted or status in ("interrupted", "cancelled", "aborted"):
        return over(state, number, TurnEnded(turn=number, stop="cancelled"))
    if error is not None or status == "failed":
        return over(state, number, _failed(number, error or {}), error)
    if not state.running[number].has_output:
        said = "the turn ended without a word or a deed"
        return over(state, number, TurnFailed(turn=number, code="empty-turn", message=said))
    return over(state, number, TurnEnded(turn=number, stop="end_turn"))


def over(
    state: State, number: int, end: TurnEnded | TurnFailed, error: dict[str, Any] | None = None
) -> Heard:
    """Close a turn: what it used, what is still open, what of it goes on, and its end."""
    running = state.running.pop(number)
    state.error = None
    facts: list[AgentFact] = [AskWithdrawn(request=name) for name in state.asks]
    out = cancel_all(state)
    counted = running.counted(number, state.model)
    facts += [] if counted is None else [counted]
    is_cancelled = isinstance(end, TurnEnded) and end.stop == "cancelled"
    if isinstance(end, TurnFailed) or is_cancelled:
        status = "cancelled" if is_cancelled else "failed"
        facts += [ToolChanged(call=call, status=status) for call in _unfinished(state)]
        state.items = {}
        # Commands live on as terminals in the background, of a turn that is no more.
        name = state.next_id("clean")
        params = {"threadId": state.thread}
        request = {"id": name, "method": "thread/backgroundTerminals/clean", "params": params}
        out.append(line_of(request))
    if isinstance(end, TurnFailed):
        facts += _limit(state, end, error or {})
    return Heard([*facts, end], out)


def _unfinished(state: State) -> list[str]:
    spoken = ("agentMessage", "reasoning", "plan")
    return [call for call, item in state.items.items() if item.kind not in spoken]


def _failed(number: int, error: dict[str, Any]) -> TurnFailed:
    info = error.get("codexErrorInfo")
    fields = dict_of(info)
    code = next(iter(fields), "error") if fields is not None else text_of(info) or "error"
    inner = dict_of(fields.get(code)) if fields is not None else None
    status = count_of((inner or {}).get("httpStatusCode"))
    message = plain_words(text_of(error.get("message")) or "no reason was given")
    more = text_of(error.get("additionalDetails"))
    if more and more not in message:
        message = f"{message}: {more}"
    named = f"http-{status}" if status else code
    return TurnFailed(turn=number, code=named, message=message)


def _limit(state: State, end: TurnFailed, error: dict[str, Any]) -> list[AgentFact]:
    code = text_of(error.get("codexErrorInfo")) or ""
    status = int(end.code[5:]) if end.code.startswith("http-") else None
    said = read_limit(end.message, status=status)
    if code in _LIMITS or code in _CREDITS:
        named = _LIMITS.get(code) or _CREDITS[code]
        if said is None or said.limit != named:
            said = LimitText(limit=named)
    if said is None:
        return []
    known = said.resets_in is not None or said.limit != "usage"
    return [
        LimitReached(
            limit=said.limit,
            message=end.message,
            turn=end.turn,
            resets_at=said.resets_at if known else said.resets_at or state.resets_at,
            resets_in=said.resets_in,
            clock=said.clock,
        )
    ]


def hear_limits(state: State, params: dict[str, Any]) -> None:
    """Take how full the account's windows are; only a full one is of use."""
    limits = dict_of(params.get("rateLimits")) or {}
    found: list[float] = []
    for key in ("primary", "secondary"):
        window = dict_of(limits.get(key)) or {}
        used, resets_at = money_of(window.get("usedPercent")), money_of(window.get("resetsAt"))
        if used is not None and used >= 100 and resets_at is not None:
            found.append(resets_at)
    state.resets_at = max(found, default=None)


def hear_usage(state: State, params: dict[str, Any]) -> list[AgentFact]:
    """Take what one request to the model used."""
    usage = dict_of(params.get("tokenUsage")) or {}
    last = dict_of(usage.get("last")) or {}
    running = state.running.get(state.turn_of(text_of(params.get("turnId"))) or FOREIGN_TURN)
    counts = {
        key: count_of(last.get(key)) or 0
        for key in ("inputTokens", "outputTokens", "cachedInputTokens", "reasoningOutputTokens")
    }
    if running is not None:
        running.input_tokens += counts["inputTokens"]
        running.output_tokens += counts["outputTokens"]
        running.cached_tokens += counts["cachedInputTokens"]
        running.thought_tokens += counts["reasoningOutputTokens"]
    used, size = count_of(last.get("totalTokens")), count_of(usage.get("modelContextWindow"))
    return [UsageReported(used_tokens=used, size_tokens=size)] if used or size else []
