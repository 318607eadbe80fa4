"""Real repositories that read no configuration of whoever runs the tests."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Tree:
    """A working tree, driven by git as a user would."""

    path: Path

    def bytes_of(self, *args: str, stdin: bytes = b"") -> bytes:
        argv = ["git", *args]
        done = subprocess.run(argv, cwd=self.path, input=stdin, capture_output=True, check=True)
        return done.stdout

    def git(self, *args: str, stdin: bytes = b"") -> str:
        return os.fsdecode(self.bytes_of(*args, stdin=stdin)).rstrip("\n")

    def write(self, name: str, content: bytes | str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def commit(self, message: str = "more") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def refs(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname)").split()


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
def make_tree(tmp_path: Path) -> Callable[[str], Tree]:
    """Make an empty repository in a folder of the given name."""

    def make(name: str) -> Tree:
        path = tmp_path / name
        path.mkdir(parents=True)
        tree = Tree(path)
        tree.git("init", "--quiet")
        return tree

    return make


@pytest.fixture
def tree(make_tree: Callable[[str], Tree]) -> Tree:
    """A repository with one commit of a few files."""
    made = make_tree("repo")
    made.write("a.txt", "one\ntwo\n")
    made.write("src/b.py", "b = 1\n")
    made.write(".gitignore", "*.log\nnode_modules/\n")
    made.commit("first")
    return made
