"""Paths of read and write sets: when two of them overlap."""

from collections.abc import Iterable, Sequence
from fnmatch import translate
from functools import lru_cache
from re import Pattern, compile

_GLOB = frozenset("*?[")


def is_named(path: str) -> bool:
    """Return whether it is no path but a thing with a name, such as `schema:orders`."""
    kind, colon, _ = path.partition(":")
    return bool(colon) and kind.isidentifier()


def clean(path: str) -> str:
    """Return `path` without what says nothing: `./`, doubled and trailing slashes."""
    if is_named(path):
        return path
    parts = [one for one in path.split("/") if one not in ("", ".")]
    return "/".join(parts)


def overlaps(one: str, other: str) -> bool:
    """Return whether two cleaned paths are the same, or one lies in the other. The empty path is
    the whole repository."""
    if is_named(one) or is_named(other):
        return one == other
    return one == other or not one or not other or _within(one, other) or _within(other, one)


def _within(path: str, folder: str) -> bool:
    return path.startswith(folder + "/")


def expand(paths: Iterable[str], files: Sequence[str]) -> tuple[str, ...]:
    """Return cleaned paths with each glob replaced by the repository's files that match it.

    `*` stays within a folder, `**` goes through any number of them. A glob that matches nothing
    yet stands for its folder: what it will make lies there.
    """
    found: dict[str, None] = {}
    for path in map(clean, paths):
        if is_named(path) or not _GLOB & set(path):
            found[path] = None
            continue
        pattern = _pattern(path)
        matched = [one for one in files if pattern.match(one)]
        found.update(dict.fromkeys(matched or [_folder(path)]))
    return tuple(found)


def _folder(glob: str) -> str:
    parts = glob.split("/")
    fixed = next(at for at, part in enumerate(parts) if _GLOB & set(part))
    return "/".join(parts[:fixed])


@lru_cache(maxsize=4096)
def _pattern(glob: str) -> Pattern[str]:
    made: list[str] = []
    for part in glob.split("/"):
        if part == "**":
            made.append("(?:[^/]+/)*")
            continue
        inner = translate(part).removeprefix("(?s:").removesuffix(r")\Z")
        made.append(inner.replace(".*", "[^/]*") + "/")
    joined = "".join(made)
    return compile(joined.removesuffix("/") + (".*" if glob.endswith("**") else "") + r"\Z")
