"""What the model says next: one pure function of the script and the conversation so far."""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from bullpen.testing.model.script import MARK, Script, Step, read_inline
from bullpen.testing.model.tools import Call, Tools


class Item(NamedTuple):
    """One piece of a conversation: `user`, `tool` (a result), `assistant` or `system`."""

    role: str
    text: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says: text, then tools; or an error."""

    text: str = ""
    thought: str = ""
    seconds: float = 0.0
    """The text is spread over so long."""
    delay: float = 0.0
    """Silence before the first word."""
    call: Call | None = None
    error: dict[str, Any] | None = None
    note: str = ""
    """For the log: which step this is."""


_WORDS_A_SECOND: Final = 5


def next_answer(script: Script, items: Sequence[Item], tools: Tools) -> Answer:
    """Return the answer to a conversation. Never raises."""
    at = _prompt_index(script, items)
    prompt = items[at].text if at >= 0 else ""
    steps, final = _steps(script, prompt)
    done = sum(1 for item in items[at + 1 :] if item.role == "tool")
    return _played(steps, done, final, tools)


def _steps(script: Script, prompt: str) -> tuple[list[Step], str]:
    inline = read_inline(prompt)
    if inline is not None:
        return inline, script.final
    for reply in script.replies:
        if _fits(reply.when, prompt):
            return reply.steps, reply.final if reply.final is not None else script.final
    return [], script.final


def _fits(when: str, prompt: str) -> bool:
    if len(when) > 1 and when.startswith("/") and when.endswith("/"):
        return re.search(when[1:-1], prompt) is not None
    return when in prompt


def _prompt_index(script: Script, items: Sequence[Item]) -> int:
    """Find the prompt that is being answered: the last user text that carries or fits a script.

    Agents add user texts of their own (reminders, context), which must not take its place.
    """
    users = [index for index, item in enumerate(items) if item.role == "user" and item.text]
    for index in reversed(users):
        if MARK in items[index].text and read_inline(items[index].text) is not None:
            return index
        if any(one.when and _fits(one.when, items[index].text) for one in script.replies):
            return index
    plain = [index for index in users if not items[index].text.lstrip().startswith("<")]
    return (plain or users or [-1])[-1]


def _played(steps: Sequence[Step], done: int, final: str, tools: Tools) -> Answer:
    """Go through the steps; those that use a tool count one result each."""
    thought, delay = "", 0.0
    for number, step in enumerate(steps):
        if step.verb == "think":
            thought = step.argument if done == 0 else ""
            continue
        if step.verb == "stall":
            delay = step.argument if done == 0 else 0.0
            continue
        call = tools.call(step)
        if call is not None and done > 0:
            done -= 1
            thought, delay = "", 0.0
            continue
        if call is None and done > 0 and number < len(steps) - 1:
            # Said, and the agent went on: with a prompt in the middle of the turn, say.
            continue
        return _said(step, call, thought=thought, delay=delay, number=number)
    return Answer(text=final, thought=thought, delay=delay, note="final")


def _said(step: Step, call: Call | None, *, thought: str, delay: float, number: int) -> Answer:
    note = f"{number}:{step.verb}"
    if step.verb == "error":
        return Answer(error=step.argument, delay=delay, note=note)
    if step.verb == "slow":
        seconds = step.argument["seconds"]
        count = int(step.argument.get("words", max(1, seconds * _WORDS_A_SECOND)))
        text = "".join(f"w{index} " for index in range(count))
        return Answer(text=text, seconds=seconds, thought=thought, delay=delay, note=note)
    if call is None:
        said = step.argument if step.verb == "text" else f"no tool for {step.verb}"
        return Answer(text=said, thought=thought, delay=delay, note=note)
    return Answer(text=step.say, call=call, thought=thought, delay=delay, note=note)


def pieces(text: str, count: int = 6) -> list[str]:
    """Cut a text into about `count` pieces, as models stream it."""
    size = max(1, len(text) // count)
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]


def timed(answer: Answer) -> list[tuple[str, float]]:
    """Return the pieces of the answer's text and the seconds to wait behind each."""
    if not answer.text:
        return []
    if answer.seconds <= 0:
        return [(piece, 0.0) for piece in pieces(answer.text)]
    words = answer.text.split(" ")[:-1]
    return [(f"{word} ", answer.seconds / len(words)) for word in words]


def filled(schema: Any) -> Any:
    """Return the least value that fits a JSON schema.

    Agents ask side questions (a title, which model to use) that want JSON and quote the prompt;
    they must never be answered from the script.
    """
    if not isinstance(schema, dict):
        return None
    fields: dict[str, Any] = schema  # pyright: ignore[reportUnknownVariableType]
    if fields.get("enum"):
        return fields["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if fields.get(key):
            return filled(fields[key][0])
    named: Any = fields.get("type", "object")
    kind = str(named[0] if isinstance(named, list) else named).lower()  # pyright: ignore
    if kind == "object":
        properties: dict[str, Any] = fields.get("properties") or {}
        return {name: filled(each) for name, each in properties.items()}
    plain: dict[str, Any] = {"array": [], "string": "x", "number": 1, "integer": 1}
    return plain.get(kind, False if kind == "boolean" else None)
