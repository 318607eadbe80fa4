"""How git is called: its environment, its identity, what it printed.

Every call is made so that neither the user's environment nor their configuration changes what we
read or write: variables that point git at another repository are dropped, hooks, signing, pagers,
editors, prompts, the file-system monitor and background maintenance are off.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bullpen.process import Done, run

READ_TIMEOUT = 60.0
"""Seconds for a verb that only reads; the largest repositories need a few."""
WRITE_TIMEOUT = 900.0
"""Seconds for a verb that writes many files; a cold disk and a smudge filter can need minutes."""

_DROPPED = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_ATTR_SOURCE",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_DEFAULT_HASH",
        "GIT_DIFF_OPTS",
        "GIT_DIR",
        "GIT_EXTERNAL_DIFF",
        "GIT_GRAFT_FILE",
        "GIT_ICASE_PATHSPECS",
        "GIT_GLOB_PATHSPECS",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INDEX_VERSION",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_LITERAL_PATHSPECS",
        "GIT_NAMESPACE",
        "GIT_NOGLOB_PATHSPECS",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REFLOG_ACTION",
        "GIT_REPLACE_REF_BASE",
        "GIT_SEQUENCE_EDITOR",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
"""Set by git for its hooks, so also seen by anything a hook starts, such as us."""

_SETTINGS = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.safecrlf", "false"),
    ("core.splitIndex", "false"),
    ("commit.gpgSign", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("core.quotePath", "false"),
    ("diff.orderFile", os.devnull),
    ("status.submoduleSummary", "false"),
    ("submodule.recurse", "false"),
    ("advice.detachedHead", "false"),
    # Two halve a cold checkout; more only compete with the checkouts of other sessions.
    ("checkout.workers", "2"),
)


@dataclass(frozen=True)
class Signature:
    """Who a commit is by, where the user has not told git who they are."""

    name: str = "Bullpen"
    email: str = "bullpen@localhost"


def git_environment(*, reads: bool = False) -> dict[str, str]:
    """Return the whole environment for one git command.

    With `reads`, git takes no lock it could do without, so that it never stands in the way of a
    git command of the user or of an agent.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _DROPPED and not name.startswith("GIT_TRACE")
    }
    kept |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": ":", "GIT_PAGER": "cat"}
    kept["GIT_OPTIONAL_LOCKS"] = "0" if reads else "1"
    count = kept.get("GIT_CONFIG_COUNT", "")
    first = int(count) if count.isdecimal() else 0
    for number, (key, value) in enumerate(_SETTINGS, first):
        kept[f"GIT_CONFIG_KEY_{number}"] = key
        kept[f"GIT_CONFIG_VALUE_{number}"] = value
    kept["GIT_CONFIG_COUNT"] = str(first + len(_SETTINGS))
    return kept


async def read(
    *args: str,
    cwd: Path,
    check: bool = True,
    stdin: bytes = b"",
    extra: Mapping[str, str] | None = None,
) -> Done:
    """Run a git command that changes nothing.

    Raises:
        CommandFailed: git ended with another code than 0 and `check` is true.
        CommandTimedOut: it took longer than `READ_TIMEOUT`.
        ProgramNotFound: git is not installed.
    """
    env = git_environment(reads=True) | dict(extra or {})
    argv = ["git", *args]
    return await run(argv, cwd=cwd, env=env, stdin=stdin, check=check, timeout=READ_TIMEOUT)


async def write(
    *args: str,
    cwd: Path,
    check: bool = True,
    stdin: bytes = b"",
    extra: Mapping[str, str] | None = None,
) -> Done:
    """Run a git command that changes something. Errors as `read`, with `WRITE_TIMEOUT`."""
    env = git_environment() | dict(extra or {})
    argv = ["git", *args]
    return await run(argv, cwd=cwd, env=env, stdin=stdin, check=check, timeout=WRITE_TIMEOUT)


async def identity_environment(cwd: Path, fallback: Signature) -> dict[str, str]:
    """Return variables that name an author and committer where the user configured none.

    Never overrides what the user configured. Names that git would guess from the host are not
    taken: they differ between machines and are refused by some.
    """
    strict = git_environment(reads=True)
    number = strict["GIT_CONFIG_COUNT"]
    strict |= {
        f"GIT_CONFIG_KEY_{number}": "user.useConfigOnly",
        f"GIT_CONFIG_VALUE_{number}": "true",
        "GIT_CONFIG_COUNT": str(int(number) + 1),
    }
    found: dict[str, str] = {}
    for role in ("AUTHOR", "COMMITTER"):
        argv = ["git", "var", f"GIT_{role}_IDENT"]
        done = await run(argv, cwd=cwd, env=strict, check=False, timeout=READ_TIMEOUT)
        if done.exit_code != 0:
            found |= {f"GIT_{role}_NAME": fallback.name, f"GIT_{role}_EMAIL": fallback.email}
    return found


def text(output: bytes) -> str:
    """Return output that is one value, without the newline git puts behind it."""
    return os.fsdecode(output.removesuffix(b"\n"))


def paths(output: bytes) -> list[str]:
    """Return the NUL-ended paths in `output`.

    A path whose bytes are not UTF-8 holds surrogates: it names its file exactly, but cannot be
    encoded. `printable` makes it fit for people and for JSON.
    """
    return [os.fsdecode(part) for part in output.split(b"\0") if part]


def printable(path: str) -> str:
    r"""Return `path` as text that can be encoded; bytes that are not UTF-8 show as `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def nul_ended(names: Sequence[str]) -> bytes:
    """Return paths in the form git takes on its stdin."""
    return b"".join(os.fsencode(name) + b"\0" for name in names)


def complaint(stderr: bytes) -> str:
    """Return what git said on stderr, as text."""
    return stderr.decode("utf-8", "backslashreplace").strip()
