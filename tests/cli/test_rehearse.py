"""`bullpen rehearse`: a real agent, a scripted model, and nothing left afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kit.real import installed

if TYPE_CHECKING:
    from tests.cli.conftest import Command, Service

SCRIPT = """
prompt: Say hello.
replies:
- when: hello
  steps:
  - write: {path: hello.txt, content: "hello\\n"}
  - run: git add -A && git commit -qm x
  - Written.
- when: twice
  steps: [once more]
- when: fail
  steps: [{error: 400}]
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "script.yaml"
    file.write_text(SCRIPT)
    return file


@pytest.fixture
def rehearse(service: Service) -> Command:
    """`bullpen` with a service that finds a real agent."""
    bullpen = service.bullpen
    if "BULLPEN_AGENT" not in bullpen.environment:
        path = [*map(str, installed("pi").path), bullpen.environment["PATH"]]
        (service.folder / "scratch").mkdir()
        more = {"PATH": os.pathsep.join(path), "TMPDIR": str(service.folder / "scratch")}
        bullpen.environment |= more | {"BULLPEN_AGENT": "pi"}
    return bullpen


def scratch(bullpen: Command) -> list[str]:
    """Return the scratch repositories there are."""
    folder = Path(bullpen.environment["TMPDIR"])
    return [one.name for one in folder.iterdir() if one.name.startswith("bullpen-rehearsal")]


def test_a_script_is_checked_without_a_service(bullpen: Command, script: Path):
    assert bullpen("rehearse", "--check", str(script)).out == "The script is sound\n"
    script.write_text("replies:\n- steps:\n  - sing: la\n")
    refused = bullpen("rehearse", "--check", str(script))
    assert refused.code == 1
    assert "line 3: no step is called 'sing'" in refused.err
    assert "--example" in refused.err


def test_the_example_is_a_sound_script(bullpen: Command, tmp_path: Path):
    file = tmp_path / "example.yaml"
    file.write_text(bullpen("rehearse", "--example").out)
    assert bullpen("rehearse", "--check", str(file)).code == 0


def test_a_rehearsal_needs_a_script_and_something_to_say(bullpen: Command, script: Path):
    assert bullpen("rehearse", "--check").code == 2
    script.write_text("replies: [{steps: [a]}]\n")
    refused = bullpen("rehearse", str(script))
    assert refused.code == 2
    assert "nothing to say to the agent" in refused.err


def test_a_rehearsal_shows_what_happens_and_leaves_nothing(rehearse: Command, script: Path):
    before = rehearse("list", "--all", "--json").json, scratch(rehearse)
    done = rehearse("rehearse", str(script), "--mode", "bypass")
    assert done.code == 0, done.err
    assert done.out == (
        "Outcome: completed\nChanged: hello.txt +1 -0\nThe model answered 3 times\n"
    )
    assert "> Say hello." in done.err
    assert "Written." in done.err
    assert (rehearse("list", "--all", "--json").json, scratch(rehearse)) == before


def test_what_nobody_decides_ends_the_rehearsal_and_says_that_a_user_is_asked(
    rehearse: Command, script: Path
):
    done = rehearse("rehearse", str(script), "--mode", "ask", "--json", "--prompt", "hello")
    assert done.code == 4, done.err
    report = done.json
    assert (report["state"], report["changes"]) == ("asking", [])
    (asked,) = report["permissions"]
    assert asked["outcome"] == "open"
    assert "hello.txt" in asked["title"]


def test_several_prompts_are_sent_one_after_the_other(rehearse: Command, script: Path):
    words = ("--mode", "bypass", "--prompt", "hello", "--prompt", "twice", "--json")
    report = rehearse("rehearse", str(script), *words).json
    assert [one["answer"] for one in report["requests"]] == ["0:write", "1:run", "2:text", "0:text"]


def test_an_error_of_the_model_is_the_outcome(rehearse: Command, script: Path):
    done = rehearse("rehearse", str(script), "--prompt", "fail")
    assert done.code == 3
    assert done.out.startswith("Outcome: failed: ")


def test_a_rehearsal_that_is_kept_can_be_looked_at(rehearse: Command, script: Path):
    done = rehearse("rehearse", str(script), "--mode", "bypass", "--keep", "--json")
    report = done.json
    assert (Path(report["path"]) / "hello.txt").read_text() == "hello\n"
    assert rehearse("last-message", report["session"]).out == "Written.\n"


def test_a_rehearsal_in_a_worktree_keeps_what_was_not_merged(
    rehearse: Command, script: Path, tmp_path: Path
):
    repo = tmp_path / "repo"
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.invalid", "-C", str(repo)]
    subprocess.run(["git", "init", "-q", "-b", "main", str(repo)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    words = ("-p", str(repo), "--in", "worktree", "--mode", "bypass")
    done = rehearse("rehearse", str(script), *words)
    assert "Changed: hello.txt +1 -0\n" in done.out
    assert "--force` removes it" in done.err
    assert [one.name for one in repo.iterdir()] == [".git"]


def test_an_agent_without_a_way_to_rehearse_leaves_nothing_either(rehearse: Command, script: Path):
    before = scratch(rehearse)
    refused = rehearse("rehearse", str(script), "--agent", "demo")
    assert refused.code == 1
    assert "agent 'demo' cannot be rehearsed" in refused.err
    assert scratch(rehearse) == before


def test_run_rehearses_each_brief(rehearse: Command, script: Path, tmp_path: Path):
    words = ("--rehearse", str(script), "--mode", "bypass", "--in", "directory")
    work = tmp_path / "work"
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    done = rehearse("run", "Say hello.", "-p", str(work), *words)
    assert done.code == 0, done.err
    assert (work / "hello.txt").exists()
