"""Claude Code as it speaks itself: `claude -p` with stream-json in both directions.

There is no published specification; what stands here was seen on 2.1 (see `docs/agents/claude.md`).
A turn ends with a `result`. Every prompt carries a uuid that says its turn, and the agent tells of
each uuid when it takes it up, so words that were added to a turn are never mistaken for its end.
"""

import json
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from bullpen.agents import claude_asks
from bullpen.agents.claude_result import hear_rate_limit, hear_result
from bullpen.agents.claude_state import (
    VERSION,
    State,
    is_steer,
    prompt_uuid,
    steer_uuid,
    turn_of,
)
from bullpen.agents.claude_stream import hear_assistant, hear_stream, hear_user
from bullpen.agents.dialect import (
    Abandon,
    AnswerPermission,
    AnswerQuestion,
    AnyOrder,
    ChangeGoal,
    Close,
    Heard,
    Interrupt,
    Launch,
    ListConversations,
    Open,
    OrderImpossible,
    Prompt,
    SetGoal,
    SetMode,
    SetModel,
    SetOption,
    Steer,
)
from bullpen.agents.snapshot import from_snapshot, to_snapshot
from bullpen.agents.wire import (
    MAX_DEPTH,
    decode,
    dict_of,
    fault,
    is_too_deep,
    line_of,
    list_of,
    read_line,
    text_of,
    without_depth,
)
from bullpen.model.fact import (
    AgentFact,
    AskWithdrawn,
    Choice,
    CommandsOffered,
    ConversationOpened,
    Faulted,
    LoginRequired,
    MessageStreamed,
    ModeChanged,
    OpeningFailed,
    OptionsChanged,
    OrderDone,
    OrderRefused,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    Unrecognised,
)

_MODES: Final = ("plan", "default", "acceptEdits", "bypassPermissions")
_ABILITIES: Final = ("resume", "mcp", "image", "steer", "interrupt")
_QUIET: Final = frozenset(
    {
        "keep_alive",
        "command_lifecycle",
        "tool_progress",
        "tool_use_summary",
        "session_notice",
        "auth_status",
        "prompt_suggestion",
    }
)
# Told for screens; nothing of a conversation is in them.
_QUIET_SYSTEM: Final = frozenset(
    {
        "api_retry",
        "compact_boundary",
        "hook_started",
        "hook_progress",
        "hook_response",
        "task_started",
        "task_progress",
        "task_notification",
        "task_updated",
        "background_tasks_changed",
        "session_state_changed",
        "files_persisted",
        "local_command_output",
        "informational",
        "thinking_tokens",
    }
)
_SETTINGS: Final = {"mode": "set-mode", "model": "set-model"}


def arguments(launch: Launch) -> list[str]:
    """Return what belongs on the command line of one run."""
    words = ["--resume", launch.resume] if launch.resume else ["--session-id", launch.conversation]
    if launch.mode:
        words += ["--permission-mode", launch.mode]
    if launch.model:
        words += ["--model", launch.model]
    if launch.mcp_servers:
        servers = {each["name"]: _server(each) for each in launch.mcp_servers}
        words += ["--mcp-config", json.dumps({"mcpServers": servers})]
    return words


def _server(given: dict[str, Any]) -> dict[str, Any]:
    """Return an MCP server in the agent's own form."""
    if given.get("url"):
        headers = {each["name"]: each["value"] for each in given.get("headers") or ()}
        return {"type": given.get("type", "http"), "url": given["url"], "headers": headers}
    variables = {each["name"]: each["value"] for each in given.get("env") or ()}
    args: list[str] = given.get("args") or []
    return {"type": "stdio", "command": given["command"], "args": args, "env": variables}


class ClaudeDialect:
    """One conversation with Claude Code. See `bullpen.agents.dialect.Dialect`."""

    def __init__(self, *, mode: str | None = None) -> None:
        """Make a dialect for a process that was not spoken to yet; `mode` is the permission mode
        it was started in, and the opening is refused when the agent took another."""
        self._mode = mode
        self._state = State()

    # ---- orders ----------------------------------------------------------------------------

    def order(self, order: AnyOrder) -> list[bytes]:
        """Return the lines that carry `order`.

        Raises:
            OrderImpossible: the agent never offered what the order needs, or the order comes
                at a moment in which it can mean nothing.
        """
        try:
            msgspec.json.encode(order)
        except UnicodeEncodeError as error:
            name = type(order).__name__
            raise OrderImpossible(name.lower(), "a text in it is not valid Unicode") from error
        return _GIVE[type(order)](self, order)

    def _give_open(self, order: Open) -> list[bytes]:
        session = order.resume or order.conversation
        self._state = State(phase="opening", opening=order, session=session)
        return [self._control("open", "", subtype="initialize")]

    def _give_prompt(self, order: Prompt) -> list[bytes]:
        state = self._opened("prompt")
        others = [turn for turn in state.running if turn != order.turn]
        if others:
            raise OrderImpossible("prompt", f"turn {others[0]} is still running")
        state.running.setdefault(order.turn, False)
        return [_user(order.text, prompt_uuid(order.turn))]

    def _give_steer(self, order: Steer) -> list[bytes]:
        state = self._opened("steer")
        if order.turn not in state.running:
            raise OrderImpossible("steer", f"turn {order.turn} is not running")
        name = steer_uuid(order.turn, len(state.steers))
        state.steers[name] = False
        return [_user(order.text, name)]

    def _give_interrupt(self, order: Interrupt) -> list[bytes]:
        state = self._state
        if order.turn not in state.running:
            return []
        state.running[order.turn] = True
        stop = self._control("interrupt", "", subtype="interrupt", cancel_queued=True)
        return [stop, *claude_asks.cancel_all(state)]

    def _give_abandon(self, order: Abandon) -> list[bytes]:
        if self._state.running.pop(order.turn, None) is None:
            return []
        self._state.steers = {}
        return claude_asks.cancel_all(self._state)

    def _give_permission(self, order: AnswerPermission) -> list[bytes]:
        return claude_asks.answer_permission(self._state, order)

    def _give_question(self, order: AnswerQuestion) -> list[bytes]:
        return claude_asks.answer_question(self._state, order)

    def _give_mode(self, order: SetMode) -> list[bytes]:
        self._opened("set-mode")
        return [self._control("mode", order.mode, subtype="set_permission_mode", mode=order.mode)]

    def _give_model(self, order: SetModel) -> list[bytes]:
        self._opened("set-model")
        return [self._control("model", order.model, subtype="set_model", model=order.model)]

    def _give_impossible(self, order: AnyOrder) -> list[bytes]:
        name = str(order.__struct_config__.tag)
        raise OrderImpossible(name, "the agent has no word for it")

    def _opened(self, order: str) -> State:
        if self._state.phase != "open":
            raise OrderImpossible(order, "no conversation is open")
        return self._state

    def _control(self, ask: str, value: str, **request: Any) -> bytes:
        name = self._state.next_id(ask, value)
        return line_of({"type": "control_request", "request_id": name, "request": request})

    # ---- what the agent says ---------------------------------------------------------------

    def feed(self, line: bytes) -> Heard:
        """Take one whole line of the agent's stdout. Never raises, whatever the line is."""
        try:
            message = decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return self._feed_odd(line)
        # Streamed text is nearly all an agent says, so it gets a way of its own.
        fact = self._streamed(message)
        return Heard([fact]) if fact is not None else self._feed_message(line, message)

    def _streamed(self, message: Any) -> MessageStreamed | None:
        try:
            delta = message["event"]["delta"]
            if (
                message["type"] != "stream_event"
                or delta["type"] != "text_delta"
                or message["parent_tool_use_id"] is not None
                or self._state.phase != "open"
            ):
                return None
            text = delta["text"]
        except (KeyError, TypeError, AttributeError):
            return None
        if not isinstance(text, str):
            return None
        if "text" not in self._state.streamed:
            self._state.streamed.append("text")
        return MessageStreamed(text=text, message=self._state.message)

    def _feed_odd(self, line: bytes) -> Heard:
        if not line.strip():
            return Heard([])
        message = read_line(line)
        return (
            Heard([message]) if isinstance(message, Faulted) else self._feed_message(line, message)
        )

    def _feed_message(self, line: bytes, message: Any) -> Heard:
        fields = dict_of(message)
        if fields is None:
            return Heard([fault(line, "JSON, but no object")])
        if is_too_deep(line, fields):
            faulted = fault(line, f"nested deeper than {MAX_DEPTH} levels")
            heard = self._hear(without_depth(fields))
            return Heard([faulted, *heard.facts], heard.out)
        return self._hear(fields)

    def _hear(self, message: dict[str, Any]) -> Heard:
        kind = text_of(message.get("type")) or ""
        hear = _HEAR.get(kind)
        if hear is not None:
            return hear(self, message)
        if kind == "command_lifecycle":
            self._lifecycle(message)
        if kind in _QUIET:
            return Heard([])
        return Heard([Unrecognised(what=kind or "message", raw=message)])

    def _lifecycle(self, message: dict[str, Any]) -> None:
        name, now = text_of(message.get("command_uuid")) or "", message.get("state")
        if not is_steer(name) or turn_of(name) not in self._state.running:
            return
        # A restarted service reads of words here that were added before it came.
        self._state.steers.setdefault(name, False)
        if now in ("started", "completed", "cancelled"):
            self._state.steers[name] = True

    def _hear_control(self, message: dict[str, Any]) -> Heard:
        return claude_asks.hear_request(self._state, message)

    def _hear_cancel(self, message: dict[str, Any]) -> Heard:
        name = text_of(message.get("request_id"))
        if name is None or self._state.asks.pop(name, None) is None:
            # It crossed our answer.
            return Heard([])
        return Heard([AskWithdrawn(request=name)])

    def _hear_response(self, message: dict[str, Any]) -> Heard:
        response = dict_of(message.get("response")) or {}
        name = text_of(response.get("request_id")) or ""
        value = self._state.pending.pop(name, None)
        if name.startswith("interrupt-"):
            return Heard(self._interrupted(dict_of(response.get("response")) or {}))
        if value is None:
            # The agent repeats our own answers, for whoever else listens.
            return Heard([])
        ask = name.partition("-")[0]
        error = text_of(response.get("error")) if response.get("subtype") == "error" else None
        if ask == "open":
            return Heard(self._opening_answered(dict_of(response.get("response")) or {}, error))
        if ask not in _SETTINGS:
            return Heard([])
        if error is not None:
            code = text_of(response.get("error_code")) or "refused"
            return Heard([OrderRefused(order=_SETTINGS[ask], code=code, message=error)])
        return Heard(self._set(ask, value, dict_of(response.get("response")) or {}))

    def _interrupted(self, result: dict[str, Any]) -> list[AgentFact]:
        """A prompt that was taken back before the agent began it gets no `result`."""
        taken_back = list_of(result.get("cancelled")) or []
        turns = [turn for turn in self._state.running if prompt_uuid(turn) in taken_back]
        for turn in turns:
            del self._state.running[turn]
            self._state.steers = {}
        return [TurnEnded(turn=turn, stop="cancelled") for turn in turns]

    def _set(self, ask: str, value: str, result: dict[str, Any]) -> list[AgentFact]:
        done = OrderDone(order=_SETTINGS[ask])
        if ask == "mode":
            self._state.mode = text_of(result.get("mode")) or value
            return [done, ModeChanged(mode=self._state.mode)]
        self._state.model = text_of(result.get("model")) or value
        return [done, OptionsChanged(options=[], model=self._state.model)]

    def _opening_answered(self, result: dict[str, Any], error: str | None) -> list[AgentFact]:
        state = self._state
        if state.phase != "opening":
            return []
        state.phase = "refused"
        if error is not None:
            return [OpeningFailed(code="refused", message=error)]
        if _needs_login(dict_of(result.get("account")) or {}):
            return [LoginRequired(message="Claude Code is not logged in")]
        state.mode = text_of(result.get("current_permission_mode"))
        if self._mode is not None and state.mode not in (None, self._mode):
            said = f"the agent is in mode {state.mode!r}, not {self._mode!r}"
            return [OpeningFailed(code="mode-refused", message=said)]
        state.phase = "open"
        is_resumed = state.opening is not None and state.opening.resume is not None
        state.opening = None
        opened = ConversationOpened(
            agent_session=state.session,
            resumed=is_resumed,
            agent_name="Claude Code",
            agent_version=text_of(result.get("claude_code_version")) or "",
            abilities=list(_ABILITIES),
            modes=[Choice(mode, mode) for mode in _MODES],
            mode=state.mode or self._mode,
            models=_models(result),
        )
        return [opened, *_commands(result)]

    def _hear_system(self, message: dict[str, Any]) -> Heard:
        state, subtype = self._state, text_of(message.get("subtype")) or ""
        facts: list[AgentFact] = []
        model = text_of(message.get("model")) if subtype == "init" else None
        if model is not None and model != state.model:
            state.model = model
            facts.append(OptionsChanged(options=[], model=model))
        mode = text_of(message.get("permissionMode"))
        if mode is not None and mode != state.mode:
            state.mode = mode
            facts.append(ModeChanged(mode=mode))
        if subtype in ("init", "status") or subtype in _QUIET_SYSTEM:
            return Heard(facts)
        return Heard([*facts, Unrecognised(what=f"system {subtype}", raw=message)])

    def _hear_stream(self, message: dict[str, Any]) -> Heard:
        return Heard(hear_stream(self._state, message))

    def _hear_assistant(self, message: dict[str, Any]) -> Heard:
        return Heard(hear_assistant(self._state, message))

    def _hear_user(self, message: dict[str, Any]) -> Heard:
        return Heard(hear_user(self._state, message))

    def _hear_result(self, message: dict[str, Any]) -> Heard:
        return Heard(hear_result(self._state, message))

    def _hear_rate_limit(self, message: dict[str, Any]) -> Heard:
        hear_rate_limit(self._state, message)
        return Heard([])

    # ---- life ------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Return the state as bytes; a few hundred of them when no turn runs."""
        return to_snapshot("claude", VERSION, self._state)

    def restore(self, snapshot: bytes) -> None:
        """Take over the state of a `snapshot`.

        Raises:
            ValueError: another version or another dialect made it, or it is damaged.
        """
        self._state = from_snapshot(snapshot, "claude", VERSION, State)

    def ended(self) -> list[AgentFact]:
        """Return the facts that follow from the agent's death. A second call returns none."""
        state, self._state = self._state, State(phase="ended", serial=self._state.serial)
        facts: list[AgentFact] = [AskWithdrawn(request=name) for name in state.asks]
        for turn, is_interrupted in state.running.items():
            status = "cancelled" if is_interrupted else "failed"
            facts += [ToolChanged(call=call, status=status) for call in state.calls]
            gone = "the agent ended before the turn did"
            failed = TurnFailed(turn=turn, code="agent-ended", message=gone)
            facts.append(TurnEnded(turn=turn, stop="cancelled") if is_interrupted else failed)
        for name in state.pending:
            order = _SETTINGS.get(name.partition("-")[0])
            if order is not None:
                said = "the agent ended before it answered"
                facts.append(OrderRefused(order=order, code="agent-ended", message=said))
        return facts


def _user(text: str, name: str) -> bytes:
    content = [{"type": "text", "text": text}]
    message = {"role": "user", "content": content}
    return line_of({"type": "user", "uuid": name, "message": message})


def _needs_login(account: dict[str, Any]) -> bool:
    if account.get("apiProvider") not in (None, "firstParty") or not account:
        return False
    return account.get("tokenSource") == "none" and not account.get("apiKeySource")


def _models(result: dict[str, Any]) -> list[Choice]:
    listed = [dict_of(each) or {} for each in list_of(result.get("models")) or []]
    return [
        Choice(
            value, text_of(each.get("displayName")) or value, text_of(each.get("description")) or ""
        )
        for each in listed
        if (value := text_of(each.get("value")))
    ]


def _commands(result: dict[str, Any]) -> list[AgentFact]:
    listed = [dict_of(each) or {} for each in list_of(result.get("commands")) or []]
    commands = [
        Choice(name, name, (text_of(each.get("description")) or "")[:200])
        for each in listed
        if (name := text_of(each.get("name")))
    ]
    return [CommandsOffered(commands=commands)] if commands else []


_HEAR: Final[dict[str, Callable[[ClaudeDialect, dict[str, Any]], Heard]]] = {
    "control_request": ClaudeDialect._hear_control,
    "control_response": ClaudeDialect._hear_response,
    "control_cancel_request": ClaudeDialect._hear_cancel,
    "system": ClaudeDialect._hear_system,
    "stream_event": ClaudeDialect._hear_stream,
    "assistant": ClaudeDialect._hear_assistant,
    "user": ClaudeDialect._hear_user,
    "result": ClaudeDialect._hear_result,
    "rate_limit_event": ClaudeDialect._hear_rate_limit,
}


def _by_type(table: dict[Any, Any]) -> dict[type, Callable[[ClaudeDialect, Any], list[bytes]]]:
    return cast("dict[type, Callable[[ClaudeDialect, Any], list[bytes]]]", table)


_GIVE: Final = _by_type(
    {
        Open: ClaudeDialect._give_open,
        Prompt: ClaudeDialect._give_prompt,
        Steer: ClaudeDialect._give_steer,
        Interrupt: ClaudeDialect._give_interrupt,
        Abandon: ClaudeDialect._give_abandon,
        AnswerPermission: ClaudeDialect._give_permission,
        AnswerQuestion: ClaudeDialect._give_question,
        SetMode: ClaudeDialect._give_mode,
        SetModel: ClaudeDialect._give_model,
        SetOption: ClaudeDialect._give_impossible,
        SetGoal: ClaudeDialect._give_impossible,
        ChangeGoal: ClaudeDialect._give_impossible,
        ListConversations: ClaudeDialect._give_impossible,
        Close: ClaudeDialect._give_impossible,
    }
)
