"""The form of a script: which steps there are and how a brief is read into them."""

import re
from collections.abc import Callable, Generator, Iterator
from math import inf
from typing import Any, NamedTuple

Json = dict[str, Any]
Arguments = dict[str, Any]

NUMBERS: dict[str, type[int] | type[float]] = {
    "SECONDS": float,
    "AMOUNT": float,
    "N": int,
    "LENGTH": int,
    "CODE": int,
    "USED": int,
    "SIZE": int,
    "INPUT": int,
    "OUTPUT": int,
}
"""The words of a usage that stand for numbers. Only CODE may be below zero."""


class Pause(NamedTuple):
    """What a step waits for: a moment of the monotonic clock, a readable file, or (neither) an
    answer of the client. The first that comes ends the pause."""

    until: float = inf
    fd: int = -1


Steps = Generator[Pause, Any, None]
Perform = Callable[..., Steps | None]
Read = Callable[[int, Arguments], Arguments]


class ScriptError(Exception):
    """A line of a script is no step."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")


class Verb(NamedTuple):
    """A kind of step: how it is written, what it does, how its arguments are made better."""

    usage: str
    perform: Perform
    read: Read | None


class Step(NamedTuple):
    """One line of a script."""

    line: int
    verb: Verb
    arguments: Arguments


VERBS: dict[str, Verb] = {}


def step(usage: str, *, read: Read | None = None) -> Callable[[Perform], Perform]:
    """Enter a function as the step `usage`.

    The function gets the turn, and by keyword what stands in the places of `usage`: WORDS in
    lower case, `[option=WORD]` under the name of the option. `read` may turn these into others
    when the script is read, or raise ValueError.
    """

    def enter(perform: Perform) -> Perform:
        VERBS[usage.split()[0]] = Verb(usage, perform, read)
        return perform

    return enter


def parse(text: str) -> list[Step]:
    """Return the steps of a brief, in order.

    Raises:
        ScriptError: a line is no step, or a block or body is never closed.
    """
    return list(_steps(text, bare=False))


def parse_file(text: str) -> list[Step]:
    """Return the steps of a script file: as of a brief, or each line when none is marked.

    Raises:
        ScriptError: as `parse`.
    """
    marked = re.search(r"^\s*(%%\s|`{3,}demo\s*$)", text, re.MULTILINE)
    return list(_steps(text, bare=not marked))


def parse_line(number: int, words: str) -> Step:
    """Return the step one line without its mark says.

    Raises:
        ScriptError: it is none.
    """
    return _step(number, words, iter(()))


def _steps(text: str, *, bare: bool) -> Iterator[Step]:
    # Not splitlines: that also cuts at form feeds, and at line separators within prose.
    lines = enumerate((line.rstrip("\r") for line in text.split("\n")), 1)
    fence, opened = "", 0
    for number, line in lines:
        words = line.strip()
        opening = re.fullmatch(r"(`{3,})demo", words)
        if opening and not fence:
            fence, opened = opening[1], number
        elif fence and words == fence:
            fence = ""
        elif marked := _unmarked(words, bare=bare or bool(fence)):
            yield _step(number, marked, lines)
    if fence:
        raise ScriptError(opened, "the block is never closed")


def _unmarked(words: str, *, bare: bool) -> str:
    mark = re.match(r"%%\s+", words)
    if mark:
        return words[mark.end() :]
    return words if bare and not words.startswith("#") else ""


def _step(number: int, words: str, lines: Iterator[tuple[int, str]]) -> Step:
    name, rest = _first(words)
    verb = VERBS.get(name)
    if verb is None:
        raise ScriptError(number, f"there is no step {name!r}; --help lists them all")
    body, rest = _body(number, rest, lines)
    try:
        arguments = _arguments(verb.usage, rest, body)
        return Step(number, verb, verb.read(number, arguments) if verb.read else arguments)
    except ValueError as error:
        raise ScriptError(number, f"{error}; the step is: {verb.usage}") from error


def _body(number: int, rest: str, lines: Iterator[tuple[int, str]]) -> tuple[str | None, str]:
    start = re.search(r"(?:^|\s)<<(\w+)$", rest)
    if not start:
        return None, rest
    body: list[str] = []
    for _, line in lines:
        if line.strip() == start[1]:
            return "\n".join(body), rest[: start.start()]
        body.append(line)
    raise ScriptError(number, f"the body is never closed by a line {start[1]!r}")


def _arguments(usage: str, rest: str, body: str | None) -> Arguments:
    places = usage.split()[1:]
    options = dict(place.strip("[]").split("=") for place in places if "=" in place)
    found: Arguments = {}
    while (option := re.match(r"(\w+)=(\S+)\s*", rest)) and option[1] in options:
        found[option[1]] = _value(options[option[1]], option[2])
        rest = rest[option.end() :]
    words = [place for place in places if "=" not in place]
    for word in words[:-1]:
        value, rest = _first(rest)
        found |= _filled(word, value)
    if words:
        found |= _last(words[-1], rest, body)
    elif rest or body is not None:
        raise ValueError("nothing may follow here")
    return found


def _first(rest: str) -> tuple[str, str]:
    word, _, rest = rest.partition(" ")
    return word, rest.strip()


def _last(word: str, rest: str, body: str | None) -> Arguments:
    if rest and body is not None:
        raise ValueError(f"{word.strip('[]')} is given twice, on the line and as a body")
    return _filled(word, rest) if body is None else {word.strip("[]").lower(): body}


def _filled(word: str, value: str) -> Arguments:
    name = word.strip("[]")
    if value:
        return {name.lower(): _value(name, value)}
    if name == word:
        raise ValueError(f"{name} is missing")
    return {}


def _value(name: str, value: str) -> str | int | float:
    if name not in NUMBERS:
        return value
    try:
        number = NUMBERS[name](value)
    except ValueError:
        raise ValueError(f"{name} must be a number, not {value!r}") from None
    if name != "CODE" and not 0 <= number < inf:
        raise ValueError(f"{name} must not be {value!r}")
    return number
