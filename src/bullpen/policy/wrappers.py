"""Programs that run other programs: how to find the command inside.

Each wrapper says which of its words are its own; the rest is a command, judged like any other. A
wrapper that is not transparent (`sudo`, `xargs`, `ssh`, …) is a command of its own too.
"""

import shlex
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bullpen.policy.word import Word

SHELLS: Final = frozenset({"bash", "sh", "zsh", "dash", "ksh", "ash", "mksh", "fish", "rbash"})
INTERPRETERS: Final = frozenset(
    {
        *("python", "python2", "python3", "pypy", "perl", "ruby", "node", "nodejs", "deno", "bun"),
        *("php", "lua", "tclsh", "awk", "gawk", "mawk", "osascript", "Rscript", "julia", "irb"),
        *("ghci", "jshell", "groovy", "pwsh", "powershell", "expect"),
    }
)
_CODE: Final = {
    "perl": ("-e", "-E", "-n", "-p"),
    "ruby": ("-e",),
    "node": ("-e", "--eval", "-p", "--print"),
    "nodejs": ("-e", "--eval", "-p", "--print"),
    "bun": ("-e", "--eval"),
    "deno": ("eval",),
    "php": ("-r",),
    "lua": ("-e",),
    "osascript": ("-e",),
    "Rscript": ("-e",),
    "julia": ("-e",),
}


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What a wrapper runs: words of a command, or a shell line; None for what cannot be known."""

    words: Sequence[Word] | None = None
    line: str | None = None
    is_transparent: bool = False
    """Whether the wrapper does nothing but run it."""
    is_elsewhere: bool = False
    """Whether it runs on another machine or in a container, where paths mean something else."""


UNKNOWN: Final = Inside()


def inside(program: str, words: Sequence[Word], body: str | None, *, is_fed: bool) -> list[Inside]:
    """Return what `program` runs with `words` behind it; empty when it runs nothing else."""
    if program in SHELLS:
        return _shell(words, body, is_fed=is_fed)
    if program.startswith("python") or program in INTERPRETERS:
        return _interpreter(program, words, body, is_fed=is_fed)
    find = _WRAPPERS.get(program)
    return [] if find is None else find(words)


def _shell(words: Sequence[Word], body: str | None, *, is_fed: bool) -> list[Inside]:
    for index, word in enumerate(words):
        if not word.is_known:
            return [UNKNOWN]
        text = word.text
        if text in ("-c", "--command") or _has_letter(text, "c"):
            # The line is the first word that is no option behind it.
            line = next((w for w in words[index + 1 :] if not w.text.startswith(("-", "+"))), None)
            if line is None or not line.is_known:
                return [UNKNOWN]
            return [Inside(line=line.text, is_transparent=True)]
        if not text.startswith(("-", "+")):
            # A file with a script in it.
            return [UNKNOWN]
    if body is not None:
        return [Inside(line=body, is_transparent=True)]
    return [UNKNOWN] if is_fed or not _is_asking(words) else []


def _is_asking(words: Sequence[Word]) -> bool:
    return any(word.text in ("--version", "--help") for word in words)


def _has_letter(text: str, letter: str) -> bool:
    return text.startswith("-") and not text.startswith("--") and letter in text[1:]


def _interpreter(
    program: str, words: Sequence[Word], body: str | None, *, is_fed: bool
) -> list[Inside]:
    if _is_asking(words) or [word.text for word in words] in (["-V"], ["-v"]):
        return []
    flags = _CODE.get(program, ("-c",))
    is_code = any(
        word.text in flags
        or any(_has_letter(word.text, flag[1]) for flag in flags if len(flag) == 2)
        for word in words[:4]
    )
    reads = not words or words[0].text == "-" or body is not None or (is_fed and not words)
    is_awk = program.endswith("awk")
    return [UNKNOWN] if is_code or reads or is_awk else []


def _after(words: Sequence[Word], takes: Sequence[str] = (), own: int = 0) -> list[Word]:
    """Drop options, those in `takes` with their value, and then `own` words."""
    rest = list(words)
    while rest and rest[0].text.startswith("-") and rest[0].is_known:
        option = rest.pop(0).text
        if option == "--":
            break
        if option in takes and rest:
            rest.pop(0)
    return rest[own:]


def _prefix(
    takes: Sequence[str] = (), own: int = 0, *, is_transparent: bool = True
) -> Callable[[Sequence[Word]], list[Inside]]:
    def find(words: Sequence[Word]) -> list[Inside]:
        rest = _after(words, takes, own)
        return [Inside(words=rest, is_transparent=is_transparent)] if rest else []

    return find


def _env(words: Sequence[Word]) -> list[Inside]:
    rest = list(words)
    while rest:
        text = rest[0].text
        if not rest[0].is_known:
            return [UNKNOWN]
        if text in ("-S", "--split-string") or text.startswith(("-S", "--split-string=")):
            return [UNKNOWN]
        if text in ("-u", "--unset", "-C", "--chdir"):
            rest = rest[2:]
        elif text.startswith("-") or _is_assignment(text):
            rest = rest[1:]
        else:
            break
    return [Inside(words=rest, is_transparent=True)] if rest else []


def _is_assignment(text: str) -> bool:
    name, equals, _ = text.partition("=")
    return bool(equals) and name.replace("_", "a").isalnum()


def _eval(words: Sequence[Word]) -> list[Inside]:
    if not all(word.is_known for word in words):
        return [UNKNOWN]
    return [Inside(line=" ".join(word.text for word in words), is_transparent=True)]


def _line_of_rest(
    takes: Sequence[str] = (), own: int = 0
) -> Callable[[Sequence[Word]], list[Inside]]:
    """For programs that join their words and give them to a shell."""

    def find(words: Sequence[Word]) -> list[Inside]:
        rest = _after(words, takes, own)
        if not rest:
            return []
        if not all(word.is_known for word in rest):
            return [UNKNOWN]
        return [Inside(line=" ".join(word.text for word in rest), is_elsewhere=bool(own))]

    return find


def _xargs(words: Sequence[Word]) -> list[Inside]:
    takes = (
        "-I",
        "-i",
        "-n",
        "-P",
        "-L",
        "-l",
        "-s",
        "-d",
        "-E",
        "-a",
        "--max-args",
        "--max-procs",
    )
    rest = _after(words, takes)
    more = Word("…", is_known=False)
    return [Inside(words=[*(rest or [Word("echo")]), more])]


def _find(words: Sequence[Word]) -> list[Inside]:
    found: list[Inside] = []
    index = 0
    while index < len(words):
        if words[index].text in ("-exec", "-execdir", "-ok", "-okdir"):
            end = index + 1
            while end < len(words) and words[end].text not in (";", "+"):
                end += 1
            found.append(Inside(words=[_unknown_braces(each) for each in words[index + 1 : end]]))
            index = end
        index += 1
    return found


def _unknown_braces(word: Word) -> Word:
    return Word(word.text, word.is_known and "{}" not in word.text)


def _su(words: Sequence[Word]) -> list[Inside]:
    for index, word in enumerate(words):
        if word.text in ("-c", "--command") and index + 1 < len(words):
            line = words[index + 1]
            return [Inside(line=line.text)] if line.is_known else [UNKNOWN]
    return [UNKNOWN]


def _container(words: Sequence[Word]) -> list[Inside]:
    """`docker exec`, `docker run`: what runs in there cannot be told from the options' values."""
    verbs = [word.text for word in words if not word.text.startswith("-")]
    runs = {"exec", "run", "compose", "create", "start"}
    return [UNKNOWN] if runs & set(verbs[:2]) else []


def _kubectl(words: Sequence[Word]) -> list[Inside]:
    texts = [word.text for word in words]
    if "exec" not in texts:
        return []
    rest = list(words[texts.index("--") + 1 :]) if "--" in texts else []
    return [Inside(words=rest, is_elsewhere=True)] if rest else [UNKNOWN]


_GIT_TAKES: Final = ("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path")


def _git(words: Sequence[Word]) -> list[Inside]:
    found: list[Inside] = []
    for index, word in enumerate(words):
        value = words[index + 1].text if word.text == "-c" and index + 1 < len(words) else ""
        key, _, said = value.partition("=")
        if said.startswith("!"):
            found.append(Inside(line=said[1:]))
        elif key.lower().startswith("alias.") and said:
            found.append(Inside(words=[Word("git"), *_split(said)]))
        elif key.lower() in _GIT_PROGRAMS or key.lower().startswith(("filter.", "diff.", "merge.")):
            found.append(Inside(line=said))
    rest = _after(words, _GIT_TAKES)
    verbs = [word.text for word in rest]
    if verbs[:2] == ["submodule", "foreach"] or (verbs[:1] == ["bisect"] and "run" in verbs):
        tail = rest[verbs.index("run") + 1 :] if "run" in verbs else _after(rest[2:])
        found.append(Inside(line=" ".join(word.text for word in tail)))
    if verbs[:1] == ["rebase"]:
        found += _after_flag(rest, ("-x", "--exec"))
    return found


_GIT_PROGRAMS: Final = frozenset(
    {
        *("core.pager", "core.editor", "core.sshcommand", "core.fsmonitor", "core.hookspath"),
        *("core.askpass", "sequence.editor", "gpg.program", "credential.helper", "pager.log"),
        *("ssh.variant", "protocol.ext.allow"),
    }
)


def _after_flag(words: Sequence[Word], flags: Sequence[str]) -> list[Inside]:
    found: list[Inside] = []
    for index, word in enumerate(words):
        flag, equals, value = word.text.partition("=")
        if word.text in flags and index + 1 < len(words):
            found.append(Inside(line=words[index + 1].text))
        elif equals and flag in flags:
            found.append(Inside(line=value))
    return found


def _split(text: str) -> list[Word]:
    try:
        return [Word(each) for each in shlex.split(text)]
    except ValueError:
        return [Word(text, is_known=False)]


def _flock(words: Sequence[Word]) -> list[Inside]:
    found = _after_flag(words, ("-c", "--command"))
    rest = _after(words, ("-w", "--timeout", "-E"), own=1)
    return found or ([Inside(words=rest, is_transparent=True)] if rest else [])


def _always_unknown(_words: Sequence[Word]) -> list[Inside]:
    return [UNKNOWN]


_WRAPPERS: Final[dict[str, Callable[[Sequence[Word]], list[Inside]]]] = {
    "command": _prefix(),
    "builtin": _prefix(),
    "exec": _prefix(("-a",)),
    "nohup": _prefix(),
    "time": _prefix(("-f", "-o")),
    "nice": _prefix(("-n", "--adjustment")),
    "ionice": _prefix(("-c", "-n", "-p")),
    "setsid": _prefix(),
    "stdbuf": _prefix(("-i", "-o", "-e")),
    "timeout": _prefix(("-k", "-s", "--signal", "--kill-after"), own=1),
    "gtimeout": _prefix(("-k", "-s"), own=1),
    "caffeinate": _prefix(("-t", "-w")),
    "env": _env,
    "busybox": _prefix(),
    "toybox": _prefix(),
    "eval": _eval,
    "sudo": _prefix(
        ("-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D", "-R"), is_transparent=False
    ),
    "doas": _prefix(("-u", "-C"), is_transparent=False),
    "pkexec": _prefix(("--user",), is_transparent=False),
    "run0": _prefix(is_transparent=False),
    "su": _su,
    "runuser": _su,
    "xargs": _xargs,
    "parallel": _line_of_rest(("-j", "-I", "-n", "-N", "-a")),
    "watch": _line_of_rest(("-n", "--interval", "-d")),
    "entr": _prefix(is_transparent=False),
    "strace": _prefix(("-e", "-o", "-p", "-s"), is_transparent=False),
    "ltrace": _prefix(("-e", "-o", "-p"), is_transparent=False),
    "chroot": _prefix(own=1, is_transparent=False),
    "unshare": _prefix(is_transparent=False),
    "nsenter": _prefix(("-t",), is_transparent=False),
    "chronic": _prefix(),
    "unbuffer": _prefix(),
    "catchsegv": _prefix(),
    "flock": _flock,
    "script": lambda words: _after_flag(words, ("-c", "--command")),
    "ssh": _line_of_rest(
        ("-p", "-i", "-l", "-o", "-F", "-J", "-L", "-R", "-D", "-b", "-c", "-e", "-m", "-S", "-W"),
        own=1,
    ),
    "find": _find,
    "gfind": _find,
    "fd": lambda words: _after_exec(words),
    "docker": _container,
    "podman": _container,
    "nerdctl": _container,
    "kubectl": _kubectl,
    "git": _git,
    "source": _always_unknown,
    ".": _always_unknown,
    "trap": lambda words: (
        [Inside(line=words[0].text)] if words and words[0].is_known else [UNKNOWN]
    ),
    "at": _always_unknown,
    "batch": _always_unknown,
    "crontab": _always_unknown,
    "systemd-run": _prefix(("-u", "--unit", "-p"), is_transparent=False),
    "coproc": _prefix(),
    "enable": _always_unknown,
    "alias": _always_unknown,
    "hash": _always_unknown,
}


def _after_exec(words: Sequence[Word]) -> list[Inside]:
    texts = [word.text for word in words]
    for flag in ("-x", "--exec", "-X", "--exec-batch"):
        if flag in texts:
            return [Inside(words=[*words[texts.index(flag) + 1 :], Word("…", is_known=False)])]
    return []
