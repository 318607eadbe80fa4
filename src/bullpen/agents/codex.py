"""Codex as it speaks itself: `codex app-server`, JSON-RPC over lines without its version.

The types are told by `codex app-server generate-ts`. A turn ends with `turn/completed`, whatever
became of it. Turns of a goal begin without us and have number 0 here; see `TurnTyped`.
"""

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from bullpen.agents import codex_asks, codex_items, codex_turn
from bullpen.agents.codex_open import models_of, server_of
from bullpen.agents.codex_state import VERSION, Running, State
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
from bullpen.agents.snapshot import from_snapshot, to_snapshot
from bullpen.agents.wire import (
    MAX_DEPTH,
    Refused,
    decode,
    dict_of,
    fault,
    is_too_deep,
    line_of,
    list_of,
    name_request,
    read_error,
    read_line,
    text_of,
    without_depth,
)
from bullpen.model.fact import (
    AgentFact,
    AskWithdrawn,
    ConversationOpened,
    ConversationsListed,
    Faulted,
    GoalReported,
    LoginRequired,
    MessageStreamed,
    ModeChanged,
    OpeningFailed,
    OptionsChanged,
    OrderDone,
    OrderRefused,
    TitleChanged,
    ToolChanged,
    TurnEnded,
    TurnFailed,
    Unrecognised,
)

_ABILITIES: Final = ("resume", "list", "mcp", "image", "steer", "goal")
_OPENING: Final = ("account", "models", "thread")
_ORDERS: Final = {
    "mode": "set-mode",
    "model": "set-model",
    "list": "list-conversations",
    "setgoal": "set-goal",
    "changegoal": "change-goal",
    "steer": "steer",
}
_SANDBOXES: Final[dict[str, dict[str, Any]]] = {
    "read-only": {"type": "readOnly", "networkAccess": False},
    "workspace-write": {
        "type": "workspaceWrite",
        "writableRoots": [],
        "networkAccess": False,
        "excludeTmpdirEnvVar": False,
        "excludeSlashTmp": False,
    },
    "danger-full-access": {"type": "dangerFullAccess"},
}
_GOALS: Final = {"usagelimited": "limited", "budgetlimited": "budget-limited"}
_LOUD: Final = ("item/", "turn/", "thread/goal/")
# What we do not know of these is told; the rest is for screens.


class CodexDialect:
    """One conversation with Codex. See `bullpen.agents.dialect.Dialect`."""

    def __init__(
        self, *, mode: str | None = None, model: str | None = None, version: str = "0"
    ) -> None:
        """Make a dialect for a process that was not spoken to yet.

        Args:
            mode: `APPROVAL/SANDBOX`, and `/accept-edits` when changes of files in the place need
                no leave; None leaves both to the agent's own configuration.
            model: The agent's name of a model.
            version: Ours, told to the agent.
        """
        self._mode = mode or ""
        self._model = model
        self._version = version
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
        self._state = State(
            phase="opening",
            opening=order,
            directory=order.directory,
            mode=self._mode,
            wanted_model=self._model,
        )
        client = {"name": "bullpen", "title": "Bullpen", "version": self._version}
        params = {"clientInfo": client, "capabilities": {"experimentalApi": True}}
        return [self._ask("hello", "initialize", params)]

    def _give_prompt(self, order: Prompt) -> list[bytes]:
        state = self._opened("prompt")
        others = [turn for turn in state.running if turn != order.turn]
        if others:
            raise OrderImpossible("prompt", "another turn is still running")
        state.running.setdefault(order.turn, Running())
        params: dict[str, Any] = {"threadId": state.thread, "input": _words(order.text)}
        approval, _, rest = state.mode.partition("/")
        if approval:
            params["approvalPolicy"] = approval
            params["sandboxPolicy"] = _SANDBOXES[rest.partition("/")[0]]
        if state.wanted_model is not None:
            params["model"] = state.wanted_model
        return [_request(f"prompt-{order.turn}", "turn/start", params)]

    def _give_steer(self, order: Steer) -> list[bytes]:
        state = self._opened("steer")
        running = state.running.get(order.turn) or state.current()
        if running is None or running.agent_turn is None:
            raise OrderImpossible("steer", f"turn {order.turn} is not under way yet")
        params = {"threadId": state.thread, "expectedTurnId": running.agent_turn}
        return [self._ask("steer", "turn/steer", params | {"input": _words(order.text)})]

    def _give_interrupt(self, order: Interrupt) -> list[bytes]:
        state = self._state
        if order.turn not in state.running:
            return []
        state.running[order.turn].is_interrupted = True
        lines = codex_turn.interrupt_if_asked(state, order.turn)
        return [*lines, *codex_asks.cancel_all(state)]

    def _give_abandon(self, order: Abandon) -> list[bytes]:
        if self._state.running.pop(order.turn, None) is None:
            return []
        return codex_asks.cancel_all(self._state)

    def _give_permission(self, order: AnswerPermission) -> list[bytes]:
        return codex_asks.answer_permission(self._state, order)

    def _give_question(self, order: AnswerQuestion) -> list[bytes]:
        return codex_asks.answer_question(self._state, order)

    def _give_mode(self, order: SetMode) -> list[bytes]:
        self._opened("set-mode")
        sandbox = order.mode.partition("/")[2].partition("/")[0]
        if sandbox not in _SANDBOXES:
            raise OrderImpossible("set-mode", f"the agent has no mode {order.mode!r}")
        # It is told with the next turn; the question is there for the answer alone.
        return [self._ask("mode", "thread/loaded/list", {}, order.mode)]

    def _give_model(self, order: SetModel) -> list[bytes]:
        self._opened("set-model")
        return [self._ask("model", "thread/loaded/list", {}, order.model)]

    def _give_goal(self, order: SetGoal) -> list[bytes]:
        state = self._opened("set-goal")
        params: dict[str, Any] = {"threadId": state.thread, "objective": order.objective}
        params |= {"status": "active", "tokenBudget": order.budget_tokens}
        return [self._ask("setgoal", "thread/goal/set", params)]

    def _give_goal_change(self, order: ChangeGoal) -> list[bytes]:
        state = self._opened("change-goal")
        params = {"threadId": state.thread}
        if order.status == "cleared":
            return [self._ask("changegoal", "thread/goal/clear", params)]
        return [self._ask("changegoal", "thread/goal/set", params | {"status": order.status})]

    def _give_list(self, order: ListConversations) -> list[bytes]:
        self._opened("list-conversations")
        return [self._ask("list", "thread/list", {"cursor": order.cursor, "limit": 50})]

    def _give_impossible(self, order: AnyOrder) -> list[bytes]:
        name = str(order.__struct_config__.tag)
        raise OrderImpossible(name, "the agent has no word for it")

    def _opened(self, order: str) -> State:
        if self._state.phase != "open":
            raise OrderImpossible(order, "no conversation is open")
        return self._state

    def _ask(self, ask: str, method: str, params: dict[str, Any], value: str = "") -> bytes:
        return _request(self._state.next_id(ask, value), method, params)

    # ---- what the agent says ---------------------------------------------------------------

    def feed(self, line: bytes) -> Heard:
        """Take one whole line of the agent's stdout. Never raises, whatever the line is."""
        try:
            message = decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return self._feed_odd(line)
        fact = self._streamed(message)
        return Heard([fact]) if fact is not None else self._feed_message(line, message)

    def _streamed(self, message: Any) -> MessageStreamed | None:
        try:
            if message["method"] != "item/agentMessage/delta":
                return None
            params = message["params"]
            if params["threadId"] != self._state.thread:
                return None
            item = self._state.items[params["itemId"]]
            text = params["delta"]
        except (KeyError, TypeError):
            return None
        if not isinstance(text, str):
            return None
        item.was_streamed = True
        return MessageStreamed(text=text, message=params["itemId"])

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
        if "method" not in message:
            return self._hear_answer(message)
        if "id" in message:
            return codex_asks.hear_request(self._state, message)
        params = dict_of(message.get("params")) or {}
        thread = text_of(params.get("threadId"))
        method = text_of(message["method"]) or ""
        if self._state.thread and thread not in (None, self._state.thread):
            # Titles and reviews are made in conversations of their own.
            return Heard([])
        hear = _HEAR.get(method)
        if hear is not None:
            return hear(self, params)
        if method.startswith(_LOUD) and method not in _QUIET:
            return Heard([Unrecognised(what=method, raw=message)])
        return Heard([])

    # ---- answers to us ---------------------------------------------------------------------

    def _hear_answer(self, message: dict[str, Any]) -> Heard:
        name = text_of(message.get("id")) or ""
        error = message.get("error")
        answer = message.get("result") if error is None else read_error(error)
        ask, _, serial = name.partition("-")
        if ask == "prompt" and serial.isascii() and serial.isdigit():
            return self._prompt_answered(int(serial), answer)
        value = self._state.pending.pop(name, None)
        if value is None:
            return Heard([Unrecognised(what="response", raw=message)])
        if ask == "hello":
            return self._greeted(answer)
        if ask in _OPENING:
            return Heard(self._opening_answered(ask, answer))
        return Heard(self._order_answered(ask, value, answer))

    def _prompt_answered(self, turn: int, answer: Any) -> Heard:
        running = self._state.running.get(turn)
        if running is None:
            return Heard([])
        if isinstance(answer, Refused):
            failed = TurnFailed(turn=turn, code=answer.code or "refused", message=answer.message)
            return codex_turn.over(self._state, turn, failed)
        begun = dict_of((dict_of(answer) or {}).get("turn")) or {}
        running.agent_turn = running.agent_turn or text_of(begun.get("id"))
        return Heard([], codex_turn.interrupt_if_asked(self._state, turn))

    def _greeted(self, answer: Any) -> Heard:
        state = self._state
        if state.phase != "opening" or state.opening is None:
            return Heard([])
        if isinstance(answer, Refused):
            state.phase = "refused"
            return Heard([OpeningFailed(code=answer.code, message=answer.message)])
        agent = text_of((dict_of(answer) or {}).get("userAgent")) or ""
        version = agent.partition("/")[2].partition(" ")[0]
        resumed = state.opening.resume
        state.opened = ConversationOpened(
            agent_session=resumed or "",
            resumed=resumed is not None,
            agent_name="Codex",
            agent_version=version,
            abilities=list(_ABILITIES),
            mode=self._mode or None,
        )
        opened, params = state.opening, self._thread_params(state.opening)
        method = "thread/start" if opened.resume is None else "thread/resume"
        if opened.resume is not None:
            params |= {"threadId": opened.resume, "excludeTurns": True}
        return Heard(
            [],
            [
                line_of({"method": "initialized"}),
                self._ask("account", "account/read", {}),
                self._ask("models", "model/list", {}),
                self._ask("thread", method, params),
            ],
        )

    def _thread_params(self, opening: Open) -> dict[str, Any]:
        params: dict[str, Any] = {"cwd": opening.directory}
        approval, _, rest = self._mode.partition("/")
        if approval:
            params |= {"approvalPolicy": approval, "sandbox": rest.partition("/")[0]}
            params["approvalsReviewer"] = "user"
        if self._model is not None:
            params["model"] = self._model
        config: dict[str, Any] = {}
        for server in opening.mcp_servers:
            config |= server_of(server)
        return params | ({"config": config} if config else {})

    def _opening_answered(self, ask: str, answer: Any) -> list[AgentFact]:
        state = self._state
        if state.phase != "opening" or state.opened is None:
            return []
        if ask == "thread" and isinstance(answer, Refused):
            state.phase = "refused"
            code = "conversation-not-found" if state.opened.resumed else answer.code
            return [OpeningFailed(code=code, message=answer.message)]
        result = dict_of(answer) or {}
        if ask == "account":
            needs = result.get("requiresOpenaiAuth") is True
            state.needs_login = needs and dict_of(result.get("account")) is None
        elif ask == "models":
            state.models = models_of(result)
        else:
            self._thread_opened(result)
        if any(name.partition("-")[0] in _OPENING for name in state.pending):
            return []
        return self._all_open()

    def _thread_opened(self, result: dict[str, Any]) -> None:
        state = self._state
        thread = dict_of(result.get("thread")) or {}
        state.thread = text_of(thread.get("id")) or ""
        state.model = text_of(result.get("model"))
        assert state.opened is not None, "asked by the caller"
        state.opened = msgspec.structs.replace(
            state.opened, agent_session=state.thread, model=state.model
        )

    def _all_open(self) -> list[AgentFact]:
        state = self._state
        opened, state.opened, state.opening = state.opened, None, None
        assert opened is not None, "asked by the caller"
        if state.needs_login:
            state.phase = "refused"
            return [LoginRequired(message="Codex is not logged in")]
        state.phase = "open"
        opened = msgspec.structs.replace(opened, models=state.models)
        state.models = []
        return [opened]

    def _order_answered(self, ask: str, value: str, answer: Any) -> list[AgentFact]:
        state, name = self._state, _ORDERS.get(ask)
        if name is None:
            return []
        if isinstance(answer, Refused):
            return [OrderRefused(order=name, code=answer.code, message=answer.message)]
        result = dict_of(answer) or {}
        if ask == "mode":
            state.mode = value
            return [OrderDone(order=name), ModeChanged(mode=value)]
        if ask == "model":
            state.wanted_model = state.model = value
            return [OrderDone(order=name), OptionsChanged(options=[], model=value)]
        if ask == "list":
            listed = list_of(result.get("data")) or []
            cursor = text_of(result.get("nextCursor"))
            return [ConversationsListed(conversations=listed, next_cursor=cursor)]
        return [OrderDone(order=name)]

    # ---- notifications ---------------------------------------------------------------------

    def _hear_error(self, params: dict[str, Any]) -> Heard:
        if params.get("willRetry") is not True:
            self._state.error = dict_of(params.get("error"))
        return Heard([])

    def _hear_started(self, params: dict[str, Any]) -> Heard:
        return codex_turn.started(self._state, params)

    def _hear_completed(self, params: dict[str, Any]) -> Heard:
        return codex_turn.completed(self._state, params)

    def _hear_item(self, params: dict[str, Any]) -> Heard:
        return Heard(codex_items.begin(self._state, dict_of(params.get("item")) or {}))

    def _hear_item_over(self, params: dict[str, Any]) -> Heard:
        return Heard(codex_items.end(self._state, dict_of(params.get("item")) or {}))

    def _hear_delta(self, params: dict[str, Any]) -> Heard:
        return Heard(codex_items.delta(self._state, params, is_thought=False))

    def _hear_thought(self, params: dict[str, Any]) -> Heard:
        return Heard(codex_items.delta(self._state, params, is_thought=True))

    def _hear_plan(self, params: dict[str, Any]) -> Heard:
        return Heard(codex_items.plan(params))

    def _hear_usage(self, params: dict[str, Any]) -> Heard:
        return Heard(codex_turn.hear_usage(self._state, params))

    def _hear_limits(self, params: dict[str, Any]) -> Heard:
        codex_turn.hear_limits(self._state, params)
        return Heard([])

    def _hear_name(self, params: dict[str, Any]) -> Heard:
        name = text_of(params.get("threadName")) or text_of(params.get("name"))
        return Heard([TitleChanged(title=name)] if name else [])

    def _hear_resolved(self, params: dict[str, Any]) -> Heard:
        name = name_request(params.get("requestId"))
        if name is None or self._state.asks.pop(name, None) is None:
            return Heard([])
        return Heard([AskWithdrawn(request=name)])

    def _hear_goal(self, params: dict[str, Any]) -> Heard:
        goal = dict_of(params.get("goal")) or {}
        word = codex_items.plain(goal.get("status"))
        used = goal.get("tokensUsed")
        return Heard(
            [
                GoalReported(
                    status=_GOALS.get(word, word),
                    objective=text_of(goal.get("objective")) or "",
                    used_tokens=used if isinstance(used, int) else None,
                )
            ]
        )

    def _hear_goal_gone(self, _params: dict[str, Any]) -> Heard:
        return Heard([GoalReported(status=None)])

    # ---- life ------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Return the state as bytes; a few hundred of them when no turn runs."""
        return to_snapshot("codex", VERSION, self._state)

    def restore(self, snapshot: bytes) -> None:
        """Take over the state of a `snapshot`.

        Raises:
            ValueError: another version or another dialect made it, or it is damaged.
        """
        self._state = from_snapshot(snapshot, "codex", VERSION, State)

    def ended(self) -> list[AgentFact]:
        """Return the facts that follow from the agent's death. A second call returns none."""
        state, self._state = self._state, State(phase="ended", serial=self._state.serial)
        facts: list[AgentFact] = [AskWithdrawn(request=name) for name in state.asks]
        for turn, running in state.running.items():
            status = "cancelled" if running.is_interrupted else "failed"
            calls = [call for call, item in state.items.items() if item.kind != "agentMessage"]
            facts += [ToolChanged(call=call, status=status) for call in calls]
            gone = "the agent ended before the turn did"
            failed = TurnFailed(turn=turn, code="agent-ended", message=gone)
            cancelled = TurnEnded(turn=turn, stop="cancelled")
            facts.append(cancelled if running.is_interrupted else failed)
        for name in state.pending:
            order = _ORDERS.get(name.partition("-")[0])
            if order is not None:
                said = "the agent ended before it answered"
                facts.append(OrderRefused(order=order, code="agent-ended", message=said))
        return facts


def _request(name: str, method: str, params: dict[str, Any]) -> bytes:
    return line_of({"id": name, "method": method, "params": params})


def _words(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "text_elements": []}]


_QUIET: Final = frozenset(
    {
        "turn/diff/updated",
        "turn/moderationMetadata",
        "item/commandExecution/outputDelta",
        "item/commandExecution/terminalInteraction",
        "item/fileChange/outputDelta",
        "item/fileChange/patchUpdated",
        "item/mcpToolCall/progress",
        "item/plan/delta",
        "item/reasoning/summaryPartAdded",
        "item/autoApprovalReview/started",
        "item/autoApprovalReview/completed",
    }
)
_HEAR: Final[dict[str, Callable[[CodexDialect, dict[str, Any]], Heard]]] = {
    "error": CodexDialect._hear_error,
    "turn/started": CodexDialect._hear_started,
    "turn/completed": CodexDialect._hear_completed,
    "turn/plan/updated": CodexDialect._hear_plan,
    "item/started": CodexDialect._hear_item,
    "item/completed": CodexDialect._hear_item_over,
    "item/agentMessage/delta": CodexDialect._hear_delta,
    "item/reasoning/summaryTextDelta": CodexDialect._hear_thought,
    "item/reasoning/textDelta": CodexDialect._hear_thought,
    "thread/tokenUsage/updated": CodexDialect._hear_usage,
    "account/rateLimits/updated": CodexDialect._hear_limits,
    "thread/name/updated": CodexDialect._hear_name,
    "thread/goal/updated": CodexDialect._hear_goal,
    "thread/goal/cleared": CodexDialect._hear_goal_gone,
    "serverRequest/resolved": CodexDialect._hear_resolved,
}


def _by_type(table: dict[Any, Any]) -> dict[type, Callable[[CodexDialect, Any], list[bytes]]]:
    return cast("dict[type, Callable[[CodexDialect, Any], list[bytes]]]", table)


_GIVE: Final = _by_type(
    {
        Open: CodexDialect._give_open,
        Prompt: CodexDialect._give_prompt,
        Steer: CodexDialect._give_steer,
        Interrupt: CodexDialect._give_interrupt,
        Abandon: CodexDialect._give_abandon,
        AnswerPermission: CodexDialect._give_permission,
        AnswerQuestion: CodexDialect._give_question,
        SetMode: CodexDialect._give_mode,
        SetModel: CodexDialect._give_model,
        SetOption: CodexDialect._give_impossible,
        SetGoal: CodexDialect._give_goal,
        ChangeGoal: CodexDialect._give_goal_change,
        ListConversations: CodexDialect._give_list,
        Close: CodexDialect._give_impossible,
    }
)
