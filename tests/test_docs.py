import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kit.real import installed

DOCS = Path(__file__).resolve().parents[1] / "docs"
GIT_IDENTITY = {
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.invalid",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.invalid",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a service of its own, which is gone afterwards with all its agents."""
    home = tmp_path / "home"
    home.mkdir()
    world = {
        **GIT_IDENTITY,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "BULLPEN_HOME": str(home / "state"),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "BULLPEN_AGENT": "demo",
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
    }
    yield world
    quiet = world | {"BULLPEN_NO_AUTOSTART": "1"}
    _bullpen(quiet, "kill", "--all")
    _bullpen(quiet, "serve", "--stop")
    assert _bullpen(quiet, "serve", "--status").returncode == 255


def _bullpen(world: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bullpen", *words]
    return subprocess.run(argv, env=world, capture_output=True, text=True, timeout=60)


def commands(text: str) -> list[tuple[str, str]]:
    """Return each command of the `console` blocks, and what it is to print."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *rest = part.split("\n")
            more = [line.removeprefix(">").removeprefix(" ") for line in rest if line[:1] == ">"]
            wanted = [line for line in rest if line and line[:1] != ">"]
            found.append(("\n".join([first, *more]), "\n".join(wanted)))
    return found


def matches(said: str, wanted: str) -> bool:
    """Say whether `said` is as `wanted`, in which `...` stands for anything; blank lines aside."""
    squeezed = re.sub(r"\n\s*\n+", "\n", said.strip())
    wild = ".*?".join(re.escape(part) for part in wanted.split("..."))
    return bool(re.fullmatch(wild, squeezed, re.DOTALL))


def test_every_command_of_the_tutorial_does_what_the_tutorial_says(
    world: dict[str, str], tmp_path: Path
):
    assert played("tutorial.md", world, tmp_path) > 20


@pytest.mark.parametrize("page", ["decide-what-agents-may-do", "goals-limits-and-cost"])
def test_every_command_of_a_how_to_does_what_its_page_says(
    world: dict[str, str], tmp_path: Path, page: str
):
    assert played(f"how-to/{page}.md", world, tmp_path) > 5


def test_every_command_about_rehearsals_does_what_its_page_says(
    world: dict[str, str], tmp_path: Path
):
    found = installed("claude")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    world |= found.environment | {"TMPDIR": str(scratch)}
    world["PATH"] = os.pathsep.join([*map(str, found.path), world["PATH"]])
    assert played("how-to/rehearse.md", world, tmp_path) > 4


def played(page: str, world: dict[str, str], folder: Path) -> int:
    """Run all commands of a page in one shell, compare what they print, and count them."""
    told = commands((DOCS / page).read_text())
    script = "".join(
        f"{command}\necho \"[exit code $?]\"; echo '<end of {number}>'\n"
        for number, (command, _) in enumerate(told)
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=folder,
        env=world,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    rest = done.stdout
    for number, (command, wanted) in enumerate(told):
        said, mark, rest = rest.partition(f"<end of {number}>\n")
        assert mark, f"the shell ended before: {command}\n{said}"
        said = said.replace("[exit code 0]\n", "")
        assert matches(said, wanted), f"$ {command}\nsaid:\n{said}\nwas to say:\n{wanted}"
    return len(told)


def python_blocks() -> list[str]:
    text = (DOCS / "how-to" / "script-it-from-python.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


SAID = [
    "It is written.\n1 file, 1 line added\nlanded in main\n",
    "landed\nlanded\n",
    "ended: end_turn\n",
    "unknown agent 'clode'\n",
]


def test_the_python_examples_run_as_they_are(world: dict[str, str], tmp_path: Path):
    repo = tmp_path / "repo"
    git = ["git", "-c", "init.defaultBranch=main", "-C"]
    subprocess.run([*git, str(tmp_path), "init", "-q", "repo"], env=world, check=True)
    subprocess.run(
        [*git, str(repo), "commit", "-q", "--allow-empty", "-m", "begin"], env=world, check=True
    )
    blocks = python_blocks()
    assert len(blocks) == len(SAID)
    for block, said in zip(blocks, SAID, strict=True):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block],
            cwd=repo,
            env=world,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.stdout, done.returncode) == (said, 0), done.stderr


@pytest.fixture
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_are_as_the_code_says(generate: ModuleType):
    assert generate.stale() == {}


def test_a_page_that_was_changed_by_hand_is_found_and_written_again(
    generate: ModuleType, tmp_path: Path
):
    stale: Callable[[Path], dict[str, str]] = generate.stale
    assert sorted(stale(tmp_path)) == sorted(generate.PAGES)
    generate.write(tmp_path)
    page = tmp_path / "reference" / "exit-codes.md"
    page.write_text(page.read_text().replace("124", "125"))
    (name,) = stale(tmp_path)
    assert name == "reference/exit-codes.md"
    assert "125" in stale(tmp_path)[name]
    assert generate.write(tmp_path) == [name]
    assert stale(tmp_path) == {}


def test_no_link_between_the_pages_is_dead():
    for file in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
            if "://" not in target:
                assert (file.parent / target).exists(), f"{file.relative_to(DOCS)}: {target}"
