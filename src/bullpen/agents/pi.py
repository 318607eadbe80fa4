"""pi as it speaks itself: `pi --mode rpc`, and the extension we ship for it.

The protocol is described in pi's own `docs/rpc.md`; what stands here was seen on 0.87 (see
`docs/agents/pi.md`). What a reader of the facts may rely on is what `bullpen.agents.acp` says.

A turn ends when pi says `agent_settled` after it took the prompt: before that it may try again,
make room in its memory or take up words that were added. A prompt that is a command of an
extension starts no run at all; so once pi took a prompt, it is asked whether it runs.
"""

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from bullpen.agents import pi_asks, pi_open, pi_turn
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
from bullpen.agents.pi_open import OPENING, Answer, Wishes
from bullpen.agents.pi_state import VERSION, Running, State, read_id, turn_of, value_of
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
    Faulted,
    MessageStreamed,
    OptionsChanged,
    OrderDone,
    OrderRefused,
    TitleChanged,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    Unrecognised,
)

_LEVELS: Final = ("off", "minimal", "low", "medium", "high", "xhigh", "max")
_SETTINGS: Final = {
    "mode": "set-mode",
    "model": "set-model",
    "thinking": "set-option",
    "steer": "steer",
}
_QUIET: Final = frozenset(
    {
        "turn_start",
        "turn_end",
        "queue_update",
        "entry_appended",
        "compaction_start",
        "compaction_end",
        "auto_compaction_start",
        "auto_compaction_end",
        "auto_retry_start",
        "auto_retry_end",
        "summarization_retry_scheduled",
        "summarization_retry_attempt_start",
        "summarization_retry_finished",
        "bash_execution_update",
    }
)
# Nothing of a conversation is in them that is not told otherwise.


def arguments(launch: Launch) -> list[str]:
    """Return what belongs on the command line of one run.

    pi opens a conversation by its id and begins one of that id where it finds none, so one that
    was never prompted, and therefore never saved, comes back too.
    """
    extension = f"{launch.package}/agents/extensions/pi-bullpen.ts"
    return ["--session-id", launch.resume or launch.conversation, "-e", extension]


class PiDialect:
    """One conversation with pi. See `bullpen.agents.dialect.Dialect`."""

    def __init__(self, *, mode: str | None = None, model: str | None = None) -> None:
        """Make a dialect for a process that was not spoken to yet.

        Args:
            mode: One of `pi_open.MODES`; the opening is refused when it cannot be had.
            model: `provider/model`; `OrderRefused` follows the opening if it cannot be had.
        """
        self._wishes = Wishes(mode=mode, model=model)
        self._state = State()

    # ---- orders ----------------------------------------------------------------------------

    def order(self, order: AnyOrder) -> list[bytes]:
        """Return the lines that carry `order`.

        Raises:
            OrderImpossible: pi has no word for it, or the order comes at a moment in which it
                can mean nothing.
        """
        try:
            msgspec.json.encode(order)
        except UnicodeEncodeError as error:
            name = type(order).__name__
            raise OrderImpossible(name.lower(), "a text in it is not valid Unicode") from error
        return _GIVE[type(order)](self, order)

    def _give_open(self, order: Open) -> list[bytes]:
        self._state = State(phase="opening", serial=self._state.serial, mode=self._state.mode)
        return pi_open.begin(self._state, order)

    def _give_prompt(self, order: Prompt) -> list[bytes]:
        state = self._opened("prompt")
        if state.turn is not None and state.turn.number != order.turn:
            raise OrderImpossible("prompt", f"turn {state.turn.number} is still running")
        state.begin_turn(order.turn)
        # An extension may have begun a run of its own; then ours follows it.
        return [
            _command(
                f"prompt:{order.turn}", "prompt", message=order.text, streamingBehavior="followUp"
            )
        ]

    def _give_steer(self, order: Steer) -> list[bytes]:
        state = self._opened("steer")
        if state.turn is None or state.turn.number != order.turn:
            raise OrderImpossible("steer", f"turn {order.turn} is not running")
        if state.turn.interrupted:
            raise OrderImpossible("steer", f"turn {order.turn} was interrupted")
        state.steers += 1
        return [self._setting("steer", "steer", str(order.turn), message=order.text)]

    def _give_interrupt(self, order: Interrupt) -> list[bytes]:
        turn = self._state.turn
        if turn is None or turn.number != order.turn:
            return []
        turn.interrupted = True
        return [*_stop(turn), *pi_asks.cancel_all(self._state)]

    def _give_abandon(self, order: Abandon) -> list[bytes]:
        turn = self._state.turn
        if turn is None or turn.number != order.turn:
            return []
        self._state.turn = None
        return pi_asks.cancel_all(self._state)

    def _give_permission(self, order: AnswerPermission) -> list[bytes]:
        return pi_asks.answer_permission(self._state, order)

    def _give_question(self, order: AnswerQuestion) -> list[bytes]:
        return pi_asks.answer_question(self._state, order)

    def _give_mode(self, order: SetMode) -> list[bytes]:
        state = self._opened("set-mode")
        if order.mode not in pi_open.MODES or state.mode is None:
            raise OrderImpossible("set-mode", f"pi has no mode {order.mode!r}")
        words = f"/{pi_asks.STATUS} {order.mode}"
        return [self._setting("mode", "prompt", order.mode, message=words)]

    def _give_model(self, order: SetModel) -> list[bytes]:
        name = pi_open.find_model(self._opened("set-model"), order.model)
        return [self._setting("model", "set_model", name, **pi_open.model_words(name))]

    def _give_option(self, order: SetOption) -> list[bytes]:
        self._opened("set-option")
        level = order.value
        if order.option != "thinking" or not isinstance(level, str) or level not in _LEVELS:
            raise OrderImpossible("set-option", f"pi has no option {order.option!r} of {level!r}")
        return [self._setting("thinking", "set_thinking_level", level, level=level)]

    def _give_impossible(self, order: AnyOrder) -> list[bytes]:
        name = str(order.__struct_config__.tag)
        raise OrderImpossible(name, "pi has no word for it")

    def _opened(self, order: str) -> State:
        if self._state.phase != "open":
            raise OrderImpossible(order, "no conversation is open")
        return self._state

    def _setting(self, ask: str, command: str, value: str, **fields: Any) -> bytes:
        name = self._state.next_id(ask, value)
        self._state.pending.append(name)
        return _command(name, command, **fields)

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
            if message["type"] != "message_update":
                return None
            update = message["assistantMessageEvent"]
            if update["type"] != "text_delta":
                return None
            text, index = update["delta"], update["contentIndex"]
        except (KeyError, TypeError):
            return None
        if not isinstance(text, str):
            return None
        self._state.streamed = True
        return MessageStreamed(text=text, message=pi_turn.message_name(self._state, index))

    def _feed_odd(self, line: bytes) -> Heard:
        if not line.strip():
            return Heard([])
        message = read_line(line)
        if isinstance(message, Faulted):
            return Heard([message])
        return self._feed_message(line, message)

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
        tell = _TELL.get(kind)
        if tell is not None:
            return Heard(tell(self._state, message))
        hear = _HEAR.get(kind)
        if hear is not None:
            return hear(self, message)
        if kind in _QUIET:
            return Heard([])
        return Heard([Unrecognised(what=kind or "message", raw=message)])

    def _hear_ui(self, message: dict[str, Any]) -> Heard:
        return pi_asks.hear_ui(self._state, message)

    def _hear_start(self, _message: dict[str, Any]) -> Heard:
        turn = self._state.turn
        self._state.foreign = turn is None
        if turn is None or not turn.accepted:
            return Heard([])
        turn.started = True
        # The interrupt may have come before there was anything to stop.
        return Heard([], _stop(turn) if turn.interrupted else [])

    def _hear_end(self, message: dict[str, Any]) -> Heard:
        return self._asking_cost(pi_turn.hear_agent_end(self._state, message))

    def _hear_settled(self, _message: dict[str, Any]) -> Heard:
        return self._asking_cost(pi_turn.hear_settled(self._state))

    def _asking_cost(self, heard: Heard) -> Heard:
        """Ask what the conversation has cost when a turn is over."""
        if not heard.facts:
            return heard
        return Heard(heard.facts, [*heard.out, _command("stats:", "get_session_stats")])

    def _hear_title(self, message: dict[str, Any]) -> Heard:
        title = text_of(message.get("name"))
        return Heard([TitleChanged(title=title)])

    def _hear_thinking(self, message: dict[str, Any]) -> Heard:
        self._state.thinking = text_of(message.get("level"))
        return Heard([pi_open.options(self._state)] if self._state.phase == "open" else [])

    # ---- answers ---------------------------------------------------------------------------

    def _hear_response(self, message: dict[str, Any]) -> Heard:
        name = message.get("id")
        ask, rest = read_id(name)
        answer = _answer_in(message)
        if ask in OPENING:
            return pi_open.answered(self._wishes, self._state, ask, rest, answer)
        if ask in _SETTINGS:
            if name in self._state.pending:
                self._state.pending.remove(name)
            return self._set(ask, value_of(rest), answer)
        hear = _ANSWERS.get(ask)
        if hear is not None:
            return hear(self, rest, answer)
        return Heard([Unrecognised(what="response", raw=message)])

    def _set(self, ask: str, value: str, answer: Answer) -> Heard:
        order, state = _SETTINGS[ask], self._state
        error = answer.error
        if ask == "steer" and error is None and self._running(value) is None:
            # pi keeps them for its next run, whoever begins that; so they are taken back.
            return Heard([], [_command(f"late:{value}", "clear_queue")])
        if error is None and ask == "mode" and state.mode != value:
            error = f"pi stays in mode {state.mode!r}"
        if error is not None:
            return Heard([OrderRefused(order=order, code="refused", message=error)])
        done = OrderDone(order=order)
        if ask == "model":
            state.model = pi_open.model_name(answer.data) or value
            return Heard([done, OptionsChanged(options=[], model=state.model)])
        return Heard([done])

    def _late_answered(self, _rest: str, answer: Answer) -> Heard:
        taken_back = list_of(answer.data.get("steering")) or []
        said = "the turn was over before the words came"
        refused = OrderRefused(order="steer", code="too-late", message=said)
        return Heard([refused for _ in taken_back] or [OrderDone(order="steer")])

    def _prompt_answered(self, rest: str, answer: Answer) -> Heard:
        turn = self._running(rest)
        if turn is None:
            return Heard([])
        if answer.error is not None:
            if turn.interrupted:
                return pi_turn.over(self._state, [TurnEnded(turn=turn.number, stop="cancelled")])
            return pi_turn.fail_turn(self._state, turn, answer.error)
        turn.accepted = True
        probe = _command(f"probe:{turn.number}", "get_state")
        return Heard([], [] if turn.started else [probe])

    def _probe_answered(self, rest: str, answer: Answer) -> Heard:
        turn = self._running(rest)
        if turn is None or turn.started or answer.error is not None:
            return Heard([])
        if answer.data.get("isStreaming") is not False:
            turn.started = True
            return Heard([])
        return pi_turn.end_turn(self._state, turn)

    def _stats_answered(self, _rest: str, answer: Answer) -> Heard:
        return Heard(pi_turn.hear_stats(self._state, answer.data))

    def _nothing_answered(self, _rest: str, _answer: Answer) -> Heard:
        return Heard([])

    def _running(self, rest: str) -> Running | None:
        turn, number = self._state.turn, turn_of(rest)
        return turn if turn is not None and turn.number == number else None

    # ---- life ------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Return the state as bytes; small when no turn runs."""
        return to_snapshot("pi", VERSION, self._state)

    def restore(self, snapshot: bytes) -> None:
        """Take over the state of a `snapshot`. Mode and model stay this dialect's own wishes.

        Raises:
            ValueError: another version or another dialect made it, or it is damaged.
        """
        self._state = from_snapshot(snapshot, "pi", VERSION, State)

    def ended(self) -> list[AgentFact]:
        """Return the facts that follow from the agent's death. A second call returns none."""
        state, self._state = self._state, State(phase="ended", serial=self._state.serial)
        facts: list[AgentFact] = [AskWithdrawn(request=name) for name in state.dialogs]
        turn = state.turn
        if turn is not None:
            status = "cancelled" if turn.interrupted else "failed"
            facts += [ToolChanged(call=call, status=status) for call in state.calls]
            gone = "the agent ended before the turn did"
            failed = TurnFailed(turn=turn.number, code="agent-ended", message=gone)
            cut = TurnEnded(turn=turn.number, stop="cancelled")
            facts.append(cut if turn.interrupted else failed)
        for name in state.pending:
            order = _SETTINGS.get(read_id(name)[0])
            if order is not None:
                said = "the agent ended before it answered"
                facts.append(OrderRefused(order=order, code="agent-ended", message=said))
        return facts


def _command(name: str, command: str, **fields: Any) -> bytes:
    return line_of({"id": name, "type": command, **fields})


def _stop(turn: Running) -> list[bytes]:
    """Return the lines that end a run. Words that were added go first: pi would go on with them."""
    return [
        _command(f"clear:{turn.number}", "clear_queue"),
        _command(f"abort:{turn.number}", "abort"),
    ]


def _answer_in(message: dict[str, Any]) -> Answer:
    data = dict_of(message.get("data")) or {}
    if message.get("success") is True:
        return Answer(data)
    return Answer(data, text_of(message.get("error")) or "pi gave no reason")


_TELL: Final[dict[str, Callable[[State, dict[str, Any]], list[AgentFact]]]] = {
    "message_start": pi_turn.hear_message_start,
    "message_update": pi_turn.hear_message_update,
    "message_end": pi_turn.hear_message_end,
    "tool_execution_start": pi_turn.hear_tool_start,
    "tool_execution_update": pi_turn.hear_tool_update,
    "tool_execution_end": pi_turn.hear_tool_end,
}
_HEAR: Final[dict[str, Callable[[PiDialect, dict[str, Any]], Heard]]] = {
    "response": PiDialect._hear_response,
    "extension_ui_request": PiDialect._hear_ui,
    "agent_start": PiDialect._hear_start,
    "agent_end": PiDialect._hear_end,
    "agent_settled": PiDialect._hear_settled,
    "session_info_changed": PiDialect._hear_title,
    "thinking_level_changed": PiDialect._hear_thinking,
}
_ANSWERS: Final[dict[str, Callable[[PiDialect, str, Answer], Heard]]] = {
    "prompt": PiDialect._prompt_answered,
    "probe": PiDialect._probe_answered,
    "stats": PiDialect._stats_answered,
    "clear": PiDialect._nothing_answered,
    "abort": PiDialect._nothing_answered,
    "late": PiDialect._late_answered,
}


def _by_type(table: dict[Any, Any]) -> dict[type, Callable[[PiDialect, Any], list[bytes]]]:
    return cast("dict[type, Callable[[PiDialect, Any], list[bytes]]]", table)


_GIVE: Final = _by_type(
    {
        Open: PiDialect._give_open,
        Prompt: PiDialect._give_prompt,
        Steer: PiDialect._give_steer,
        Interrupt: PiDialect._give_interrupt,
        Abandon: PiDialect._give_abandon,
        AnswerPermission: PiDialect._give_permission,
        AnswerQuestion: PiDialect._give_question,
        SetMode: PiDialect._give_mode,
        SetModel: PiDialect._give_model,
        SetOption: PiDialect._give_option,
        SetGoal: PiDialect._give_impossible,
        ChangeGoal: PiDialect._give_impossible,
        ListConversations: PiDialect._give_impossible,
        Close: PiDialect._give_impossible,
    }
)
