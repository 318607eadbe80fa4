"""How a turn of an ACP agent ends: by its answer, by an error, or with the agent's death."""

from typing import Any

from bullpen.agents.acp_requests import cancel_all
from bullpen.agents.acp_state import State
from bullpen.agents.dialect import Heard
from bullpen.agents.wire import REQUEST_CANCELLED, Refused, count_of, dict_of, text_of
from bullpen.model.fact import (
    AgentFact,
    AskWithdrawn,
    TokensCounted,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    Unrecognised,
)

_COUNTS = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "thought_tokens": "thoughtTokens",
    "cached_read_tokens": "cachedReadTokens",
    "cached_write_tokens": "cachedWriteTokens",
    "total_tokens": "totalTokens",
}


def end_turn(state: State, turn: int, answer: Any, message: dict[str, Any]) -> Heard:
    """Take the answer to a prompt, a result or `Refused`."""
    if turn in state.ended:
        return Heard([Unrecognised(what="response", raw=message)])
    is_interrupted = state.running.pop(turn, False)
    state.remember_end(turn)
    state.silent = False
    facts: list[AgentFact] = [AskWithdrawn(request=name) for name in state.requests]
    out = cancel_all(state)
    if isinstance(answer, Refused):
        end = _error_end(turn, answer, is_interrupted=is_interrupted)
    else:
        result = dict_of(answer) or {}
        facts += _tokens(turn, result)
        stop = text_of(result.get("stopReason"))
        if stop is None:
            facts.append(Unrecognised(what="session/prompt", raw=message))
        end = TurnEnded(turn=turn, stop=stop or "unknown")
    return Heard([*facts, *_close_calls(state, end), end], out)


def fail_all(state: State) -> list[AgentFact]:
    """Return what the agent's death does to turns, calls and open requests. Changes nothing."""
    facts: list[AgentFact] = [AskWithdrawn(request=name) for name in state.requests]
    for turn, is_interrupted in state.running.items():
        gone = Refused("agent-ended", "the agent ended before the turn did")
        end = _error_end(turn, gone, is_interrupted=is_interrupted)
        facts += [*_close_calls(state, end), end]
    return facts


def _error_end(turn: int, error: Refused, *, is_interrupted: bool) -> TurnEnded | TurnFailed:
    if is_interrupted or error.code == str(REQUEST_CANCELLED):
        return TurnEnded(turn=turn, stop="cancelled")
    return TurnFailed(turn=turn, code=error.code, message=error.message)


def _tokens(turn: int, result: dict[str, Any]) -> list[AgentFact]:
    usage = dict_of(result.get("usage")) or {}
    counts: dict[str, Any] = {ours: count_of(usage.get(theirs)) for ours, theirs in _COUNTS.items()}
    if all(count is None for count in counts.values()):
        return []
    return [TokensCounted(turn=turn, **counts)]


def _close_calls(state: State, end: TurnEnded | TurnFailed) -> list[AgentFact]:
    status = "failed" if isinstance(end, TurnFailed) else "cancelled"
    is_normal = isinstance(end, TurnEnded) and end.stop != "cancelled"
    unfinished = {call: seen for call, seen in state.calls.items() if not seen.is_over}
    state.calls = unfinished if is_normal else {}
    if is_normal:
        return []
    return [ToolChanged(call=call, status=status) for call in unfinished]
