"""Every command a shell line would run, through lists, pipes, substitutions and redirections.

What the grammar cannot read is never passed over: the line is then not `whole`, and nobody may
allow it.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from bullpen.policy.word import Word, read_word

MAX_CHARS: Final = 100_000
"""Longer lines are not read; they are not whole."""
_LANGUAGE: Final = Language(tree_sitter_bash.language())
_ARGUMENTS: Final = frozenset(
    {
        "word",
        "number",
        "string",
        "raw_string",
        "ansi_c_string",
        "concatenation",
        "simple_expansion",
        "expansion",
        "command_substitution",
        "process_substitution",
        "brace_expression",
        "arithmetic_expansion",
        "translated_string",
        "regex",
        "extglob_pattern",
        "test_operator",
        "special_variable_name",
        "==",
        "=~",
        "=",
    }
)
_READS: Final = ("<", "<&", "<<<")


class Redirect(msgspec.Struct, frozen=True):
    """A file a shell opens by itself."""

    path: Word
    is_write: bool


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One simple command as it stands in the line."""

    words: list[Word]
    """The program first; empty for an assignment or a redirection alone."""
    variables: dict[str, Word] = {}
    """Set for this command, or for the shell when there are no words."""
    redirects: list[Redirect] = []
    body: str | None = None
    """What a here-document or here-string feeds it."""
    is_fed: bool = False
    """Whether another command feeds it."""
    is_defined: bool = False
    """Whether it stands in the body of a function."""


class Line(msgspec.Struct, frozen=True):
    """A shell line, read."""

    commands: list[Command]
    """In the order in which they stand in it."""
    is_whole: bool
    """Whether nothing in the line escaped the reader."""
    functions: list[str] = []
    """Names that mean what the line says and not what they usually do."""


def read_line(text: str, known: Mapping[str, str]) -> Line:
    """Return every command in `text`. Never raises.

    Args:
        text: As a shell would get it.
        known: Variables whose values are certain, such as HOME and PWD.
    """
    if len(text) > MAX_CHARS or "\0" in text:
        return Line([], is_whole=False)
    # A line feed behind a carriage return ends a line for us and not for the shell.
    is_odd = "\r" in text
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return Line([], is_whole=False)
    tree = Parser(_LANGUAGE).parse(raw)
    reader = _Reader(known)
    reader.walk(tree.root_node, _Around())
    whole = not tree.root_node.has_error and not reader.is_lost and not is_odd
    return Line(reader.commands, whole, reader.functions)


class _Around(msgspec.Struct, frozen=True, kw_only=True):
    """What encloses a node."""

    redirects: tuple[Redirect, ...] = ()
    body: str | None = None
    is_fed: bool = False
    is_defined: bool = False


class _Reader:
    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known
        self.commands: list[Command] = []
        self.functions: list[str] = []
        self.is_lost = False

    def walk(self, root: Node, around: _Around) -> None:
        """Read all below `root`. A stack of ours: a line may be nested deeper than Python."""
        stack = [(root, around)]
        while stack:
            node, here = stack.pop()
            below = self._read(node, here)
            stack.extend(reversed(below))

    def _read(self, node: Node, around: _Around) -> list[tuple[Node, _Around]]:
        kind = node.type
        if kind == "ERROR" or node.is_missing:
            self.is_lost = True
        if kind in ("command", "declaration_command", "unset_command", "test_command"):
            return self._command(node, around)
        if kind == "redirected_statement":
            return self._redirected(node, around)
        if kind == "pipeline":
            return self._pipeline(node, around)
        if kind == "function_definition":
            names = [child for child in node.children if child.type == "word"]
            self.functions += [read_word(name, self._known).text for name in names[:1]]
            around = msgspec.structs.replace(around, is_defined=True)
        if kind == "variable_assignment":
            self._assigned(node, around)
        if kind == "for_statement":
            # Its variable takes any value.
            self.is_lost = self.is_lost or node.child_by_field_name("variable") is None
        return [(child, around) for child in node.children]

    def _assigned(self, node: Node, around: _Around) -> None:
        name, value = _assignment(node, self._known)
        made = Command(words=[], variables={name: value}, is_defined=around.is_defined)
        self.commands.append(made)

    def _pipeline(self, node: Node, around: _Around) -> list[tuple[Node, _Around]]:
        below: list[tuple[Node, _Around]] = []
        is_fed = around.is_fed
        for child in node.children:
            below.append((child, msgspec.structs.replace(around, is_fed=is_fed)))
            is_fed = is_fed or child.type in ("|", "|&")
        return below

    def _redirected(self, node: Node, around: _Around) -> list[tuple[Node, _Around]]:
        redirects = list(around.redirects)
        body = around.body
        inner: list[Node] = []
        for child in node.children:
            if child.type == "file_redirect":
                redirects += self._redirect(child)
                inner += [each for each in child.children if each.is_named]
            elif child.type in ("heredoc_redirect", "herestring_redirect"):
                body = self._fed_body(child)
                redirects += [
                    one
                    for each in child.children
                    if each.type == "file_redirect"
                    for one in self._redirect(each)
                ]
                inner += [each for each in child.children if each.type != "heredoc_body"]
                inner += _substitutions(child)
        here = msgspec.structs.replace(around, redirects=tuple(redirects), body=body)
        plain = msgspec.structs.replace(around, redirects=(), body=None)
        statement = node.child_by_field_name("body")
        if statement is None:
            words = Command(words=[], redirects=redirects, is_defined=around.is_defined)
            self.commands.append(words)
            return [(each, plain) for each in inner]
        return [(statement, here), *((each, plain) for each in inner)]

    def _redirect(self, node: Node) -> list[Redirect]:
        operator = next((c.type for c in node.children if c.type in _OPERATORS), ">")
        targets = [c for c in node.children if c.is_named and c.type != "file_descriptor"]
        if operator in (">&", "<&") and targets and targets[-1].type == "number":
            return []
        return [
            Redirect(read_word(each, self._known), is_write=operator not in _READS)
            for each in targets
        ]

    def _fed_body(self, node: Node) -> str | None:
        if node.type == "herestring_redirect":
            word = read_word(node.children[-1], self._known)
            return word.text if word.is_known else None
        for child in node.children:
            if child.type == "heredoc_body":
                return (child.text or b"").decode("utf-8", "replace")
        return ""

    def _command(self, node: Node, around: _Around) -> list[tuple[Node, _Around]]:
        words: list[Word] = []
        variables: dict[str, Word] = {}
        redirects = list(around.redirects)
        body = around.body
        for child in node.children:
            if child.type == "variable_assignment":
                name, value = _assignment(child, self._known)
                if node.type == "command":
                    variables[name] = value
                else:
                    words.append(Word(f"{name}={value.text}", value.is_known))
            elif child.type == "command_name" or child.type in _ARGUMENTS:
                words.append(read_word(child, self._known))
            elif child.type == "file_redirect":
                redirects += self._redirect(child)
            elif child.type in ("heredoc_redirect", "herestring_redirect"):
                body = self._fed_body(child)
            elif node.type != "command":
                words.append(Word((child.text or b"").decode("utf-8", "replace")))
        made = Command(
            words=words,
            variables=variables,
            redirects=redirects,
            body=body,
            is_fed=around.is_fed,
            is_defined=around.is_defined,
        )
        self.commands.append(made)
        inner = _Around(is_defined=around.is_defined)
        return [(found, inner) for found in _substitutions(node)]


_OPERATORS: Final = (">", ">>", "<", ">&", "<&", "&>", "&>>", ">|", "<>")
_SUBSTITUTIONS: Final = ("command_substitution", "process_substitution")


def _substitutions(node: Node) -> list[Node]:
    """Return the outermost substitutions below `node`, wherever a word hides them."""
    found: list[Node] = []
    stack = list(node.children)
    while stack:
        one = stack.pop()
        if one.type in _SUBSTITUTIONS:
            found.append(one)
        else:
            stack.extend(one.children)
    return found


def _assignment(node: Node, known: Mapping[str, str]) -> tuple[str, Word]:
    name = node.child_by_field_name("name")
    value = node.child_by_field_name("value")
    text = (name.text or b"").decode("utf-8", "replace") if name is not None else ""
    return text, read_word(value, known) if value is not None else Word("")
