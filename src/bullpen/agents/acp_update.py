"""ACP `session/update` messages as facts.

Required fields decide whether an update is understood; optional ones of a wrong type count as
absent, as the protocol's schema wants it. What is not understood leaves whole, as `Unrecognised`.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from bullpen.agents.acp_options import take_options
from bullpen.agents.acp_state import Call, State
from bullpen.agents.wire import count_of, dict_of, list_of, money_of, text_of
from bullpen.model.fact import (
    AgentFact,
    Choice,
    CommandsOffered,
    ContentShown,
    MessageStreamed,
    ModeChanged,
    PlanEntry,
    PlanShown,
    ThoughtStreamed,
    TitleChanged,
    ToolCalled,
    ToolChanged,
    Unrecognised,
    UsageReported,
    UserEchoed,
)

Update = dict[str, Any]

HISTORY = frozenset(
    {
        "user_message_chunk",
        "agent_message_chunk",
        "agent_thought_chunk",
        "tool_call",
        "tool_call_update",
        "plan",
    }
)
"""What an agent repeats when it brings a conversation back. We had it before, so it is no fact a
second time; modes, commands, options, title and usage are the present and are."""


def read_update(state: State, update: Update) -> list[AgentFact]:
    """Return the facts of one update; a kind or form we do not know gives `Unrecognised`."""
    kind = text_of(update.get("sessionUpdate"))
    reader = _READERS.get(kind or "")
    facts = reader(state, update) if reader else None
    if facts is None:
        return [Unrecognised(what=kind or "session/update", raw=update)]
    return facts


def read_call(state: State, fields: Update) -> ToolCalled | ToolChanged | None:
    """Return the first sight of a tool call or its change; None without a call id.

    Whether a call is new is decided by its id alone: agents open calls with updates and repeat
    announcements. A call that ended in an earlier turn counts as new again.
    """
    call = text_of(fields.get("toolCallId"))
    if call is None:
        return None
    known = call in state.calls
    seen = Call(
        text_of(fields.get("status")),
        text_of(fields.get("title")),
        text_of(fields.get("kind")),
        fields.get("rawInput"),
        list_of(fields.get("locations")),
        list_of(fields.get("content")),
        fields.get("_meta"),
    )
    state.remember_call(call, seen)
    return (ToolChanged if known else ToolCalled)(
        call=call,
        title=seen.title,
        tool_kind=seen.tool_kind,
        status=seen.status,
        content=list_of(fields.get("content")),
        locations=list_of(fields.get("locations")),
        raw_input=fields.get("rawInput"),
        raw_output=fields.get("rawOutput"),
    )


def _read_chunk(update: Update) -> tuple[str | None, Update, str] | None:
    block = dict_of(update.get("content"))
    kind = text_of(block.get("type")) if block else None
    if block is None or kind is None:
        return None
    text = text_of(block.get("text")) if kind == "text" else None
    if kind == "text" and text is None:
        return None
    return text, block, text_of(update.get("messageId")) or ""


def _agent_message(state: State, update: Update) -> list[AgentFact] | None:
    chunk = _read_chunk(update)
    if chunk is None:
        return None
    text, block, message = chunk
    if text is None:
        return [ContentShown(role="agent", block=block)]
    return [MessageStreamed(text=text, message=message)]


def _agent_thought(state: State, update: Update) -> list[AgentFact] | None:
    chunk = _read_chunk(update)
    if chunk is None:
        return None
    text, block, message = chunk
    if text is None:
        return [ContentShown(role="thought", block=block)]
    return [ThoughtStreamed(text=text, message=message)]


def _user_message(state: State, update: Update) -> list[AgentFact] | None:
    chunk = _read_chunk(update)
    if chunk is None:
        return None
    text, block, message = chunk
    if text is None:
        return [ContentShown(role="user", block=block)]
    return [UserEchoed(text=text, message=message)]


def _tool_call(state: State, update: Update) -> list[AgentFact] | None:
    fact = read_call(state, update)
    return None if fact is None else [fact]


def _plan(state: State, update: Update) -> list[AgentFact] | None:
    listed = list_of(update.get("entries"))
    if listed is None:
        return None
    entries: list[PlanEntry] = []
    for each in listed:
        fields = dict_of(each) or {}
        content = text_of(fields.get("content"))
        if content is None:
            return None
        status = text_of(fields.get("status")) or "pending"
        priority = text_of(fields.get("priority")) or "medium"
        entries.append(PlanEntry(content, status, priority))
    return [PlanShown(entries=entries)]


def _plan_update(state: State, update: Update) -> list[AgentFact] | None:
    return _plan(state, dict_of(update.get("plan")) or {})


def _commands(state: State, update: Update) -> list[AgentFact] | None:
    listed = list_of(update.get("availableCommands"))
    if listed is None:
        return None
    commands: list[Choice] = []
    for each in listed:
        fields = dict_of(each) or {}
        name = text_of(fields.get("name"))
        if name is None:
            return None
        commands.append(Choice(name, name, text_of(fields.get("description")) or ""))
    return [CommandsOffered(commands=commands)]


def _mode(state: State, update: Update) -> list[AgentFact] | None:
    # The protocol's own documentation shows `modeId` where its schema says `currentModeId`.
    mode = text_of(update.get("currentModeId", update.get("modeId")))
    if mode is None:
        return None
    if state.opened is not None:
        state.opened = msgspec.structs.replace(state.opened, mode=mode)
    return [ModeChanged(mode=mode)]


def _options(state: State, update: Update) -> list[AgentFact] | None:
    listed = list_of(update.get("configOptions"))
    return None if listed is None else [take_options(state, listed)]


def _session_info(state: State, update: Update) -> list[AgentFact] | None:
    facts: list[AgentFact] = []
    if "title" in update:
        facts.append(TitleChanged(title=text_of(update["title"])))
    if update.get("_meta"):
        facts.append(Unrecognised(what="session_info_update", raw=update))
    return facts


def _usage(state: State, update: Update) -> list[AgentFact] | None:
    cost = dict_of(update.get("cost")) or {}
    used, size = count_of(update.get("used")), count_of(update.get("size"))
    spent = money_of(cost.get("amount"))
    if used is None and size is None and spent is None:
        return None
    currency = None if spent is None else text_of(cost.get("currency"))
    return [UsageReported(used_tokens=used, size_tokens=size, cost=spent, currency=currency)]


_READERS: dict[str, Callable[[State, Update], list[AgentFact] | None]] = {
    "user_message_chunk": _user_message,
    "agent_message_chunk": _agent_message,
    "agent_thought_chunk": _agent_thought,
    "tool_call": _tool_call,
    "tool_call_update": _tool_call,
    "plan": _plan,
    "plan_update": _plan_update,
    "available_commands_update": _commands,
    "current_mode_update": _mode,
    "config_option_update": _options,
    "session_info_update": _session_info,
    "usage_update": _usage,
}
