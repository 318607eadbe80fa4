"""What goes through to an agent, and what does not."""

from bullpen.process import whole_environment

OURS = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LC_ALL": "C.UTF-8",
    "XDG_CONFIG_HOME": "/home/me/.config",
    "https_proxy": "http://proxy:3128",
    "SSH_AUTH_SOCK": "/run/ssh",
    "GIT_AUTHOR_NAME": "Me",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "GITHUB_TOKEN": "secret",
    "ANTHROPIC_API_KEY": "secret",
    "GIT_DIR": "/elsewhere/.git",
    "VIRTUAL_ENV": "/ours",
    "PYTHONPATH": "/ours",
    "CLAUDECODE": "1",
    "CLAUDE_CODE_ENTRYPOINT": "cli",
    "CLAUDE_CONFIG_DIR": "/home/me/.claude",
    "BULLPEN_SESSION": "outer",
    "BULLPEN_RUN": "7",
    "BULLPEN_HOME": "/home/me/state",
    "GEMINI_CLI": "1",
    "TMUX": "/tmp/tmux",
}
PLAIN = {
    name: OURS[name]
    for name in (
        *("PATH", "HOME", "LC_ALL", "XDG_CONFIG_HOME", "https_proxy", "SSH_AUTH_SOCK"),
        "GIT_AUTHOR_NAME",
    )
}


def test_secrets_and_the_marks_of_an_outer_agent_stay_here():
    assert whole_environment(OURS) == PLAIN


def test_the_catalog_passes_names_and_beginnings_of_names():
    passed = whole_environment(OURS, passes=["ANTHROPIC_API_KEY", "CLAUDE_*"])
    assert passed == {
        **PLAIN,
        "ANTHROPIC_API_KEY": "secret",
        "CLAUDE_CONFIG_DIR": "/home/me/.claude",
    }


def test_nothing_passes_what_marks_a_process_as_running_inside_of_another():
    passed = whole_environment(OURS, passes=["*"])
    hidden = {"CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "GEMINI_CLI", "GIT_DIR", "TMUX"}
    assert set(OURS) - set(passed) == hidden | {"BULLPEN_SESSION", "BULLPEN_RUN", "BULLPEN_HOME"}


def test_the_user_outranks_the_catalog_and_both_outrank_what_we_inherited():
    made = whole_environment(
        OURS,
        sets={"HOME": "/catalog", "TERM": "dumb", "CLAUDECODE": "0"},
        user={"TERM": "xterm", "PATH": "/mine"},
    )
    assert made == {
        **PLAIN,
        "HOME": "/catalog",
        "TERM": "xterm",
        "CLAUDECODE": "0",
        "PATH": "/mine",
    }


def test_there_is_always_a_path():
    assert whole_environment({})["PATH"]
