"""Modes, models and options of an ACP agent: what it offers, and which request changes it.

Agents offer them in three generations of the protocol: as `configOptions` of category mode or
model, as `modes`, and as `models`. Where two are given, the options win, as the protocol says.
"""

from typing import Any, NamedTuple

import msgspec

from bullpen.agents.acp_state import State
from bullpen.agents.wire import dict_of, list_of, text_of
from bullpen.model.fact import Choice, OptionsChanged


class Offered(NamedTuple):
    """What an agent lets us choose from, and what is chosen."""

    choices: list[Choice]
    current: str | None


class Route(NamedTuple):
    """A method that changes something, with its parameters but the conversation's id."""

    method: str
    params: dict[str, Any]


def take_options(state: State, listed: list[Any]) -> OptionsChanged:
    """Remember which options there are and return them as a fact."""
    mode = _option_of(listed, "mode")
    model = _option_of(listed, "model")
    state.option_ids = [found for each in listed if (found := _id_of(each))]
    state.mode_option = _id_of(mode)
    state.option_modes = [choice.id for choice in _values(mode)]
    state.model_option = _id_of(model)
    fact = OptionsChanged(options=listed, mode=_current(mode), model=_current(model))
    if state.opened is not None:
        state.options = listed
        state.opened = msgspec.structs.replace(
            state.opened,
            mode=fact.mode or state.opened.mode,
            model=fact.model or state.opened.model,
        )
    return fact


def take_offer(state: State, result: dict[str, Any]) -> tuple[Offered, Offered]:
    """Remember what the answer to `session/new` (or load, or resume) offers; return the modes
    and the models."""
    listed = list_of(result.get("configOptions")) or []
    take_options(state, listed)
    state.options = listed
    modes = _legacy(result.get("modes"), "Modes", "id")
    models = _legacy(result.get("models"), "Models", "modelId")
    state.plain_modes = [choice.id for choice in modes.choices]
    state.has_plain_models = bool(models.choices)
    if state.mode_option:
        modes = _offered(_option_of(listed, "mode"))
    if state.model_option:
        models = _offered(_option_of(listed, "model"))
    return modes, models


def mode_route(state: State, mode: str, *, is_forced: bool = False) -> Route | None:
    """Return the request that sets `mode`, or None when the agent does not offer it.

    Args:
        is_forced: The agent is known to have modes it does not list.
    """
    if state.mode_option and mode in state.option_modes:
        return option_route(state.mode_option, mode)
    if mode in state.plain_modes or is_forced:
        return Route("session/set_mode", {"modeId": mode})
    return None


def model_route(state: State, model: str) -> Route | None:
    """Return the request that sets `model`, or None when the agent has no such choice at all.

    A model that is not listed is tried all the same: agents accept more names than they list.
    """
    if state.model_option:
        return option_route(state.model_option, model)
    if state.has_plain_models:
        return Route("session/set_model", {"modelId": model})
    return None


def option_route(option: str, value: str | bool) -> Route:  # noqa: FBT001 - the option's value
    """Return the request that sets one of the agent's own options."""
    params: dict[str, Any] = {"configId": option, "value": value}
    if isinstance(value, bool):
        params["type"] = "boolean"
    return Route("session/set_config_option", params)


def _option_of(listed: list[Any], category: str) -> dict[str, Any] | None:
    options = [fields for each in listed if (fields := dict_of(each))]
    for fields in options:
        if fields.get("category") == category and _id_of(fields):
            return fields
    for fields in options:
        if fields.get("category") is None and fields.get("id") == category:
            return fields
    return None


def _id_of(option: Any) -> str | None:
    return text_of((dict_of(option) or {}).get("id"))


def _current(option: dict[str, Any] | None) -> str | None:
    return text_of((option or {}).get("currentValue"))


def _offered(option: dict[str, Any] | None) -> Offered:
    return Offered(_values(option), _current(option))


def _values(option: dict[str, Any] | None) -> list[Choice]:
    choices: list[Choice] = []
    for each in list_of((option or {}).get("options")) or []:
        fields = dict_of(each) or {}
        group = list_of(fields.get("options"))
        choices += _choices(group, "value") if group is not None else _choices([each], "value")
    return choices


def _legacy(given: Any, noun: str, key: str) -> Offered:
    fields = dict_of(given) or {}
    listed = list_of(fields.get(f"available{noun}")) or []
    current = text_of(fields.get(f"current{noun.removesuffix('s')}Id"))
    return Offered(_choices(listed, key), current)


def _choices(listed: list[Any], key: str) -> list[Choice]:
    choices: list[Choice] = []
    for each in listed:
        fields = dict_of(each) or {}
        value = text_of(fields.get(key))
        if value is not None:
            name = text_of(fields.get("name")) or value
            choices.append(Choice(value, name, text_of(fields.get("description")) or ""))
    return choices


def read_methods(listed: Any) -> list[Choice]:
    """Return the ways to log in that an agent names."""
    return _choices(list_of(listed) or [], "id")
