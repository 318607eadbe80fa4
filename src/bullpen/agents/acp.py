"""The dialect of agents that speak ACP, protocol 1 (agentclientprotocol.com), without any I/O.

What a reader of the facts may rely on:

* The facts of a line depend on the journal up to it and on the orders given; never on time.
* Every request of the agent that we do not pass on is answered at once with an error; those we
  pass on, permissions and questions, are answered by an order, by the interrupt or the end of
  the turn they belong to, or because the agent took them back.
* `TurnEnded` or `TurnFailed` is the last fact of a turn's last line, and there is one per turn.
* An interrupted turn ends with stop `cancelled`, even when the agent ends it with an error; its
  unfinished tool calls get status `cancelled`, the protocol's word for them, so that a reader can
  tell a tool that was stopped from one that failed. In a failed turn they get `failed`. After a
  normal end they are left alone: agents let commands run on in the background and report later.
* History that an agent repeats while it loads a conversation gives no facts.
* Pieces of a message carry the agent's message id, or none when the agent names none; then those
  belong together that no other fact stands between.

Who rebuilds a dialect from a journal repeats the orders too, at least the run's `Open`, the
running turn's `Prompt` and its `Interrupt`, and throws the bytes away. Without `Open` the reading
still comes to an open conversation; without `Prompt` an interrupt finds no turn.
"""

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from bullpen.agents import acp_open, acp_requests
from bullpen.agents.acp_open import Wishes
from bullpen.agents.acp_options import Route, mode_route, model_route, option_route, take_options
from bullpen.agents.acp_state import State, from_snapshot, to_snapshot
from bullpen.agents.acp_turn import end_turn, fail_all, hear_keeper, note_signs, tells_in_words
from bullpen.agents.acp_update import HISTORY, read_update
from bullpen.agents.dialect import (
    Abandon,
    AnswerPermission,
    AnswerQuestion,
    AnyOrder,
    ChangeGoal,
    Close,
    Heard,
    Interrupt,
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
from bullpen.agents.wire import (
    MAX_DEPTH,
    SAMPLE_CHARS,
    Ask,
    Refused,
    decode,
    dict_of,
    fault,
    is_too_deep,
    list_of,
    notification,
    read_error,
    read_id,
    read_line,
    request,
    request_id,
    text_of,
    without_depth,
)
from bullpen.model.agent import Quirks
from bullpen.model.fact import (
    AgentFact,
    ConversationClosed,
    ConversationsListed,
    Faulted,
    MessageStreamed,
    ModeChanged,
    OptionsChanged,
    OrderDone,
    OrderRefused,
    Unrecognised,
)

_SAID_CHARS: Final = 2000
_ORDERS: Final = {
    Ask.SET_MODE: "set-mode",
    Ask.SET_MODEL: "set-model",
    Ask.SET_OPTION: "set-option",
    Ask.LIST: "list-conversations",
    Ask.CLOSE: "close",
}


class AcpDialect:
    """One conversation with one ACP agent. See `bullpen.agents.dialect.Dialect`."""

    def __init__(
        self,
        *,
        mode: str | None = None,
        model: str | None = None,
        quirks: Quirks | None = None,
        version: str = "0",
    ) -> None:
        """Make a dialect for a process that was not spoken to yet.

        Args:
            mode: Set after opening, in the agent's own words; refuses the opening if it cannot be.
            model: Set after opening; `OrderRefused` follows the opening if it cannot be.
            quirks: Known departures of this agent.
            version: Ours, told to the agent.
        """
        self._wishes = Wishes(mode=mode, model=model, quirks=quirks or Quirks(), version=version)
        self._state = State()
        self._minds_words = tells_in_words(self._wishes.quirks)

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
        # Ids go on counting: a process that is asked to open once more, after a login, must not
        # see one twice.
        self._state = State(phase="opening", serial=self._state.serial, opening=order)
        return [acp_open.begin(self._wishes, self._state)]

    def _give_prompt(self, order: Prompt) -> list[bytes]:
        state = self._state
        session = self._session("prompt")
        others = [turn for turn in state.running if turn != order.turn]
        if others:
            raise OrderImpossible("prompt", f"turn {others[0]} is still running")
        params = {"sessionId": session, "prompt": [{"type": "text", "text": order.text}]}
        number = self._wishes.wire_id(request_id(Ask.PROMPT, order.turn))
        state.running.setdefault(order.turn, False)
        state.silent = state.did = state.is_failed = False
        state.said = ""
        return [request(number, "session/prompt", params)]

    def _give_interrupt(self, order: Interrupt) -> list[bytes]:
        state = self._state
        if order.turn not in state.running:
            return []
        state.running[order.turn] = True
        # The cancel goes first: an agent that reads a refused permission before it takes the
        # refusal for an answer and works on.
        cancel = notification("session/cancel", {"sessionId": state.session or ""})
        return [cancel, *acp_requests.cancel_all(state)]

    def _give_abandon(self, order: Abandon) -> list[bytes]:
        state = self._state
        if state.running.pop(order.turn, None) is None:
            return []
        state.remember_end(order.turn)
        return acp_requests.cancel_all(state)

    def _give_permission(self, order: AnswerPermission) -> list[bytes]:
        return [acp_requests.answer_permission(self._state, order)]

    def _give_question(self, order: AnswerQuestion) -> list[bytes]:
        return [acp_requests.answer_question(self._state, order)]

    def _give_mode(self, order: SetMode) -> list[bytes]:
        forced = self._wishes.quirks.set_mode_after_open
        route = mode_route(self._state, order.mode, is_forced=forced)
        if route is None:
            raise OrderImpossible("set-mode", f"the agent has no mode {order.mode!r}")
        return [self._setting(Ask.SET_MODE, route, order.mode)]

    def _give_model(self, order: SetModel) -> list[bytes]:
        route = model_route(self._state, order.model)
        if route is None:
            raise OrderImpossible("set-model", "the agent lets nobody choose its model")
        return [self._setting(Ask.SET_MODEL, route, order.model)]

    def _give_option(self, order: SetOption) -> list[bytes]:
        if order.option not in self._state.option_ids:
            raise OrderImpossible("set-option", f"the agent has no option {order.option!r}")
        route = option_route(order.option, order.value)
        return [self._setting(Ask.SET_OPTION, route, None)]

    def _give_impossible(self, order: Steer | SetGoal | ChangeGoal) -> list[bytes]:
        name = str(order.__struct_config__.tag)
        raise OrderImpossible(name, "the protocol has no word for it")

    def _give_list(self, order: ListConversations) -> list[bytes]:
        self._need("list-conversations", "list")
        params = {"cwd": order.directory, "cursor": order.cursor}
        given = {key: value for key, value in params.items() if value is not None}
        return [self._request(Ask.LIST, Route("session/list", given))]

    def _give_close(self, order: Close) -> list[bytes]:
        self._need("close", "close")
        params = {"sessionId": self._session("close")}
        return [self._request(Ask.CLOSE, Route("session/close", params))]

    def _session(self, order: str) -> str:
        if self._state.phase != "open" or self._state.session is None:
            raise OrderImpossible(order, "no conversation is open")
        return self._state.session

    def _need(self, order: str, ability: str) -> None:
        if ability not in self._state.abilities:
            raise OrderImpossible(order, f"the agent does not offer {ability!r}")

    def _setting(self, ask: Ask, route: Route, value: str | None) -> bytes:
        session = {"sessionId": self._session(_ORDERS[ask])}
        return self._request(ask, Route(route.method, session | route.params), value)

    def _request(self, ask: Ask, route: Route, value: str | None = None) -> bytes:
        number = self._wishes.wire_id(self._state.issue(ask, value))
        return request(number, route.method, route.params)

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
            update = message["params"]["update"]
            if (
                update["sessionUpdate"] != "agent_message_chunk"
                or message["method"] != "session/update"
                or "id" in message
                or self._state.silent
                or message["params"].get("sessionId") != self._state.session
            ):
                return None
            block, name = update["content"], update.get("messageId")
            if block["type"] != "text":
                return None
            text = block["text"]
        except (KeyError, TypeError, AttributeError):
            return None
        if not isinstance(text, str):
            return None
        if self._minds_words:
            self._state.said = (self._state.said + text)[-_SAID_CHARS:]
        return MessageStreamed(text=text, message=name if isinstance(name, str) else "")

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
        if "method" not in message:
            return self._hear_answer(message)
        if "id" in message:
            return acp_requests.hear_request(self._state, message)
        return self._hear_notification(message)

    def _hear_notification(self, message: dict[str, Any]) -> Heard:
        method = message["method"]
        if method == "session/update":
            return Heard(self._hear_update(message))
        known = acp_requests.hear_notification(self._state, message)
        if known is not None:
            return known
        kept = hear_keeper(self._state, str(method), dict_of(message.get("params")) or {})
        if kept is not None:
            return Heard(kept)
        what = method if isinstance(method, str) else "message"
        return Heard([Unrecognised(what=what, raw=message)])

    def _hear_update(self, message: dict[str, Any]) -> list[AgentFact]:
        params = dict_of(message.get("params")) or {}
        update = dict_of(params.get("update"))
        if update is None:
            return [Unrecognised(what="session/update", raw=message)]
        state = self._state
        session = text_of(params.get("sessionId"))
        # Updates may come before the answer that names the conversation; they can only be ours.
        state.session = state.session or session
        if session not in {None, state.session}:
            return [Unrecognised(what="session/update of another conversation", raw=message)]
        if state.silent and text_of(update.get("sessionUpdate")) in HISTORY:
            return []
        facts = read_update(state, update)
        note_signs(state, facts, update, self._wishes.quirks)
        return facts

    def _hear_answer(self, message: dict[str, Any]) -> Heard:
        asked = read_id(message.get("id")) if "id" in message else None
        if asked is None or not ("result" in message or "error" in message):
            return Heard([Unrecognised(what="response", raw=message)])
        ask, serial = asked
        error = message.get("error")
        answer = message.get("result") if error is None else read_error(error)
        if ask is Ask.PROMPT:
            return end_turn(self._state, serial, answer, message, quirks=self._wishes.quirks)
        is_late = ask not in _ORDERS and self._state.phase in {"open", "closed", "ended"}
        is_expected, value = self._state.settle(ask, serial)
        if is_late or not is_expected:
            return Heard([Unrecognised(what="response", raw=message)])
        if ask in _ORDERS:
            return Heard(self._order_answered(ask, value, answer))
        return acp_open.answered(self._wishes, self._state, ask, answer)

    def _order_answered(self, ask: Ask, value: str | None, answer: Any) -> list[AgentFact]:
        name = _ORDERS[ask]
        if isinstance(answer, Refused):
            return [OrderRefused(order=name, code=answer.code, message=answer.message)]
        result = dict_of(answer) or {}
        if ask is Ask.CLOSE:
            self._state.phase = "closed"
            return [ConversationClosed()]
        if ask is Ask.LIST:
            return [_conversations(result, answer)]
        return [OrderDone(order=name), *self._changed(ask, value, result)]

    def _changed(self, ask: Ask, value: str | None, result: dict[str, Any]) -> list[AgentFact]:
        listed = list_of(result.get("configOptions"))
        if listed is not None:
            return [take_options(self._state, listed)]
        if ask is Ask.SET_MODE and value is not None:
            return [ModeChanged(mode=value)]
        # An agent without options has no other way to say which model it uses.
        if ask is Ask.SET_MODEL and value is not None and not self._state.option_ids:
            return [OptionsChanged(options=[], model=value)]
        return []

    # ---- life ------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Return the state as bytes; a few hundred of them when no turn runs."""
        return to_snapshot(self._state)

    def restore(self, snapshot: bytes) -> None:
        """Take over the state of a `snapshot`. Mode, model and quirks stay this dialect's own.

        Raises:
            ValueError: another version or another dialect made it, or it is damaged.
        """
        self._state = from_snapshot(snapshot)

    def ended(self) -> list[AgentFact]:
        """Return the facts that follow from the agent's death. A second call returns none."""
        facts = fail_all(self._state)
        for number in self._state.pending:
            name = _ORDERS.get(Ask(number % 32))
            if name is not None:
                said = "the agent ended before it answered"
                facts.append(OrderRefused(order=name, code="agent-ended", message=said))
        self._state = State(phase="ended", serial=self._state.serial)
        return facts


def _conversations(result: dict[str, Any], answer: Any) -> AgentFact:
    listed = list_of(result.get("sessions"))
    if listed is None:
        said = f"no list of conversations: {str(answer)[:SAMPLE_CHARS]}"
        return OrderRefused(order="list-conversations", code="malformed", message=said)
    cursor = text_of(result.get("nextCursor"))
    return ConversationsListed(conversations=listed, next_cursor=cursor)


def _by_type(table: dict[Any, Any]) -> dict[type, Callable[[AcpDialect, Any], list[bytes]]]:
    return cast("dict[type, Callable[[AcpDialect, Any], list[bytes]]]", table)


_GIVE: Final = _by_type(
    {
        Open: AcpDialect._give_open,
        Prompt: AcpDialect._give_prompt,
        Interrupt: AcpDialect._give_interrupt,
        Abandon: AcpDialect._give_abandon,
        AnswerPermission: AcpDialect._give_permission,
        AnswerQuestion: AcpDialect._give_question,
        SetMode: AcpDialect._give_mode,
        SetModel: AcpDialect._give_model,
        SetOption: AcpDialect._give_option,
        Steer: AcpDialect._give_impossible,
        SetGoal: AcpDialect._give_impossible,
        ChangeGoal: AcpDialect._give_impossible,
        ListConversations: AcpDialect._give_list,
        Close: AcpDialect._give_close,
    }
)
