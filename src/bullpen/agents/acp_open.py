"""From a bare process to a conversation that takes prompts: the ACP handshake.

initialize → authenticate, where the catalog says so → session/resume, load or new → the mode asked
for → the model asked for → `ConversationOpened`. Each step is taken when the answer to the one
before is read, so the handshake holds no state but `State` and goes on after a restore.

A mode that cannot be set refuses the opening: it decides what the agent may do without asking. A
model that cannot be set does not: the conversation opens and `OrderRefused` says so.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from bullpen.agents.acp_options import (
    Route,
    mode_route,
    model_route,
    read_methods,
    take_offer,
    take_options,
)
from bullpen.agents.acp_state import State
from bullpen.agents.dialect import Heard, Open
from bullpen.agents.wire import AUTH_REQUIRED, Ask, Refused, dict_of, list_of, request, text_of
from bullpen.model.agent import Quirks
from bullpen.model.fact import (
    AgentFact,
    ConversationOpened,
    LoginRequired,
    OpeningFailed,
    OptionsChanged,
    OrderRefused,
)

PROTOCOL: Final = 1

_ABILITIES: Final = (
    ("load", ("loadSession",)),
    ("resume", ("sessionCapabilities", "resume")),
    ("list", ("sessionCapabilities", "list")),
    ("close", ("sessionCapabilities", "close")),
    ("delete", ("sessionCapabilities", "delete")),
    ("fork", ("sessionCapabilities", "fork")),
    ("extra-directories", ("sessionCapabilities", "additionalDirectories")),
    ("image", ("promptCapabilities", "image")),
    ("audio", ("promptCapabilities", "audio")),
    ("embedded-context", ("promptCapabilities", "embeddedContext")),
    ("mcp-http", ("mcpCapabilities", "http")),
    ("mcp-sse", ("mcpCapabilities", "sse")),
    ("logout", ("auth", "logout")),
)
_OPENERS: Final = {
    Ask.NEW: "session/new",
    Ask.LOAD: "session/load",
    Ask.RESUME: "session/resume",
}


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What shall hold in every conversation of a dialect."""

    mode: str | None = None
    model: str | None = None
    quirks: Quirks = Quirks()
    version: str = "0"

    def wire_id(self, number: int) -> int | str:
        """Return a request id in the form the agent can take."""
        return number if self.quirks.numeric_ids else str(number)


def begin(wishes: Wishes, state: State) -> bytes:
    """Return the line that starts the handshake for `state.opening`."""
    resumes = state.opening is not None and state.opening.resume is not None
    ask = Ask.INITIALIZE_TO_RESUME if resumes else Ask.INITIALIZE
    # Files are never offered: serving them is input and output, and an agent that is offered
    # them and then refused fails where it would have used its own.
    capabilities: dict[str, Any] = {
        "fs": {"readTextFile": False, "writeTextFile": False},
        "terminal": False,
        "session": {"configOptions": {"boolean": {}}},
        "auth": {"terminal": False},
        "elicitation": {"form": {}, "url": {}},
    }
    params = {
        "protocolVersion": PROTOCOL,
        "clientCapabilities": capabilities,
        "clientInfo": {"name": "bullpen", "title": "Bullpen", "version": wishes.version},
    }
    return request(wishes.wire_id(state.issue(ask)), "initialize", params)


def answered(wishes: Wishes, state: State, ask: Ask, answer: Any) -> Heard:
    """Take the answer to a step of the handshake, a result or `Refused`, and go on."""
    return _STEPS[ask](wishes, state, ask, answer)


def _failed(state: State, code: str, message: str) -> Heard:
    state.phase = "refused"
    state.opening = state.opened = state.options = None
    state.silent = False
    return Heard([OpeningFailed(code=code, message=message)])


def _refused(state: State, error: Refused) -> Heard:
    if error.code != str(AUTH_REQUIRED):
        return _failed(state, error.code, error.message)
    return _login(state, error)


def _login(state: State, error: Refused) -> Heard:
    state.phase = "refused"
    state.opening = state.opened = state.options = None
    named = read_methods((dict_of(error.data) or {}).get("authMethods"))
    return Heard([LoginRequired(message=error.message, methods=named or state.methods)])


def _initialized(wishes: Wishes, state: State, ask: Ask, answer: Any) -> Heard:
    if isinstance(answer, Refused):
        return _refused(state, answer)
    result = dict_of(answer) or {}
    version: Any = result.get("protocolVersion")
    if version is True or version != PROTOCOL:
        said = f"the agent speaks protocol {str(version)[:40]!r}, we speak {PROTOCOL}"
        return _failed(state, "protocol-unsupported", said)
    state.phase = "opening"
    state.abilities = _abilities(dict_of(result.get("agentCapabilities")) or {})
    state.methods = read_methods(result.get("authMethods"))
    agent = dict_of(result.get("agentInfo")) or {}
    state.opened = ConversationOpened(
        agent_session="",
        resumed=ask is Ask.INITIALIZE_TO_RESUME,
        agent_name=text_of(agent.get("title")) or text_of(agent.get("name")) or "",
        agent_version=text_of(agent.get("version")) or "",
        abilities=state.abilities,
    )
    method = wishes.quirks.authenticate
    if method is None:
        return _open(wishes, state)
    number = wishes.wire_id(state.issue(Ask.AUTHENTICATE))
    return Heard([], [request(number, "authenticate", {"methodId": method})])


def _abilities(given: dict[str, Any]) -> list[str]:
    return [name for name, path in _ABILITIES if _has(given, path)]


def _has(given: dict[str, Any], path: tuple[str, ...]) -> bool:
    inner: Any = given
    for key in path:
        inner = (dict_of(inner) or {}).get(key)
    return inner is True or dict_of(inner) is not None


def _authenticated(wishes: Wishes, state: State, ask: Ask, answer: Any) -> Heard:
    if isinstance(answer, Refused):
        return _login(state, answer)
    return _open(wishes, state)


def _open(wishes: Wishes, state: State) -> Heard:
    if state.opened is None or not state.opened.resumed:
        return _ask_for(wishes, state, Ask.NEW)
    if "resume" in state.abilities:
        return _ask_for(wishes, state, Ask.RESUME)
    if "load" in state.abilities:
        return _ask_for(wishes, state, Ask.LOAD)
    return _failed(
        state, "resume-unsupported", "the agent can neither resume nor load a conversation"
    )


def _ask_for(wishes: Wishes, state: State, ask: Ask) -> Heard:
    state.silent = ask is Ask.LOAD
    order = state.opening
    if order is None:
        return Heard([])
    lacking = _lacking(state, order)
    if lacking is not None:
        return _failed(state, *lacking)
    params: dict[str, Any] = {
        "cwd": order.directory,
        "mcpServers": [_server(each) for each in order.mcp_servers],
    }
    if order.extra_directories:
        params["additionalDirectories"] = order.extra_directories
    if ask is not Ask.NEW:
        params["sessionId"] = state.session = order.resume
    return Heard([], [request(wishes.wire_id(state.issue(ask)), _OPENERS[ask], params)])


def _lacking(state: State, order: Open) -> tuple[str, str] | None:
    """Say what the order needs and the agent has not. Leaving it out instead would open a
    conversation without its tools."""
    if order.extra_directories and "extra-directories" not in state.abilities:
        return "directories-unsupported", "the agent takes no further directories"
    for server in order.mcp_servers:
        fields = dict_of(server) or {}
        transport = fields.get("type")
        if transport in {"http", "sse"} and f"mcp-{transport}" not in state.abilities:
            name = fields.get("name")
            return "mcp-unsupported", f"the agent takes no {transport} server, as {name!r} is"
    return None


def _server(given: Any) -> Any:
    fields = dict_of(given)
    if fields is None:
        return given
    is_remote = fields.get("type") in {"http", "sse"}
    required: dict[str, Any] = {"headers": []} if is_remote else {"args": [], "env": []}
    return required | fields


def _session_given(wishes: Wishes, state: State, ask: Ask, answer: Any) -> Heard:
    if isinstance(answer, Refused):
        if ask is Ask.RESUME and answer.code == "-32601" and "load" in state.abilities:
            return _ask_for(wishes, state, Ask.LOAD)
        return _refused(state, answer)
    result = dict_of(answer) or {}
    session = text_of(result.get("sessionId")) or (None if ask is Ask.NEW else state.session or "")
    if session is None:
        return _failed(state, "malformed", "the agent opened a conversation without an id")
    state.session = session or None
    # Some agents answer `session/load` first and repeat the history afterwards.
    state.silent = ask is Ask.LOAD and wishes.quirks.late_history
    modes, models = take_offer(state, result)
    state.opened = msgspec.structs.replace(
        state.opened or ConversationOpened(agent_session=session),
        agent_session=session,
        resumed=ask is not Ask.NEW,
        modes=modes.choices,
        mode=modes.current or (state.opened.mode if state.opened else None),
        models=models.choices,
        model=models.current,
    )
    return _set_mode(wishes, state)


def _set_mode(wishes: Wishes, state: State) -> Heard:
    mode = wishes.mode
    if mode is None or (state.opened is not None and state.opened.mode == mode):
        return _set_model(wishes, state)
    route = mode_route(state, mode, is_forced=wishes.quirks.set_mode_after_open)
    if route is None:
        offered = ", ".join(state.option_modes or state.plain_modes) or "none"
        said = f"the agent has no mode {mode!r}; it offers {offered}"
        return _failed(state, "mode-unsupported", said)
    return Heard([], [_setting(wishes, state, Ask.OPEN_MODE, route)])


def _setting(wishes: Wishes, state: State, ask: Ask, route: Route) -> bytes:
    params = {"sessionId": state.session or "", **route.params}
    return request(wishes.wire_id(state.issue(ask)), route.method, params)


def _mode_set(wishes: Wishes, state: State, ask: Ask, answer: Any) -> Heard:
    if isinstance(answer, Refused):
        return _refused(state, answer)
    _set_in_opened(state, "mode", wishes.mode, answer)
    if state.opened is not None and state.opened.mode != wishes.mode:
        said = f"asked for mode {wishes.mode!r}, the agent stays in {state.opened.mode!r}"
        return _failed(state, "mode-unsupported", said)
    return _set_model(wishes, state)


def _set_in_opened(state: State, field: str, value: str | None, answer: Any) -> None:
    if state.opened is None:
        return
    state.opened = msgspec.structs.replace(state.opened, **{field: value})
    listed = list_of((dict_of(answer) or {}).get("configOptions"))
    if listed is not None:
        take_options(state, listed)


def _set_model(wishes: Wishes, state: State) -> Heard:
    model = wishes.model
    if model is None or (state.opened is not None and state.opened.model == model):
        return Heard(_finish(state))
    route = model_route(state, model)
    if route is None:
        said = "the agent lets nobody choose its model"
        return Heard([*_finish(state), _model_refused("not-offered", said)])
    return Heard([], [_setting(wishes, state, Ask.OPEN_MODEL, route)])


def _model_refused(code: str, message: str) -> OrderRefused:
    return OrderRefused(order="set-model", code=code, message=message)


def _model_set(wishes: Wishes, state: State, ask: Ask, answer: Any) -> Heard:
    if isinstance(answer, Refused):
        return Heard([*_finish(state), _model_refused(answer.code, answer.message)])
    _set_in_opened(state, "model", wishes.model, answer)
    return Heard(_finish(state))


def _finish(state: State) -> list[AgentFact]:
    facts: list[AgentFact] = []
    if state.opened is not None:
        facts.append(state.opened)
        if state.options:
            chosen = state.opened
            facts.append(
                OptionsChanged(options=state.options, mode=chosen.mode, model=chosen.model)
            )
    state.phase = "open"
    state.opening = state.opened = state.options = None
    return facts


_STEPS: dict[Ask, Callable[[Wishes, State, Ask, Any], Heard]] = {
    Ask.INITIALIZE: _initialized,
    Ask.INITIALIZE_TO_RESUME: _initialized,
    Ask.AUTHENTICATE: _authenticated,
    Ask.NEW: _session_given,
    Ask.LOAD: _session_given,
    Ask.RESUME: _session_given,
    Ask.OPEN_MODE: _mode_set,
    Ask.OPEN_MODEL: _model_set,
}
