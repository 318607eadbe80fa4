"""The verdict over a deed.

Protections first. Then the first `deny` that fits anything in it, of whatever scope. Then each
part of it is looked up from the narrowest scope to the widest, `ask` before `allow` within one;
the deed is allowed when every part is. What cannot be known is never allowed.
"""

import posixpath
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bullpen.model.fact import Deed
from bullpen.policy.parts import Part, Parts, take_apart, take_argv
from bullpen.policy.protect import (
    Ground,
    holds_hidden,
    is_below,
    is_fixed,
    is_hidden,
    is_own_verb,
    names_hidden,
)
from bullpen.policy.rule import (
    NARROWEST_FIRST,
    Effect,
    Rule,
    fits_command,
    fits_path,
    loosely_unknown,
)
from bullpen.policy.word import Word

_WRITING: Final = frozenset({"edit", "delete", "move"})
_DESTROYERS: Final = frozenset({"rm", "mv", "rmdir", "unlink", "shred", "find", "rsync", "git"})
_READERS: Final = frozenset(
    {
        *("cat", "head", "tail", "less", "more", "grep", "rg", "ls", "stat", "file", "wc", "diff"),
        *("git", "cmp", "md5sum", "sha256sum", "od", "xxd", "strings", "tree", "du", "find"),
    }
)


_FLAT: Final = frozenset(
    {"cd", "pushd", "ls", "stat", "test", "[", "[[", "mkdir", "echo", "printf"}
)
# What lies below a folder does not matter to these.


class Finding(msgspec.Struct, frozen=True):
    """What one part of a deed came to. `effect` None means that no rule is about it."""

    what: str
    effect: Effect | None
    why: str
    rule: Rule | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What a whole deed came to; None means that no rule decides, so the user is asked."""

    effect: Effect | None
    why: str
    rule: Rule | None
    findings: list[Finding]


def judge(deed: Deed | None, rules: Sequence[Rule], ground: Ground, *, now: float) -> Verdict:
    """Return the verdict over `deed` under `rules`. Never raises.

    Args:
        deed: None when the agent did not say what it wants; no rule can allow that.
        now: Seconds since the epoch, for rules that expire.
    """
    if deed is None:
        return Verdict(None, "the agent does not say what it wants to do", None, [])
    valid = [rule for rule in rules if rule.expires is None or rule.expires > now]
    findings = _Judge(deed, valid, ground).findings()
    return _summed(findings)


def _summed(findings: list[Finding]) -> Verdict:
    for effect in (Effect.DENY, Effect.ASK):
        for finding in findings:
            if finding.effect is effect:
                return Verdict(effect, finding.why, finding.rule, findings)
    for finding in findings:
        if finding.effect is None:
            return Verdict(None, finding.why, None, findings)
    if not findings:
        return Verdict(None, "there is nothing in it a rule could be about", None, findings)
    return Verdict(Effect.ALLOW, findings[0].why, findings[0].rule, findings)


class _Judge:
    def __init__(self, deed: Deed, rules: Sequence[Rule], ground: Ground) -> None:
        self._deed = deed
        self._rules = rules
        self._ground = ground
        base = deed.directory or ground.place
        self._base = ground.resolve(posixpath.join(ground.place, base))

    def findings(self) -> list[Finding]:
        deed = self._deed
        found = [self._path(path) for path in deed.paths]
        if deed.command is not None or deed.argv is not None:
            return [*found, *self._commands(self._parts())]
        if deed.kind == "execute":
            return [*found, Finding("a command", None, "its text is not known")]
        if deed.kind == "mcp":
            return [*found, self._mcp()]
        if deed.url is not None:
            return [*found, self._url(deed.url, self._rules)]
        return found or [self._bare()]

    def _parts(self) -> Parts:
        known = {"HOME": self._ground.home}
        if self._deed.command is not None:
            return take_apart(self._deed.command, directory=self._base, known=known)
        return take_argv(self._deed.argv or [], directory=self._base, known=known)

    # ---- files ---------------------------------------------------------------------------

    def _path(self, path: str) -> Finding:
        whole = self._resolved(path, self._base)
        writes = self._deed.kind in _WRITING or self._deed.kind in ("execute", "other")
        if is_hidden(self._ground, whole) or (writes and is_fixed(self._ground, whole)):
            return Finding(path, Effect.DENY, f"{path} is protected")
        if self._deed.kind in ("delete", "move") and holds_hidden(self._ground, whole):
            return Finding(path, Effect.DENY, f"something protected lies below {path}")
        return self._looked_up(path, lambda rule, _loosely: self._fits_file(rule, whole))

    def _fits_file(self, rule: Rule, whole: str) -> bool:
        if rule.command is not None or rule.mcp is not None or rule.host is not None:
            return False
        if rule.kind is not None and rule.kind != self._deed.kind:
            return False
        ground = self._ground
        if rule.path is None:
            return True
        return fits_path(rule.path, whole, place=ground.place, home=ground.home)

    def _resolved(self, path: str, base: str) -> str:
        if path == "~" or path.startswith("~/"):
            path = self._ground.home + path[1:]
        return self._ground.resolve(posixpath.join(base, path))

    # ---- commands ------------------------------------------------------------------------

    def _commands(self, parts: Parts) -> list[Finding]:
        line = self._deed.command or " ".join(self._deed.argv or [])
        found: list[Finding] = self._whole_line(line)
        if names_hidden(self._ground, line):
            found.append(Finding(line, Effect.DENY, "it names something protected"))
        if not parts.is_whole:
            found.append(Finding(line, Effect.ASK, "the line cannot be read as a whole"))
        parted = [one for part in parts.parts for one in self._part(part)]
        if found and found[-1].effect is Effect.ALLOW and not _has(parted, Effect.DENY):
            # Somebody saw this very line and said yes to all of it.
            return found
        found += parted
        return found or [Finding(line, None, "it runs nothing")]

    def _whole_line(self, line: str) -> list[Finding]:
        """Return what an exact rule says of the line as it stands."""

        def fits(rule: Rule, _loosely: bool) -> bool:  # noqa: FBT001 - a callback
            return rule.exact and rule.command == line

        finding = self._looked_up(line, fits)
        return [] if finding.effect is None else [finding]

    def _part(self, part: Part) -> list[Finding]:
        if is_own_verb(part):
            return [Finding(part.text, Effect.DENY, "an agent may not give itself leave")]
        guarded = self._guarded(part)
        if guarded is not None and guarded.effect is Effect.DENY:
            return [guarded]
        # One that only asks must not hide that a rule forbids.
        asking = [] if guarded is None else [guarded]
        return asking + self._ruled(part)

    def _ruled(self, part: Part) -> list[Finding]:
        found = [self._redirect(part, one.path) for one in part.redirects if one.is_write]
        found += [self._url(url, self._denying()) for url in _urls(part)]
        found = [one for one in found if one.effect is not None or one.what.startswith(">")]
        if part.program == "":
            return found
        return [*found, self._command(part)] if not self._is_nothing(part) else found

    def _is_nothing(self, part: Part) -> bool:
        """Whether a part does nothing by itself, so that no rule has to cover it."""
        if part.program in ("cd", "pushd", "popd", "true", "false", ":", "wait", "set"):
            return all(word.is_known for word in part.words) and not part.is_opaque
        if part.program in ("[", "[[", "test"):
            return not part.is_opaque
        return part.is_transparent and not self._is_named(part)

    def _is_named(self, part: Part) -> bool:
        return any(
            rule.command is not None
            and rule.effect is not Effect.ALLOW
            and fits_command(rule, part, loosely=True)
            for rule in self._rules
        )

    def _denying(self) -> list[Rule]:
        """Rules about hosts bind commands that name a URL, but never allow the command."""
        return [rule for rule in self._rules if rule.effect is not Effect.ALLOW]

    def _command(self, part: Part) -> Finding:
        finding = self._looked_up(part.text, lambda rule, loosely: self._fits(rule, part, loosely))
        if finding.effect is Effect.ALLOW and (part.program is None or part.is_opaque):
            return Finding(part.text, None, "what it runs is not known")
        if finding.effect is Effect.ALLOW and part.directory is None:
            return Finding(part.text, None, "where it runs is not known")
        doubtful = finding.effect is Effect.DENY and loosely_unknown(part)
        if doubtful and finding.rule is not None and not self._is_sure(finding.rule, part):
            # What the shell puts there may be what is forbidden, or may not.
            return Finding(
                part.text, Effect.ASK, f"it may be forbidden: {finding.why}", finding.rule
            )
        return finding

    def _is_sure(self, rule: Rule, part: Part) -> bool:
        if rule.command is None:
            return True
        known = [word for word in part.words if word.is_known]
        return fits_command(rule, msgspec.structs.replace(part, words=known), loosely=True)

    def _fits(self, rule: Rule, part: Part, loosely: bool) -> bool:  # noqa: FBT001 - a callback
        if rule.mcp is not None or rule.host is not None:
            return False
        if rule.kind not in (None, "execute"):
            return False
        if rule.command is not None and not fits_command(rule, part, loosely=loosely):
            return False
        if rule.path is None:
            return rule.command is not None or rule.kind == "execute" or rule.kind is None
        return self._fits_paths(rule.path, part, loosely=loosely)

    def _fits_paths(self, pattern: str, part: Part, *, loosely: bool) -> bool:
        ground = self._ground
        found = self._files(part)
        fitting = [
            path is not None and fits_path(pattern, path, place=ground.place, home=ground.home)
            for path in found
        ]
        return any(fitting) if loosely else bool(fitting) and all(fitting)

    def _files(self, part: Part) -> list[str | None]:
        """Return what may be a file among the words; None for what cannot be known."""
        found: list[str | None] = []
        for word in [*part.words, *(one.path for one in part.redirects)]:
            if word.text.startswith("-") and "=" not in word.text:
                continue
            found += [self._file(word, part)]
        return found

    def _file(self, word: Word, part: Part) -> str | None:
        if not word.is_known:
            return None
        text = word.text.partition("=")[2] if "=" in word.text else word.text
        if part.directory is None and not text.startswith(("/", "~")):
            return None
        return self._resolved(_without_glob(text), part.directory or "/")

    def _guarded(self, part: Part) -> Finding | None:
        ground = self._ground
        reads_only = part.program in _READERS and not part.redirects
        for path in self._files(part):
            if path is None:
                continue
            if is_hidden(ground, path) or (not reads_only and is_fixed(ground, path)):
                return Finding(part.text, Effect.DENY, f"{path} is protected")
            below = f"something protected lies below {path}"
            if part.program in _DESTROYERS and holds_hidden(ground, path) and _destroys(part):
                return Finding(part.text, Effect.DENY, below)
            if part.program not in _FLAT and any(is_below(one, path) for one in ground.hidden):
                return Finding(part.text, Effect.ASK, below)
        return None

    def _redirect(self, part: Part, word: Word) -> Finding:
        path = self._file(word, part)
        if path is None:
            return Finding(f"> {word.text}", None, "where it writes is not known")
        if path in ("/dev/null", "/dev/stdout", "/dev/stderr"):
            return Finding(f"> {word.text}", Effect.ALLOW, "it goes nowhere")
        if is_fixed(self._ground, path):
            return Finding(f"> {word.text}", Effect.DENY, f"{path} is protected")
        return self._looked_up(f"> {word.text}", lambda rule, _l: self._fits_written(rule, path))

    def _fits_written(self, rule: Rule, path: str) -> bool:
        if rule.command is not None or rule.mcp is not None or rule.host is not None:
            return False
        if rule.kind not in (None, "edit"):
            return False
        ground = self._ground
        if rule.path is None:
            return True
        return fits_path(rule.path, path, place=ground.place, home=ground.home)

    # ---- the rest ------------------------------------------------------------------------

    def _mcp(self) -> Finding:
        name = f"{self._deed.server or '?'}/{self._deed.mcp_tool or '?'}"

        def fits(rule: Rule, _loosely: bool) -> bool:  # noqa: FBT001 - a callback
            if rule.command is not None or rule.path is not None or rule.host is not None:
                return False
            if rule.mcp is not None:
                return fnmatchcase(name, rule.mcp) and "?" not in name
            return rule.kind in (None, "mcp")

        return self._looked_up(name, fits)

    def _url(self, url: str, rules: Sequence[Rule]) -> Finding:
        host = urlsplit(url).hostname or ""

        def fits(rule: Rule, _loosely: bool) -> bool:  # noqa: FBT001 - a callback
            if rule.command is not None or rule.path is not None or rule.mcp is not None:
                return False
            if rule.host is not None:
                return bool(host) and fnmatchcase(host.lower(), rule.host.lower())
            return rule.kind == self._deed.kind

        return self._looked_up(url, fits, rules=rules)

    def _bare(self) -> Finding:
        what = self._deed.tool or self._deed.kind

        def fits(rule: Rule, _loosely: bool) -> bool:  # noqa: FBT001 - a callback
            narrow = rule.command or rule.path or rule.mcp or rule.host
            return narrow is None and rule.kind == self._deed.kind

        return self._looked_up(what, fits)

    def _looked_up(
        self, what: str, fits: Callable[[Rule, bool], bool], *, rules: Sequence[Rule] | None = None
    ) -> Finding:
        rules = self._rules if rules is None else rules
        ordered = sorted(rules, key=_order)
        for rule in ordered:
            if rule.effect is Effect.ALLOW and rule.tightens_only:
                continue
            if fits(rule, rule.effect is not Effect.ALLOW):
                return Finding(what, rule.effect, _said(rule), rule)
        return Finding(what, None, "no rule is about it")


_EFFECTS: Final = (Effect.DENY, Effect.ASK, Effect.ALLOW)


def _order(rule: Rule) -> tuple[int, int]:
    """`deny` first, of whatever scope; then by scope, and `ask` before `allow` within one."""
    if rule.effect is Effect.DENY:
        return -1, 0
    return NARROWEST_FIRST.index(rule.scope), _EFFECTS.index(rule.effect)


def _has(findings: Sequence[Finding], effect: Effect) -> bool:
    return any(finding.effect is effect for finding in findings)


def _said(rule: Rule) -> str:
    said = [rule.command, rule.path, rule.mcp, rule.host, rule.kind]
    words = " ".join(each for each in said if each)
    return f"rule {rule.id} ({rule.effect.value} {words})" + (
        f": {rule.reason}" if rule.reason else ""
    )


def _without_glob(text: str) -> str:
    """Return the folder a glob looks in; what it finds there is not known, where it looks is."""
    for index, letter in enumerate(text):
        if letter in "*?[":
            return text[:index].rpartition("/")[0] or "."
    return text


def _destroys(part: Part) -> bool:
    words = {word.text for word in part.words}
    if part.program == "find":
        return "-delete" in words
    if part.program == "git":
        return "clean" in words
    if part.program == "rsync":
        return any(word.startswith("--delete") for word in words)
    return True


def _urls(part: Part) -> list[str]:
    return [word.text for word in part.words if "://" in word.text]
