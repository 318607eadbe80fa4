"""A turn of pi: what it says, the tools it uses, how it ends and what it cost."""

import re
from typing import Any, Final

from bullpen.agents.dialect import FOREIGN_TURN, Heard
from bullpen.agents.limit_text import read_limit
from bullpen.agents.pi_asks import cancel_all
from bullpen.agents.pi_state import Running, Spent, State
from bullpen.agents.pi_tools import (
    content_of,
    kind_of,
    locations_of,
    output_of,
    title_of,
    words_of,
)
from bullpen.agents.wire import count_of, dict_of, money_of, text_of
from bullpen.model.fact import (
    AgentFact,
    AskWithdrawn,
    LimitReached,
    MessageStreamed,
    OptionsChanged,
    ThoughtStreamed,
    TokensCounted,
    ToolCalled,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    TurnTyped,
    UsageReported,
)

_STOPS: Final = {"stop": "end_turn", "length": "max_tokens", "toolUse": "end_turn"}
_STATUS: Final = re.compile(r"(?:Error: )?([45]\d\d)\b")
_FINISHED: Final = frozenset({"stop", "length"})
_COUNTS: Final = (
    ("input", "input"),
    ("output", "output"),
    ("thought", "reasoning"),
    ("cached_read", "cacheRead"),
    ("cached_write", "cacheWrite"),
    ("total", "totalTokens"),
)


def hear_message_start(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take a `message_start`: the model begins to answer."""
    said = dict_of(message.get("message")) or {}
    role = said.get("role")
    if role == "assistant":
        state.messages += 1
        state.streamed = False
    if not state.foreign or state.turn is not None or role not in ("user", "assistant"):
        return []
    state.foreign = False
    state.begin_turn(FOREIGN_TURN)
    state.turn = Running(FOREIGN_TURN, accepted=True, started=True)
    text = words_of(said.get("content")) if role == "user" else ""
    return [TurnTyped(text=text, by="extension")]


def hear_message_update(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take a `message_update`: a piece of an answer or a thought."""
    update = dict_of(message.get("assistantMessageEvent")) or {}
    delta = text_of(update.get("delta"))
    kind = update.get("type")
    if delta is None or kind not in ("text_delta", "thinking_delta"):
        return []
    state.streamed = True
    name = message_name(state, update.get("contentIndex"))
    if kind == "text_delta":
        return [MessageStreamed(text=delta, message=name)]
    return [ThoughtStreamed(text=delta, message=name)]


def message_name(state: State, index: Any) -> str:
    """Return the name of one block of the newest message."""
    return f"{state.messages}.{count_of(index) or 0}"


def hear_message_end(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take a `message_end`: how an answer of the model ended, and what it cost."""
    said = dict_of(message.get("message")) or {}
    if said.get("role") != "assistant":
        return []
    state.stop = text_of(said.get("stopReason"))
    state.error = text_of(said.get("errorMessage")) or ""
    usage = dict_of(said.get("usage")) or {}
    _add(state, usage)
    facts: list[AgentFact] = []
    model = _name(said)
    if model is not None and model != state.model:
        state.model = model
        facts.append(OptionsChanged(options=[], model=model))
    text = "" if state.streamed else words_of(said.get("content"))
    if text:
        # A provider that does not stream.
        facts.append(MessageStreamed(text=text, message=message_name(state, 0)))
    used = count_of(usage.get("totalTokens"))
    if used:
        size = state.sizes.get(state.model or "")
        facts.append(UsageReported(used_tokens=used, size_tokens=size))
    return facts


def _name(said: dict[str, Any]) -> str | None:
    provider, model = text_of(said.get("provider")), text_of(said.get("model"))
    return f"{provider}/{model}" if provider and model else None


def _add(state: State, usage: dict[str, Any]) -> None:
    spent = state.spent = state.spent or Spent()
    for ours, theirs in _COUNTS:
        setattr(spent, ours, getattr(spent, ours) + (count_of(usage.get(theirs)) or 0))
    spent.cost += money_of((dict_of(usage.get("cost")) or {}).get("total")) or 0.0


def hear_tool_start(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take a `tool_execution_start`."""
    call, tool = text_of(message.get("toolCallId")), text_of(message.get("toolName"))
    if call is None or tool is None:
        return []
    given = dict_of(message.get("args")) or {}
    state.remember_call(call, tool)
    return [
        ToolCalled(
            call=call,
            title=title_of(tool, given),
            tool_kind=kind_of(tool),
            status="in_progress",
            content=content_of(tool, given),
            locations=locations_of(given),
            raw_input=given,
        )
    ]


def hear_tool_update(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take a `tool_execution_update`: the output so far."""
    call = text_of(message.get("toolCallId"))
    content = output_of(message.get("partialResult"))
    if call not in state.calls or content is None:
        return []
    return [ToolChanged(call=call, content=content)]


def hear_tool_end(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take a `tool_execution_end`. The content of a change that was made stays its diff."""
    call = text_of(message.get("toolCallId"))
    tool = state.calls.pop(call, None) if call is not None else None
    if call is None or tool is None:
        return []
    is_error = message.get("isError") is True
    status = "failed" if is_error else "completed"
    if is_error and state.is_interrupted:
        status = "cancelled"
    is_diff = kind_of(tool) == "edit" and not is_error
    content = None if is_diff else output_of(message.get("result"))
    return [ToolChanged(call=call, status=status, content=content)]


def hear_agent_end(state: State, message: dict[str, Any]) -> Heard:
    """Take an `agent_end`. Only a pi that never says `agent_settled` ends its turn with it, and
    only when it does not try again by itself."""
    turn = state.turn
    if state.settles or turn is None or not turn.accepted or message.get("willRetry") is True:
        return Heard([])
    return end_turn(state, turn)


def hear_settled(state: State) -> Heard:
    """Take an `agent_settled`: nothing follows by itself any more."""
    state.settles = True
    state.foreign = False
    turn = state.turn
    # Before it took the prompt, pi can only speak of a run that was not ours.
    return Heard([]) if turn is None or not turn.accepted else end_turn(state, turn)


def end_turn(state: State, turn: Running) -> Heard:
    """End `turn` as the newest answer of the model says."""
    cut = turn.interrupted and state.stop not in _FINISHED
    if cut or state.stop == "aborted":
        return over(state, [TurnEnded(turn=turn.number, stop="cancelled")])
    if state.stop == "error":
        return fail_turn(state, turn, state.error or "the model gave no reason")
    if state.stop is None and turn.started:
        said = "pi ended the turn without an answer"
        return over(state, [TurnFailed(turn=turn.number, code="no-answer", message=said)])
    stop = _STOPS.get(state.stop or "stop", state.stop or "end_turn")
    return over(state, [TurnEnded(turn=turn.number, stop=stop)])


def fail_turn(state: State, turn: Running, why: str) -> Heard:
    """End `turn` with an error of the model or its provider; a limit of the account is told
    before it."""
    found = _STATUS.match(why)
    status = int(found[1]) if found else None
    code = f"http-{status}" if status else "model-error"
    failed = TurnFailed(turn=turn.number, code=code, message=why)
    said = read_limit(why, status=status)
    if said is None:
        return over(state, [failed])
    limit = LimitReached(
        limit=said.limit,
        message=why,
        turn=turn.number,
        resets_at=said.resets_at,
        resets_in=said.resets_in,
        clock=said.clock,
    )
    return over(state, [limit, failed])


def over(state: State, end: list[AgentFact]) -> Heard:
    """Forget the running turn; `end` are the last facts of it, and the very last is its end."""
    last = end[-1]
    turn = state.turn.number if state.turn is not None else 0
    facts: list[AgentFact] = [AskWithdrawn(request=name) for name in state.dialogs]
    facts += _spent(state, turn)
    if isinstance(last, TurnFailed):
        facts += [ToolChanged(call=call, status="failed") for call in state.calls]
    elif isinstance(last, TurnEnded) and last.stop == "cancelled":
        facts += [ToolChanged(call=call, status="cancelled") for call in state.calls]
    out = cancel_all(state)
    state.calls = {}
    state.turn = state.spent = None
    return Heard([*facts, *end], out)


def _spent(state: State, turn: int) -> list[AgentFact]:
    spent = state.spent
    if spent is None or not (spent.total or spent.cost):
        return []
    return [
        TokensCounted(
            turn=turn,
            input_tokens=spent.input,
            output_tokens=spent.output,
            thought_tokens=spent.thought or None,
            cached_read_tokens=spent.cached_read,
            cached_write_tokens=spent.cached_write,
            total_tokens=spent.total,
            model=state.model,
            # pi writes 0 for a model whose price it does not know.
            cost_usd=spent.cost or None,
        )
    ]


def hear_stats(state: State, data: dict[str, Any]) -> list[AgentFact]:
    """Take the answer to `get_session_stats`."""
    context = dict_of(data.get("contextUsage")) or {}
    used, size = count_of(context.get("tokens")), count_of(context.get("contextWindow"))
    cost = money_of(data.get("cost")) or None
    if used is None and size is None and cost is None:
        return []
    currency = None if cost is None else "USD"
    return [UsageReported(used_tokens=used, size_tokens=size, cost=cost, currency=currency)]
