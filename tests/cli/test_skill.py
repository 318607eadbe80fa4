import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from bullpen.cli import skill
from bullpen.cli.exits import EXITS
from bullpen.cli.main import VERBS, build_parser


def install(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    folder = home / "work"
    folder.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "bullpen", "install-skill", *words]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    return subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(
    ("present", "words", "expected"),
    [
        ([], [], [".claude"]),
        ([".codex"], [], [".codex"]),
        ([".claude", ".codex"], [], [".claude", ".codex"]),
        ([".claude"], ["--codex"], [".codex"]),
        ([], ["--claude", "--codex", "--global"], [".claude", ".codex"]),
        ([".codex"], ["--local"], ["work/.codex"]),
    ],
)
def test_the_skill_is_written_where_the_agents_look(
    tmp_path: Path, present: list[str], words: list[str], expected: list[str]
):
    for name in present:
        (tmp_path / name).mkdir()
    done = install(tmp_path, *words)
    files = [tmp_path / name / "skills/bullpen/SKILL.md" for name in expected]
    lines = [f"Installed skill: bullpen → {file}" for file in files]
    if not present and not words:
        lines.insert(0, "No ~/.claude or ~/.codex found; defaulting to Claude Code.")
    assert (done.returncode, done.stdout.splitlines()) == (0, lines)
    assert sorted(tmp_path.rglob("SKILL.md")) == sorted(files)
    assert [file.read_text(encoding="utf-8") for file in files] == [skill.text()] * len(files)


def test_an_older_skill_is_replaced(tmp_path: Path):
    install(tmp_path, "--claude")
    file = tmp_path / ".claude/skills/bullpen/SKILL.md"
    file.write_text("old")
    install(tmp_path, "--claude")
    assert file.read_text(encoding="utf-8") == skill.text()
    assert list(file.parent.iterdir()) == [file]


def test_global_and_local_exclude_each_other(tmp_path: Path):
    done = install(tmp_path, "--global", "--local")
    assert done.returncode == 2
    assert "Cannot use both --global and --local" in done.stderr
    assert not list(tmp_path.rglob("SKILL.md"))


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path):
    (tmp_path / ".claude").write_text("a file in the way")
    done = install(tmp_path, "--claude")
    assert done.returncode == 1
    assert "cannot write" in done.stderr


def test_the_skill_has_the_form_agents_read_and_every_exit_code():
    _, front, body = skill.text().split("---\n", 2)
    assert re.search(r"^name: bullpen$", front, re.MULTILINE)
    assert len(re.findall(r"^description: .{100,}$", front, re.MULTILINE)) == 1
    for code, _, _ in EXITS:
        assert f"| {code} |" in body


def test_every_command_the_skill_shows_exists_with_its_options():
    parser = build_parser()
    (choices,) = (one.choices for one in parser._actions if one.dest == "verb")
    verbs = cast("dict[str, argparse.ArgumentParser]", choices)
    shown = re.findall(r"bullpen ([a-z-]+)([^`\n|#)]*)", skill.text().split("---\n", 2)[2])
    assert len(shown) > 15
    for verb, rest in shown:
        if verb not in VERBS:
            continue
        options = {option for action in verbs[verb]._actions for option in action.option_strings}
        for word in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest):
            assert word in options, f"bullpen {verb} has no {word}"
