"""Real repositories that read no configuration of whoever runs the tests."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Tree:
    """A working tree, driven by git as a user would."""

    path: Path

    def git(self, *args: str) -> str:
        argv = ["git", *args]
        done = subprocess.run(argv, cwd=self.path, capture_output=True, check=True)
        return os.fsdecode(done.stdout).rstrip("\n")

    def write(self, name: str, content: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def commit(self, message: str = "more") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def branch_with(self, branch: str, name: str, content: str) -> str:
        """Commit one file on a new branch, and come back to where we were."""
        self.git("checkout", "-q", "-b", branch)
        self.write(name, content)
        commit = self.commit(branch)
        self.git("checkout", "-q", "-")
        return commit

    def state(self) -> tuple[str, ...]:
        """All that a landing must not change when it fails."""
        refs = self.git("for-each-ref", "--format=%(refname) %(objectname)")
        files = [
            file for file in self.path.rglob("*") if file.is_file() and ".git" not in file.parts
        ]
        contents = [f"{file} {file.read_text()}" for file in sorted(files)]
        return (refs, self.git("status", "--porcelain"), *contents)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own; git is told nothing but a name."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(folder / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (folder / "gitconfig").write_text(
        "[user]\n\tname = Ann\n\temail = ann@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A repository with one commit."""
    path = tmp_path / "repo"
    path.mkdir()
    made = Tree(path)
    made.git("init", "--quiet")
    made.write("a.txt", "one\n")
    made.write(".gitignore", "*.log\n")
    made.commit("first")
    return made
