"""The quick start of each agent's page, typed as it stands, with the real agent in rehearsal."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.table import ALSO, ALWAYS, chosen
from kit.real import installed

PAGES = Path(__file__).parents[1] / "docs" / "agents"
SCRIPT = """
final: As you say.
replies:
  - when: say what this repository does
    steps: [It keeps a shop.]
  - when: now write it
    steps:
      - write: {path: WHAT.md, content: "It keeps a shop.\\n"}
      - slow: 2s
      - Written.
"""
# A person sees when the agent asks; a script has to wait for it.
ASKED = 'bullpen wait "$ID" || [ $? = 4 ]'


def quick_start(agent: str) -> list[str]:
    """Return the commands of the page, without what a person reads beside them."""
    page = (PAGES / f"{agent}.md").read_text()
    _, _, rest = page.partition("## Quick start\n")
    section, _, _ = rest.partition("\n## ")
    lines = re.findall(r"^    (bullpen .*)$", section, re.MULTILINE)
    return [line.partition("  #")[0].strip() for line in lines]


def typed(commands: list[str], script: Path) -> str:
    """Return the commands as one shell script that ends at the first that fails."""
    lines = ["set -e"]
    for command in commands:
        line = re.sub(r"\bID\b", '"$ID"', command)
        if line.startswith("bullpen create"):
            line = f"ID=$({line} -q --rehearse {script})"
        if re.match(r"bullpen (approvals|answer ID$)", command):
            lines.append(ASKED)
        lines.append(line)
    return "\n".join(lines)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "scratch").mkdir()
    world = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "TMPDIR": str(tmp_path / "scratch"),
        "BULLPEN_HOME": str(home / "state"),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
        **{f"GIT_{who}_NAME": "Test" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "test@example.invalid" for who in ("AUTHOR", "COMMITTER")},
    }
    yield world
    quiet = world | {"BULLPEN_NO_AUTOSTART": "1"}
    for words in (["kill", "--all"], ["serve", "--stop"]):
        subprocess.run(
            [sys.executable, "-m", "bullpen", *words],
            env=quiet,
            capture_output=True,
            timeout=60,
            check=False,
        )


@pytest.mark.parametrize("agent", chosen())
def test_the_quick_start_works_as_its_page_says(
    agent: str, environment: dict[str, str], tmp_path: Path
):
    found = installed(agent)
    environment |= found.environment
    environment["PATH"] = os.pathsep.join([*map(str, found.path), environment["PATH"]])
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT)
    repository = tmp_path / "shop"
    begin = f"git init -q {repository} && cd {repository} && git commit -q --allow-empty -m begin\n"
    commands = quick_start(agent)
    assert len(commands) > 3
    done = subprocess.run(
        ["bash", "--norc", "-c", begin + typed(commands, script)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "It keeps a shop.\n" in done.stdout
    wrote = any("now write it" in command for command in commands)
    kept = list((tmp_path / "home" / "state" / "worktrees").rglob("WHAT.md"))
    assert [file.read_text().strip() for file in kept] == ["It keeps a shop."] * wrote


def test_every_agent_under_contract_has_a_page_in_the_index():
    index = (PAGES.parent / "agents.md").read_text()
    for agent in (*ALWAYS, *ALSO):
        assert f"`{agent}`" in index
        assert f"(agents/{agent}.md)" in index
