"""What Claude Code says in a turn: text in pieces, whole messages, tools and their results."""

from typing import Any

from bullpen.agents.claude_state import State, turn_of
from bullpen.agents.claude_tools import content_of, kind_of, locations_of, plan_of, title_of
from bullpen.agents.wire import count_of, dict_of, list_of, text_of
from bullpen.model.fact import (
    AgentFact,
    MessageStreamed,
    PlanShown,
    ThoughtStreamed,
    ToolCalled,
    ToolChanged,
    Unrecognised,
    UsageReported,
    UserEchoed,
)


def hear_stream(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take a piece of a message, as the model streams it."""
    event = dict_of(message.get("event")) or {}
    if text_of(message.get("parent_tool_use_id")) is not None:
        # A helper of the agent's own; what it says is for the agent, not for us.
        return []
    kind = event.get("type")
    if kind == "message_start":
        begun = dict_of(event.get("message")) or {}
        state.message = text_of(begun.get("id")) or ""
        state.streamed = []
    if kind != "content_block_delta":
        return []
    delta = dict_of(event.get("delta")) or {}
    text = text_of(delta.get("text"))
    if delta.get("type") == "text_delta" and text is not None:
        _note(state, "text")
        return [MessageStreamed(text=text, message=state.message)]
    thought = text_of(delta.get("thinking"))
    if delta.get("type") == "thinking_delta" and thought is not None:
        _note(state, "thinking")
        return [ThoughtStreamed(text=thought, message=state.message)]
    return []


def _note(state: State, kind: str) -> None:
    if kind not in state.streamed:
        state.streamed.append(kind)


def hear_assistant(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take a whole message; what came in pieces before is not said again."""
    said = dict_of(message.get("message")) or {}
    error = text_of(message.get("error"))
    if error is not None:
        state.error = error
    is_ours = text_of(message.get("parent_tool_use_id")) is None
    name = text_of(said.get("id")) or ""
    # The words of an error come in the result too, where the turn fails with them.
    told = set(state.streamed) if name == state.message else set[str]()
    if error is not None or not is_ours:
        told = {"text", "thinking"}
    facts: list[AgentFact] = []
    for each in list_of(said.get("content")) or []:
        facts += _block(state, dict_of(each) or {}, name, told)
    if is_ours:
        facts += _context(dict_of(said.get("usage")) or {})
    return facts


def _block(state: State, block: dict[str, Any], name: str, told: set[str]) -> list[AgentFact]:
    kind = block.get("type")
    if kind == "tool_use":
        return _call(state, block)
    text = text_of(block.get("text")) or text_of(block.get("thinking"))
    if kind in told or not text:
        return []
    if kind == "text":
        return [MessageStreamed(text=text, message=name)]
    if kind == "thinking":
        return [ThoughtStreamed(text=text, message=name)]
    return [Unrecognised(what=f"block {kind}", raw=block)]


def _call(state: State, block: dict[str, Any]) -> list[AgentFact]:
    call, tool = text_of(block.get("id")), text_of(block.get("name"))
    given = dict_of(block.get("input")) or {}
    if call is None or tool is None:
        return [Unrecognised(what="tool_use", raw=block)]
    state.remember_call(call, tool)
    facts: list[AgentFact] = [
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
    plan = plan_of(given) if tool == "TodoWrite" else None
    return facts if plan is None else [*facts, PlanShown(entries=plan)]


def _context(usage: dict[str, Any]) -> list[AgentFact]:
    keys = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    used = sum(count_of(usage.get(key)) or 0 for key in keys)
    return [UsageReported(used_tokens=used)] if used else []


def hear_user(state: State, message: dict[str, Any]) -> list[AgentFact]:
    """Take what the agent was told: results of tools, and repetitions of prompts."""
    said = dict_of(message.get("message")) or {}
    facts: list[AgentFact] = []
    for each in list_of(said.get("content")) or []:
        block = dict_of(each) or {}
        if block.get("type") == "tool_result":
            facts += _result(state, block)
    if message.get("isReplay") is True:
        facts += _echo(state, message, said)
    return facts


def _result(state: State, block: dict[str, Any]) -> list[AgentFact]:
    call = text_of(block.get("tool_use_id"))
    if call is None or state.calls.pop(call, None) is None:
        return []
    status = "failed" if block.get("is_error") is True else "completed"
    text = _text(block.get("content"))
    content = [{"type": "content", "content": {"type": "text", "text": text}}] if text else None
    return [ToolChanged(call=call, status=status, content=content)]


def _text(content: Any) -> str:
    text = text_of(content)
    if text is not None:
        return text
    blocks = [dict_of(each) or {} for each in list_of(content) or []]
    return "\n".join(text_of(each.get("text")) or "" for each in blocks)


def _echo(state: State, message: dict[str, Any], said: dict[str, Any]) -> list[AgentFact]:
    name = text_of(message.get("uuid")) or ""
    if name in state.steers:
        state.steers[name] = True
        return []
    if turn_of(name) is not None:
        return []
    text = _text(said.get("content"))
    return [UserEchoed(text=text)] if text and not text.startswith("<") else []
