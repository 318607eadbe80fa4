"""What no rule can open: our own configuration, state, sockets and tokens, and the hooks of a
repository. An agent that could write these could give itself leave."""

import posixpath
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bullpen.policy.parts import Part

_OWN_VERBS: Final = frozenset(
    {"policy", "approve", "deny", "answer", "approvals", "budget", "limits", "token", "serve"}
)
_OWN_PROGRAMS: Final = frozenset({"bullpen", "dev-sessions"})


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """Where a deed happens, and what lies there that is protected. Paths are absolute, and free
    of links."""

    place: str
    """Where the session works."""
    home: str
    """The user's home."""
    hidden: Sequence[str] = ()
    """Folders and files that are neither read nor written."""
    open: Sequence[str] = ()
    """Folders below hidden ones that are as free as any: places of sessions."""
    fixed: Sequence[str] = ()
    """Folders and files that are not written: hooks and configuration of git."""
    resolve: Callable[[str], str] = posixpath.normpath
    """Returns where an absolute path really leads."""


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def is_hidden(ground: Ground, path: str) -> bool:
    """Whether nobody may read or write `path`."""
    if any(is_below(path, folder) for folder in ground.open):
        return False
    return any(is_below(path, folder) for folder in ground.hidden)


def holds_hidden(ground: Ground, path: str) -> bool:
    """Whether something hidden lies below `path`, so that to delete or move it harms it."""
    return any(is_below(folder, path) for folder in (*ground.hidden, *ground.fixed))


def is_fixed(ground: Ground, path: str) -> bool:
    """Whether nobody may write `path`."""
    return is_hidden(ground, path) or any(is_below(path, one) for one in ground.fixed)


def names_hidden(ground: Ground, text: str) -> bool:
    """Whether the text of a program names something hidden, however it is spelled."""
    spelled = text.replace("~", ground.home).replace("$HOME", ground.home)
    spelled = spelled.replace("${HOME}", ground.home)
    for folder in ground.hidden:
        at = spelled.find(folder)
        while at >= 0:
            rest = spelled[at:].split()[0].strip("'\"),;")
            if not any(rest.startswith(one) for one in ground.open):
                return True
            at = spelled.find(folder, at + 1)
    return False


def is_own_verb(part: Part) -> bool:
    """Whether the command would change what agents may do, or answer for the user."""
    words = [word.text for word in part.words if not word.text.startswith("-")]
    if part.program in _OWN_PROGRAMS:
        return bool(words) and words[0] in _OWN_VERBS
    is_module = part.program is not None and part.program.startswith("python")
    return is_module and "bullpen" in words and bool(_OWN_VERBS & set(words))
