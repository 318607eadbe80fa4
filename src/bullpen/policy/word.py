"""Words of a shell line: what they say, and whether that can be known before it runs."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from tree_sitter import Node

_ESCAPES: Final = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "?": "?",
}
_ANSI: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})|(.))",
    re.DOTALL,
)
_BRACES: Final = re.compile(r"\{[^{}]*(,|\.\.)[^{}]*\}")


class Word(msgspec.Struct, frozen=True):
    """One word. `is_known` is False when only the running shell knows what it says."""

    text: str
    is_known: bool = True


def read_word(node: Node, known: Mapping[str, str]) -> Word:
    """Return what `node` says; `known` are variables whose values are certain."""
    read = _READERS.get(node.type)
    if read is not None:
        return read(node, known)
    if node.child_count == 0 and node.type in ("word", "number", "variable_name"):
        return _plain(_text(node))
    return Word(_text(node), is_known=False)


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _plain(text: str) -> Word:
    """A word without quotes: a backslash takes the meaning from what follows."""
    said = re.sub(r"\\\n", "", text)
    said = re.sub(r"\\(.)", r"\1", said, flags=re.DOTALL)
    return Word(said, is_known=not _BRACES.search(text))


def _single(node: Node, _known: Mapping[str, str]) -> Word:
    return Word(_text(node)[1:-1])


def _ansi(node: Node, _known: Mapping[str, str]) -> Word:
    return Word(_ANSI.sub(_ansi_escape, _text(node)[2:-1]))


def _ansi_escape(found: re.Match[str]) -> str:
    for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
        if found[group]:
            number = int(found[group], base)
            return chr(number) if number < 0x110000 else "\ufffd"
    return _ESCAPES.get(found[5], "\\" + found[5])


def _double(node: Node, known: Mapping[str, str]) -> Word:
    """What stands between double quotes; text between the parts the grammar names is literal."""
    raw, said, is_known = node.text or b"", b"", True
    at = 1
    for child in node.children:
        start, end = child.start_byte - node.start_byte, child.end_byte - node.start_byte
        if child.type == '"':
            continue
        said += raw[at:start]
        if child.type == "string_content":
            said += raw[start:end]
        else:
            inner = read_word(child, known)
            said += inner.text.encode()
            is_known = is_known and inner.is_known
        at = end
    said += raw[at : len(raw) - 1]
    text = re.sub(r'\\([$`"\\])', r"\1", said.decode("utf-8", "replace").replace("\\\n", ""))
    return Word(text, is_known)


def _joined(node: Node, known: Mapping[str, str]) -> Word:
    parts = [read_word(child, known) for child in node.children]
    is_known = all(part.is_known for part in parts) and not _BRACES.search(_text(node))
    return Word("".join(part.text for part in parts), is_known)


def _variable(node: Node, known: Mapping[str, str]) -> Word:
    name = _text(node).strip("${}")
    if name in known:
        return Word(known[name])
    return Word(_text(node), is_known=False)


def _name(node: Node, known: Mapping[str, str]) -> Word:
    return read_word(node.children[0], known) if node.child_count == 1 else _joined(node, known)


_READERS: Final = {
    "raw_string": _single,
    "ansi_c_string": _ansi,
    "string": _double,
    "concatenation": _joined,
    "simple_expansion": _variable,
    "expansion": _variable,
    "command_name": _name,
}
