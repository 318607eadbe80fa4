"""How a turn of an ACP agent ends: by its answer, by an error, or with the agent's death."""

import re
from typing import Any

import msgspec

from bullpen.agents.acp_requests import cancel_all
from bullpen.agents.acp_state import State
from bullpen.agents.dialect import FOREIGN_TURN, Heard
from bullpen.agents.limit_text import read_limit
from bullpen.agents.wire import (
    REQUEST_CANCELLED,
    Refused,
    count_of,
    dict_of,
    plain_words,
    text_of,
)
from bullpen.model.agent import Quirks
from bullpen.model.fact import (
    AgentFact,
    AskWithdrawn,
    ConversationNamed,
    LimitReached,
    PlanShown,
    TokensCounted,
    ToolCalled,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    TurnTyped,
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


def tells_in_words(quirks: Quirks) -> bool:
    """Whether what the agent says must be kept to know how its turns end."""
    return bool(quirks.error_texts or quirks.failure_mark or quirks.silent_failures)


def note_signs(
    state: State, facts: list[AgentFact], update: dict[str, Any], quirks: Quirks
) -> None:
    """Note what a whole update says about how the running turn will end."""
    state.did = state.did or any(isinstance(fact, ToolCalled | PlanShown) for fact in facts)
    place, _, word = quirks.failure_mark.partition("=")
    if not place or update.get("sessionUpdate") != "session_info_update":
        return
    found: Any = update.get("_meta")
    for key in place.split("."):
        found = (dict_of(found) or {}).get(key)
    state.is_failed = state.is_failed or found == word


def _failure(state: State, turn: int, stop: str, quirks: Quirks) -> TurnFailed | None:
    """Return the failure behind a turn that says it ended well."""
    if stop != "end_turn":
        return None
    said = state.said.strip()
    if state.is_failed:
        last = said.rpartition("\n\n")[2]
        return TurnFailed(turn=turn, code="error", message=plain_words(last) or "no reason given")
    if any(re.fullmatch(pattern, said, re.DOTALL) for pattern in quirks.error_texts):
        return TurnFailed(turn=turn, code="error", message=plain_words(said))
    if quirks.silent_failures and not said and not state.did:
        why = "the turn ended without a word or a deed"
        return TurnFailed(turn=turn, code="empty-turn", message=why)
    return None


def end_turn(
    state: State, turn: int, answer: Any, message: dict[str, Any], *, quirks: Quirks
) -> Heard:
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
        hint = quirks.error_hints.get(answer.code)
        if hint and isinstance(end, TurnFailed):
            end = msgspec.structs.replace(end, message=f"{end.message} ({hint})")
    else:
        result = dict_of(answer) or {}
        facts += _tokens(turn, result)
        stop = text_of(result.get("stopReason"))
        if stop is None:
            facts.append(Unrecognised(what="session/prompt", raw=message))
        failure = None if is_interrupted else _failure(state, turn, stop or "", quirks)
        end = failure or TurnEnded(turn=turn, stop=stop or "unknown")
    if isinstance(end, TurnFailed):
        facts += limit_of(end)
    return Heard([*facts, *_close_calls(state, end), end], out)


def hear_keeper(state: State, method: str, params: dict[str, Any]) -> list[AgentFact] | None:
    """Take what the keeper of a screen tells of turns that people begin there; None for all else.

    Foreign turns are number 0; see `TurnTyped`.
    """
    if method == "_bullpen/conversation_named":
        name = text_of(params.get("conversation"))
        return [ConversationNamed(agent_session=name)] if name else []
    if method == "_bullpen/turn_began":
        if state.running:
            return []
        state.running[FOREIGN_TURN] = False
        return [TurnTyped(text=text_of(params.get("text")) or "", by="terminal")]
    if method != "_bullpen/turn_ended" or FOREIGN_TURN not in state.running:
        return [] if method == "_bullpen/turn_ended" else None
    is_interrupted = state.running.pop(FOREIGN_TURN)
    stop = text_of(params.get("stopReason")) or "end_turn"
    said = text_of(params.get("message")) or "no reason was given"
    end: TurnEnded | TurnFailed = TurnEnded(turn=FOREIGN_TURN, stop=stop)
    if is_interrupted:
        end = TurnEnded(turn=FOREIGN_TURN, stop="cancelled")
    elif stop == "error":
        end = TurnFailed(turn=FOREIGN_TURN, code="error", message=said)
    return [*_close_calls(state, end), end]


def fail_all(state: State) -> list[AgentFact]:
    """Return what the agent's death does to turns, calls and open requests. Changes nothing."""
    facts: list[AgentFact] = [AskWithdrawn(request=name) for name in state.requests]
    for turn, is_interrupted in state.running.items():
        gone = Refused("agent-ended", "the agent ended before the turn did")
        end = _error_end(turn, gone, is_interrupted=is_interrupted)
        facts += [*_close_calls(state, end), end]
    return facts


def limit_of(end: TurnFailed) -> list[AgentFact]:
    """Return the limit that ended a turn, if its error tells of one."""
    status = int(end.code) if end.code.isascii() and end.code.isdigit() else None
    said = read_limit(end.message, status=status)
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
