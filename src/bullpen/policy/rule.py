"""Rules: what they say, and whether one fits."""

import posixpath
import re
from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from bullpen.policy.parts import Part
from bullpen.policy.word import Word


class Effect(StrEnum):
    """What a rule, or a whole verdict, says."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Scope(StrEnum):
    """How far a rule reaches."""

    SESSION = "session"
    WORKSPACE = "workspace"
    GLOBAL = "global"


NARROWEST_FIRST: Final = (Scope.SESSION, Scope.WORKSPACE, Scope.GLOBAL)
KINDS: Final = (
    *("read", "edit", "delete", "move", "search", "execute", "fetch", "mcp"),
    *("think", "mode", "other"),
)


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule. All conditions that are given must hold."""

    id: str
    effect: Effect
    scope: Scope = Scope.GLOBAL
    kind: str | None = None
    """The kind of deed; a rule with `command` is about `execute`, with `mcp` about `mcp`, with
    `host` about `fetch` and about commands that name a URL."""
    command: str | None = None
    """Program, then words and options in any order: `git push --force`."""
    exact: bool = False
    """Whether `command` is the whole command, word for word."""
    path: str | None = None
    """`inside` or `outside` of the place, or a glob: `**/.env`, `/etc/**`, `~/.ssh/**`, `a/**`."""
    mcp: str | None = None
    """`server/tool`, both may be globs."""
    host: str | None = None
    """A host name, which may be a glob."""
    workspace: str | None = None
    """Absolute path; a rule of scope `workspace` holds below it."""
    expires: float | None = None
    """Seconds since the epoch after which it no longer holds."""
    reason: str = ""
    by: str = "user"
    added_at: float = 0.0
    tightens_only: bool = False
    """True for rules from a repository, which may not allow anything."""


_SYNONYMS: Final = {
    ("rm", "--recursive"): "-r",
    ("rm", "-R"): "-r",
    ("rm", "--force"): "-f",
    ("git push", "-f"): "--force",
    ("git branch", "--delete"): "-d",
    ("git branch", "-D"): "-d",
    ("git clean", "-f"): "--force",
    ("chmod", "-R"): "--recursive",
    ("chown", "-R"): "--recursive",
    ("sed", "--in-place"): "-i",
    ("curl", "-o"): "--output",
    ("curl", "-O"): "--output",
}
_TAKES: Final = {
    "git": ("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--super-prefix"),
    "docker": ("-H", "--host", "-c", "--context", "--config", "-l", "--log-level"),
    "podman": ("--root", "--runroot", "--url", "-c", "--connection"),
    "kubectl": ("-n", "--namespace", "--context", "--kubeconfig", "-s", "--server", "--user"),
    "npm": ("--prefix", "-C", "--workspace", "-w", "--registry", "--userconfig"),
    "pnpm": ("-C", "--dir", "--filter", "-F"),
    "yarn": ("--cwd",),
    "cargo": ("--config", "-C", "--color", "-Z"),
    "make": ("-C", "-f", "-j", "-I"),
    "pip": ("--python", "--log", "--proxy"),
    "gh": ("-R", "--repo"),
    "terraform": ("-chdir",),
    "go": ("-C",),
    "systemctl": ("-H", "-M", "--root"),
}
"""Options that take a value and stand before the subcommand."""
_ESCAPES: Final = {
    "git": (
        *("-c", "-C", "--exec-path", "--output", "--upload-pack", "--receive-pack", "--ext-diff"),
        *("--git-dir", "--work-tree", "-O", "--open-files-in-pager", "--config-env", "--textconv"),
        *("--exec", "-x", "--namespace"),
    ),
    "find": (
        *("-exec", "-execdir", "-ok", "-okdir", "-delete", "-fprint", "-fprint0", "-fprintf"),
        "-fls",
    ),
    "tar": (
        *("--to-command", "--checkpoint-action", "-I", "--use-compress-program", "--rsh-command"),
        *("-F", "--info-script", "--new-volume-script"),
    ),
    "rsync": ("-e", "--rsh", "--rsync-path"),
    "sort": ("-o", "--output", "--compress-program"),
    "sed": ("-i", "--in-place", "-f", "--file"),
    "rg": ("--pre", "--hostname-bin"),
    "grep": (),
    "curl": (
        "-o",
        "--output",
        "-O",
        "--remote-name",
        "-K",
        "--config",
        "-T",
        "--upload-file",
        "-d",
    ),
    "wget": ("-O", "--output-document", "--post-file", "--use-askpass", "-e", "--execute"),
    "less": ("-o", "-O", "-k", "--lesskey-file"),
    "man": ("-P", "--pager", "-H"),
    "tree": ("-o",),
    "date": ("-s", "--set"),
    "xxd": ("-r",),
    "diff": ("--to-file",),
    "go": ("-toolexec", "-exec", "-overlay"),
    "cargo": ("--config",),
    "npm": ("--prefix", "-C", "--script-shell", "--userconfig"),
    "make": ("-f", "-C", "--eval", "-I", "--file", "--directory"),
    "pytest": ("-c", "-p", "--rootdir", "--pyargs", "-o", "--override-ini"),
    "ls": (),
    "env": ("-S", "--split-string"),
    "ip": ("netns", "-n"),
    "awk": ("-f", "--file", "-i", "--include"),
}
"""Options that make a harmless program write, run or go elsewhere. An `allow` does not cover a
command with one of them unless the rule names it."""


def fits_command(rule: Rule, part: Part, *, loosely: bool) -> bool:
    """Whether the rule's `command` is what `part` does.

    Args:
        loosely: For `deny` and `ask`: what cannot be known may be what the rule names. Else, for
            `allow`: every word must be known and nothing may be added that escapes the rule.
    """
    assert rule.command is not None, "asked by who looks"
    if rule.exact:
        return not loosely_unknown(part) and part.text == rule.command
    named = rule.command.split()
    if not _is_program(named[0], part):
        return False
    return _covers_loosely(named, part) if loosely else _covers_strictly(named, part)


def loosely_unknown(part: Part) -> bool:
    """Whether something in the part is known to the running shell alone."""
    return part.program is None or any(not word.is_known for word in part.words)


def _is_program(name: str, part: Part) -> bool:
    if part.program is None:
        return False
    if "/" in name:
        return fnmatchcase(part.path, name)
    return fnmatchcase(part.program, name)


def _covers_loosely(named: Sequence[str], part: Part) -> bool:
    words, flags = _sorted(named[0], part.words)
    wanted = [word for word in named[1:] if not word.startswith("-")]
    options = [word for word in named[1:] if word.startswith("-")]
    if not _starts_with(words, wanted, loosely=True):
        return False
    unknown = any(not word.is_known for word in part.words)
    subject = " ".join([named[0], *wanted])
    have = _normal(subject, flags)
    return all(_has_flag(have, one, subject) or unknown for one in options)


def _covers_strictly(named: Sequence[str], part: Part) -> bool:
    if loosely_unknown(part) or part.is_opaque or ("/" in part.path and "/" not in named[0]):
        return False
    words, flags = _sorted(named[0], part.words)
    wanted = [word for word in named[1:] if not word.startswith("-")]
    options = [word for word in named[1:] if word.startswith("-")]
    if not _starts_with(words, wanted, loosely=False):
        return False
    subject = " ".join([named[0], *wanted])
    have = _normal(subject, flags)
    if not all(_has_flag(have, one, subject) for one in options):
        return False
    return not any(
        _is_escape(flag, escape) and escape not in options
        for flag in flags
        for escape in _ESCAPES.get(named[0], ())
    )


def _is_escape(flag: str, escape: str) -> bool:
    if escape.startswith("--") or len(escape) > 2:
        # Programs accept the beginning of a long option for the whole.
        return flag == escape or (
            len(flag) > 3 and flag.startswith("--") and escape.startswith(flag)
        )
    is_cluster = flag.startswith("-") and not flag.startswith("--")
    return flag == escape or (is_cluster and len(flag) > 1 and escape[1:] in flag[1:])


def _sorted(program: str, words: Sequence[Word]) -> tuple[list[Word], list[str]]:
    """Split words into plain ones and options, leaving out values of options in front."""
    takes = _TAKES.get(program, ())
    plain: list[Word] = []
    flags: list[str] = []
    skip = only_plain = False
    for word in words:
        if skip:
            skip = False
        elif only_plain or not word.text.startswith("-") or not word.is_known or word.text == "-":
            plain.append(word)
        elif word.text == "--":
            only_plain = True
        else:
            flags.append(word.text.partition("=")[0] if word.text.startswith("--") else word.text)
            skip = word.text in takes and not plain
    if program == "git" and plain and plain[0].text == "push":
        flags += ["--force" for word in plain[1:] if word.text.startswith("+")]
        flags += ["--delete" for word in plain[2:] if word.text.startswith(":")]
    return plain, flags


def _starts_with(words: Sequence[Word], wanted: Sequence[str], *, loosely: bool) -> bool:
    for index, want in enumerate(wanted):
        if index >= len(words):
            return False
        word = words[index]
        if not word.is_known and loosely:
            continue
        if not fnmatchcase(word.text, want):
            return False
    return True


def _normal(subject: str, flags: Sequence[str]) -> set[str]:
    """Return options with clusters taken apart and synonyms put in one form."""
    found: set[str] = set()
    program = subject.split()[0]
    for flag in flags:
        pieces = [flag]
        if re.fullmatch(r"-[A-Za-z]{2,}", flag):
            pieces += [f"-{letter}" for letter in flag[1:]]
        for piece in pieces:
            found.add(piece)
            found.add(_SYNONYMS.get((subject, piece), piece))
            found.add(_SYNONYMS.get((program, piece), piece))
    return found


def _has_flag(have: set[str], wanted: str, subject: str) -> bool:
    program = subject.split()[0]
    named = {
        wanted,
        _SYNONYMS.get((subject, wanted), wanted),
        _SYNONYMS.get((program, wanted), wanted),
    }
    if have & named:
        return True
    # `--forc` means `--force`, and `--force-with-lease` is a way to force.
    return any(
        one.startswith("--") and flag.startswith("--") and len(flag) > 4
        and (one.startswith(flag) or flag.startswith(one))
        for one in named
        for flag in have
    )  # fmt: skip


def fits_path(pattern: str, path: str, *, place: str, home: str) -> bool:
    """Whether an absolute path fits `pattern`; both are taken as they stand, links resolved."""
    is_inside = path == place or path.startswith(place.rstrip("/") + "/")
    if pattern in ("inside", "outside"):
        return is_inside == (pattern == "inside")
    if pattern.startswith("~"):
        pattern = home + pattern[1:]
    if not pattern.startswith(("/", "**")):
        pattern = posixpath.join(place, pattern)
    return _glob(pattern).fullmatch(path) is not None


def _glob(pattern: str) -> re.Pattern[str]:
    made = ""
    index = 0
    while index < len(pattern):
        if pattern.startswith("**/", index):
            made += "(?:.*/)?"
            index += 3
        elif pattern.startswith("/**", index) and index + 3 == len(pattern):
            made += "(?:/.*)?"
            index += 3
        elif pattern.startswith("**", index):
            made += ".*"
            index += 2
        elif pattern[index] == "*":
            made += "[^/]*"
            index += 1
        elif pattern[index] == "?":
            made += "[^/]"
            index += 1
        else:
            made += re.escape(pattern[index])
            index += 1
    return re.compile(made, re.DOTALL)
