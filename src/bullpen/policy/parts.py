"""A shell line taken apart into everything that is judged: programs, files, hosts.

`take_apart` follows wrappers into what they run. Each `Part` is one command that really runs, with
the directory it runs in as far as that can be known.
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bullpen.policy.shell import Command, Line, Redirect, read_line
from bullpen.policy.word import Word
from bullpen.policy.wrappers import Inside, inside

_DEEPEST: Final = 12
"""Wrappers in wrappers beyond this are not followed, and not whole."""
_HARMLESS: Final = re.compile(
    r"(LANG|LC_\w+|TZ|CI|TERM|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|CLICOLOR\w*|DEBUG|VERBOSE|RUST_LOG"
    r"|RUST_BACKTRACE|NODE_ENV|PYTHONDONTWRITEBYTECODE|PYTHONUNBUFFERED|PYTEST_\w+|GIT_PAGER_IN_USE"
    r"|HUSKY|CARGO_TERM_COLOR|TEST_\w+|APP_ENV|RAILS_ENV|[A-Z]+_LOG_LEVEL|LOG_LEVEL)"
)
"""Variables that change no program's deeds; any other may (`LD_PRELOAD`, `PATH`, `GIT_SSH`)."""
_KEYWORDS: Final = frozenset({"[", "[[", "test", "true", "false", ":", "local", "unset", "shift"})


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One command that runs, or files a shell opens by itself."""

    program: str | None
    """Its name without folders; None when it cannot be known, empty for redirections alone."""
    path: str = ""
    """The program as it was written."""
    words: Sequence[Word] = ()
    """What stands behind the program."""
    redirects: Sequence[Redirect] = ()
    directory: str | None = None
    """Where it runs; None when that cannot be known."""
    is_opaque: bool = False
    """Whether it runs something that cannot be known, or in an odd environment."""
    is_transparent: bool = False
    """Whether it does nothing but run another part."""

    @property
    def text(self) -> str:
        """The command as one line, for people."""
        return " ".join([self.path or (self.program or "?"), *(word.text for word in self.words)])


class Parts(msgspec.Struct, frozen=True):
    """A line taken apart."""

    parts: list[Part]
    is_whole: bool


def take_apart(text: str, *, directory: str, known: Mapping[str, str]) -> Parts:
    """Return all that runs when a shell is told `text` in `directory`."""
    taker = _Taker(known)
    taker.line(text, directory, 0)
    return Parts(taker.parts, taker.is_whole)


def take_argv(argv: Sequence[str], *, directory: str, known: Mapping[str, str]) -> Parts:
    """Return all that runs when a program is started without a shell."""
    taker = _Taker(known)
    taker.words([Word(each) for each in argv], Command(words=[]), directory, 0)
    return Parts(taker.parts, taker.is_whole)


class _Taker:
    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known
        self.parts: list[Part] = []
        self.is_whole = True

    def line(self, text: str, directory: str | None, depth: int) -> None:
        known = dict(self._known)
        if directory is not None:
            known["PWD"] = directory
        read: Line = read_line(text, known)
        self.is_whole = self.is_whole and read.is_whole and depth < _DEEPEST
        here = directory
        for command in read.commands if depth < _DEEPEST else ():
            if command.words and command.words[0].text in read.functions:
                # It does what the line says, and that is in the list already.
                continue
            self.words(command.words, command, here, depth)
            here = _moved(command.words, here, home=self._known.get("HOME"))

    def words(
        self, words: Sequence[Word], command: Command, directory: str | None, depth: int
    ) -> None:
        odd = any(not _HARMLESS.fullmatch(name) for name in command.variables)
        if not words:
            self._no_words(command, directory)
            return
        head, rest = words[0], list(words[1:])
        program = _program(head)
        found = (
            [] if program is None else inside(program, rest, command.body, is_fed=command.is_fed)
        )
        odd = odd or (program == "env" and _sets_odd(rest))
        self.parts.append(
            Part(
                program=program,
                path=head.text,
                words=rest,
                redirects=command.redirects,
                directory=directory,
                is_opaque=odd or any(one.words is None and one.line is None for one in found),
                is_transparent=bool(found) and all(one.is_transparent for one in found) and not odd,
            )
        )
        for one in found:
            self._inside(one, directory, depth)

    def _no_words(self, command: Command, directory: str | None) -> None:
        odd = any(not _HARMLESS.fullmatch(name) for name in command.variables)
        if command.redirects or odd:
            self.parts.append(
                Part(program="", redirects=command.redirects, directory=directory, is_opaque=odd)
            )

    def _inside(self, one: Inside, directory: str | None, depth: int) -> None:
        if depth >= _DEEPEST:
            self.is_whole = False
            return
        here = None if one.is_elsewhere else directory
        if one.line is not None:
            self.line(one.line, here, depth + 1)
        elif one.words:
            self.words(one.words, Command(words=[]), here, depth + 1)


def _program(head: Word) -> str | None:
    if not head.is_known or not head.text or any(mark in head.text for mark in "*?["):
        return head.text if head.text in _KEYWORDS else None
    name = head.text.rpartition("/")[2]
    # Letters that look like others must not pass for them.
    return name if name.isascii() else None


def _sets_odd(words: Sequence[Word]) -> bool:
    for word in words:
        name, equals, _ = word.text.partition("=")
        if equals and not name.startswith("-"):
            if not _HARMLESS.fullmatch(name):
                return True
        elif not word.text.startswith("-"):
            return False
    return False


def _moved(words: Sequence[Word], directory: str | None, *, home: str | None) -> str | None:
    """Return the directory behind a command that may have changed it."""
    if not words or words[0].text not in ("cd", "pushd", "popd", "chdir"):
        return directory
    targets = [word for word in words[1:] if not word.text.startswith("-")]
    if len(targets) != 1 or not targets[0].is_known or directory is None:
        return None
    text = targets[0].text
    if home is not None and (text == "~" or text.startswith("~/")):
        text = home + text[1:]
    if text.startswith("~") or any(mark in text for mark in "*?["):
        return None
    return posixpath.normpath(posixpath.join(directory, text))
