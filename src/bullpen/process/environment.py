"""What an agent may know of our environment.

An allowlist, because a service inherits the shell of whoever started it: cloud credentials,
tokens of other tools, the marks of an agent we may be running inside of. What an agent needs
beyond this list, its catalog entry passes or sets by name.
"""

import os
from collections.abc import Mapping, Sequence

_ALLOWED = (
    # who and where
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "PWD", "HOSTNAME", "TMPDIR", "TMP", "TEMP"),
    *("TERM", "COLORTERM", "NO_COLOR", "TZ", "LANG", "LANGUAGE", "LC_*", "XDG_*"),
    # sockets of the user's own agents, by which a login is used without being seen
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GNUPGHOME", "DBUS_SESSION_BUS_ADDRESS"),
    # how to reach the network
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
    *("NODE_EXTRA_CA_CERTS", "NIX_SSL_CERT_FILE", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
    # git: identity and configuration; never GIT_DIR and its like, which point at another place
    *("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
    *("GIT_SSH", "GIT_SSH_COMMAND"),
    # where compilers and package managers live
    *("JAVA_HOME", "GOPATH", "GOROOT", "GOBIN", "GOTOOLCHAIN", "CARGO_HOME", "RUSTUP_HOME"),
    *("NVM_DIR", "VOLTA_HOME", "FNM_DIR", "PNPM_HOME", "BUN_INSTALL", "DENO_DIR", "COREPACK_HOME"),
    *("PYENV_ROOT", "RBENV_ROOT", "ASDF_DIR", "ASDF_DATA_DIR", "MISE_DATA_DIR", "SDKMAN_DIR"),
    *("UV_CACHE_DIR", "PIP_CACHE_DIR", "HOMEBREW_PREFIX", "NIX_PATH", "NIX_PROFILES"),
    *("DOCKER_HOST", "CONTAINER_HOST", "WSL_DISTRO_NAME", "WSL_INTEROP"),
)

_SCRUBBED = (
    *("BULLPEN_SESSION", "BULLPEN_RUN", "BULLPEN_JOURNAL", "BULLPEN_PLACE", "BULLPEN_HOME"),
    *("BULLPEN_CONFIG", "BULLPEN_NO_AUTOSTART", "BULLPEN_AGENT"),
    # An agent that finds these believes it runs inside of another, and refuses or changes its ways.
    *("CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "CLAUDE_CODE_SESSION_ID"),
    *("CLAUDE_CODE_REMOTE*", "CLAUDE_AGENT_SDK_*", "CLAUDE_PROJECT_DIR", "CLAUDE_PLUGIN_ROOT"),
    *("CLAUDE_ENV_FILE", "CLAUDE_SESSION_ID", "CLAUDE_PID"),
    *("CODEX_SANDBOX", "CODEX_SANDBOX_*", "CODEX_THREAD_ID", "CODEX_INTERNAL_*", "CODEX_CI"),
    *("GEMINI_CLI", "QWEN_CODE", "OPENCODE", "OPENCODE_PID", "OPENCODE_CLIENT", "CURSOR_AGENT"),
    *("CURSOR_TRACE_ID", "GOOSE_TERMINAL", "CLINE_ACTIVE", "ROO_ACTIVE", "PI_CODING_AGENT"),
    *("AGENT", "AI_AGENT", "TMUX", "TMUX_PANE", "TERM_PROGRAM", "TERM_PROGRAM_VERSION"),
    *("VSCODE_*", "ELECTRON_RUN_AS_NODE", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"),
    *("GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR"),
    *("OLDPWD", "_"),
)


def whole_environment(
    ours: Mapping[str, str],
    *,
    passes: Sequence[str] = (),
    sets: Mapping[str, str] = {},
    user: Mapping[str, str] = {},
) -> dict[str, str]:
    """Return all an agent gets as its environment. Pure: `ours` is usually `os.environ`.

    Of `ours` go through: the allowlist of this module and what `passes` names, minus what marks
    a process as running inside of an agent, of us, or of a git hook, which nothing brings
    through. Then `sets` is put on top, then `user`; both may say anything. There is always a
    PATH.

    Args:
        passes: Names, or beginnings of names with a `*` at the end. From the catalog.
        sets: From the catalog.
        user: From whoever wants the session.
    """
    wanted = _Names((*_ALLOWED, *passes))
    scrubbed = _Names(_SCRUBBED)
    through = {
        name: value for name, value in ours.items() if wanted.have(name) and not scrubbed.have(name)
    }
    through.setdefault("PATH", os.defpath)
    return {**through, **sets, **user}


class _Names:
    def __init__(self, patterns: Sequence[str]) -> None:
        self._whole = {pattern for pattern in patterns if not pattern.endswith("*")}
        self._beginnings = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))

    def have(self, name: str) -> bool:
        return name in self._whole or name.startswith(self._beginnings)
