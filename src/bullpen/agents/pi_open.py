"""From a bare process to a conversation that takes prompts: pi's handshake.

get_state → get_available_models → get_available_thinking_levels → get_commands → the mode asked
for → the model asked for → `ConversationOpened`. Each step is taken when the answer to the one
before is read. A mode that does not hold refuses the opening: without our extension pi would ask
for nothing. A model that cannot be set does not: the conversation opens and `OrderRefused` says so.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from bullpen.agents.dialect import Heard, Open, OrderImpossible
from bullpen.agents.pi_asks import STATUS
from bullpen.agents.pi_state import State
from bullpen.agents.wire import count_of, dict_of, line_of, list_of, text_of
from bullpen.model.fact import (
    AgentFact,
    Choice,
    CommandsOffered,
    ConversationOpened,
    LoginRequired,
    OpeningFailed,
    OptionsChanged,
    OrderRefused,
    TitleChanged,
)

ABILITIES: Final = ("resume", "steer", "interrupt")
MODES: Final = ("plan", "ask", "edit", "bypass")
OPENING: Final = frozenset({"open", "resume"})


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What shall hold in every conversation of a dialect."""

    mode: str | None = None
    model: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """The answer to a request of ours."""

    data: dict[str, Any]
    error: str | None = None


def begin(state: State, order: Open) -> list[bytes]:
    """Return the line that starts the handshake."""
    state.opening = order
    return [_step("resume" if order.resume else "open", "state", "get_state")]


def _step(how: str, step: str, command: str, **rest: Any) -> bytes:
    return line_of({"id": f"{how}:{step}", "type": command, **rest})


def answered(wishes: Wishes, state: State, how: str, step: str, answer: Answer) -> Heard:
    """Take the answer to a step of the handshake and go on."""
    take = _STEPS.get(step)
    if state.phase != "opening" or take is None:
        return Heard([])
    return take(wishes, state, how, answer)


def _failed(state: State, code: str, message: str) -> Heard:
    state.phase = "refused"
    state.opening = None
    return Heard([OpeningFailed(code=code, message=message)])


def _state_told(_wishes: Wishes, state: State, how: str, answer: Answer) -> Heard:
    if answer.error is not None:
        return _failed(state, "refused", answer.error)
    if state.opening is not None and state.opening.mcp_servers:
        return _failed(state, "mcp-unsupported", "pi takes no MCP servers")
    state.session = text_of(answer.data.get("sessionId")) or ""
    if not state.session:
        return _failed(state, "malformed", "pi opened a conversation without an id")
    # pi opens a conversation it does not find as a new one of that name. One that was never
    # prompted is the same either way.
    state.resumed = how == "resume"
    state.title = text_of(answer.data.get("sessionName")) or ""
    state.thinking = text_of(answer.data.get("thinkingLevel"))
    state.model = model_name(dict_of(answer.data.get("model")) or {})
    return Heard([], [_step(how, "models", "get_available_models")])


def model_name(given: dict[str, Any]) -> str | None:
    """Return how we call a model of pi: `provider/model`."""
    provider, name = text_of(given.get("provider")), text_of(given.get("id"))
    return f"{provider}/{name}" if provider and name else None


def _models_told(_wishes: Wishes, state: State, how: str, answer: Answer) -> Heard:
    listed = [dict_of(each) or {} for each in list_of(answer.data.get("models")) or []]
    named = [(name, each) for each in listed if (name := model_name(each))]
    state.models = [Choice(name, text_of(each.get("name")) or name) for name, each in named]
    state.sizes = {
        name: size for name, each in named if (size := count_of(each.get("contextWindow")))
    }
    if not state.models and state.model is None:
        state.phase = "refused"
        state.opening = None
        return Heard([LoginRequired(message="pi has no model it may use")])
    return Heard([], [_step(how, "levels", "get_available_thinking_levels")])


def _levels_told(_wishes: Wishes, state: State, how: str, answer: Answer) -> Heard:
    # A pi that does not know the command is older than `agent_settled`.
    state.settles = answer.error is None
    levels = list_of(answer.data.get("levels")) or []
    state.levels = [each for each in levels if isinstance(each, str)]
    return Heard([], [_step(how, "commands", "get_commands")])


def _commands_told(wishes: Wishes, state: State, how: str, answer: Answer) -> Heard:
    listed = [dict_of(each) or {} for each in list_of(answer.data.get("commands")) or []]
    found = [
        Choice(name, name, (text_of(each.get("description")) or "")[:200])
        for each in listed
        if (name := text_of(each.get("name")))
    ]
    ours = any(each.id == STATUS for each in found)
    offered = [each for each in found if each.id != STATUS]
    facts: list[AgentFact] = [CommandsOffered(commands=offered)] if offered else []
    if wishes.mode is None:
        return _with(facts, _model(wishes, state, how))
    if not ours:
        said = "pi did not load the extension that asks for leave"
        return _failed(state, "extension-missing", said)
    return Heard(facts, [_step(how, "mode", "prompt", message=f"/{STATUS} {wishes.mode}")])


def _with(facts: list[AgentFact], heard: Heard) -> Heard:
    return Heard([*facts, *heard.facts], heard.out)


def _mode_told(wishes: Wishes, state: State, how: str, answer: Answer) -> Heard:
    if answer.error is not None or state.mode != wishes.mode:
        said = answer.error or f"asked for mode {wishes.mode!r}, pi is in {state.mode!r}"
        return _failed(state, "mode-refused", said)
    return _model(wishes, state, how)


def _model(wishes: Wishes, state: State, how: str) -> Heard:
    if wishes.model is None:
        return Heard(_opened(state))
    try:
        name = find_model(state, wishes.model)
    except OrderImpossible as refusal:
        return Heard([*_opened(state), _not_taken("not-offered", refusal.why)])
    if name == state.model:
        return Heard(_opened(state))
    return Heard([], [_step(how, "model", "set_model", **model_words(name))])


def find_model(state: State, wanted: str) -> str:
    """Return the full name of a model that is asked for by it, or by the part after the provider.

    Raises:
        OrderImpossible: pi offers none of that name, or several.
    """
    names = [each.id for each in state.models]
    if wanted in names:
        return wanted
    found = [name for name in names if name.partition("/")[2] == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise OrderImpossible("set-model", f"say which of {', '.join(found[:5])}")
    raise OrderImpossible("set-model", f"pi offers no model {wanted!r}")


def model_words(name: str) -> dict[str, str]:
    """Return the fields that name a model to pi."""
    provider, _, model = name.partition("/")
    return {"provider": provider, "modelId": model}


def _model_told(_wishes: Wishes, state: State, _how: str, answer: Answer) -> Heard:
    if answer.error is not None:
        return Heard([*_opened(state), _not_taken("refused", answer.error)])
    state.model = model_name(answer.data) or state.model
    return Heard(_opened(state))


def _not_taken(code: str, message: str) -> OrderRefused:
    return OrderRefused(order="set-model", code=code, message=message)


def _opened(state: State) -> list[AgentFact]:
    state.phase = "open"
    state.opening = None
    opened = ConversationOpened(
        agent_session=state.session,
        resumed=state.resumed,
        agent_name="pi",
        abilities=list(ABILITIES),
        modes=[Choice(mode, mode) for mode in MODES] if state.mode else [],
        mode=state.mode,
        models=state.models,
        model=state.model,
    )
    facts: list[AgentFact] = [opened]
    if state.levels:
        facts.append(options(state))
    if state.title:
        facts.append(TitleChanged(title=state.title))
    return facts


def options(state: State) -> OptionsChanged:
    """Return pi's one option, how hard the model thinks, as a fact."""
    option: dict[str, Any] = {
        "id": "thinking",
        "name": "Thinking",
        "category": "thought_level",
        "type": "select",
        "currentValue": state.thinking,
        "options": [{"value": level, "name": level} for level in state.levels],
    }
    return OptionsChanged(options=[option], model=state.model, mode=state.mode)


_STEPS: dict[str, Callable[[Wishes, State, str, Answer], Heard]] = {
    "state": _state_told,
    "models": _models_told,
    "levels": _levels_told,
    "commands": _commands_told,
    "mode": _mode_told,
    "model": _model_told,
}
