"""What the model says next: one pure function of the script and the conversation so far."""

import itertools
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from bullpen.testing.model.script import MARK, Script, Step, read_inline
from bullpen.testing.model.tools import Call, Tools


class Item(NamedTuple):
    """One piece of a conversation: words of the `user`, `assistant` or `system`, a `call` of a
    tool, or what the `tool` answered."""

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
    calls: tuple[Call, ...] = ()
    error: dict[str, Any] | None = None
    note: str = ""
    """For the log: which step this is."""
    input_tokens: int
    output_tokens: int


_WORDS_A_SECOND: Final = 5


def next_answer(script: Script, items: Sequence[Item], tools: Tools) -> Answer:
    """Return the answer to a conversation. Never raises."""
    at = _prompt_index(script, items)
    prompt = items[at].text if at >= 0 else ""
    steps, final = _steps(script, prompt)
    done = sum(1 for item in items[at + 1 :] if item.role == "tool")
    return _played(steps, done, aside(script, final, note="final"), tools)


def aside(script: Script, text: str, *, note: str) -> Answer:
    """Return an answer that is no step of the script."""
    used = (script.input_tokens, script.output_tokens)
    return Answer(text=text, note=note, input_tokens=used[0], output_tokens=used[1])


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

    Agents add user texts of their own (reminders, context), and words of the user come in the
    middle of a turn; neither takes the prompt's place. A text that comes when a turn had ended
    does.
    """
    users = [index for index, item in enumerate(items) if item.role == "user" and item.text]
    plain = [index for index in users if not _is_context(items[index].text)]
    newest = (plain or users or [-1])[-1]
    for index in reversed(users):
        if _is_scripted(script, items[index].text):
            return newest if _has_ended(items[index + 1 : newest + 1]) else index
    return newest


def _is_context(text: str) -> bool:
    return text.lstrip().startswith("<")


def _is_scripted(script: Script, text: str) -> bool:
    if MARK in text and read_inline(text) is not None:
        return True
    return not _is_context(text) and any(
        one.when and _fits(one.when, text) for one in script.replies
    )


def _has_ended(items: Sequence[Item]) -> bool:
    """Say whether the model said something that used no tool."""
    roles = [item.role for item in items]
    return any(
        role == "assistant" and after not in ("assistant", "call")
        for role, after in itertools.pairwise(roles)
    )


def _played(steps: Sequence[Step], done: int, answer: Answer, tools: Tools) -> Answer:
    """Go through the steps; those that use tools count one result each."""
    first = done == 0
    for number, step in enumerate(steps):
        if step.verb in _MODIFIERS:
            answer = _modified(answer, step, first=first)
            continue
        calls = tools.calls(step)
        if calls and done > 0:
            done -= min(done, len(calls))
            first = done == 0
            answer = msgspec.structs.replace(answer, thought="", delay=0.0)
            continue
        if not calls and done > 0 and number < len(steps) - 1:
            # Said, and the agent went on: with a prompt in the middle of the turn, say.
            continue
        answer = msgspec.structs.replace(answer, note=f"{number}:{step.verb}")
        return _said(answer, step, calls)
    return answer


_MODIFIERS: Final = ("think", "stall", "usage")
# Steps that say nothing by themselves.


def _modified(answer: Answer, step: Step, *, first: bool) -> Answer:
    if step.verb == "usage":
        used = {f"{kind}_tokens": count for kind, count in step.argument.items()}
        return msgspec.structs.replace(answer, **used)
    if not first:
        return answer
    field = {"think": "thought", "stall": "delay"}[step.verb]
    return msgspec.structs.replace(answer, **{field: step.argument})


def _said(answer: Answer, step: Step, calls: tuple[Call, ...]) -> Answer:
    if step.verb == "error":
        return msgspec.structs.replace(answer, text="", error=step.argument)
    if step.verb == "slow":
        seconds = step.argument["seconds"]
        count = int(step.argument.get("words", max(1, seconds * _WORDS_A_SECOND)))
        begin = f"{step.say} " if step.say else ""
        text = begin + "".join(f"w{index} " for index in range(count))
        return msgspec.structs.replace(answer, text=text, seconds=seconds)
    if calls:
        return msgspec.structs.replace(answer, text=step.say, calls=calls)
    said = step.argument if step.verb == "text" else f"no tool for {step.verb}"
    return msgspec.structs.replace(answer, text=said)


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
