"""The house rules a linter cannot know."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "bullpen"
MODULES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_MODULE = 600
LONGEST_MAP = 100
EMPTY_WORDS = {"utils", "common", "helpers", "manager", "core", "services", "misc"}
ROOMS = {
    "adapters", "agents", "cli", "client", "errors", "git", "landing", "model", "places",
    "planning", "policy", "process", "service", "sessions", "store", "testing",
}  # fmt: skip


def named(module: Path) -> str:
    return str(module.relative_to(ROOT))


@pytest.mark.parametrize("module", MODULES + TESTS, ids=named)
def test_a_module_fits_in_the_head(module: Path):
    assert len(module.read_text().splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_a_module_says_what_it_is_for_and_its_name_says_something(module: Path):
    assert ast.get_docstring(ast.parse(module.read_text()))
    assert not EMPTY_WORDS & set(module.stem.split("_"))


def test_the_rooms_are_those_of_the_map_and_each_has_a_card():
    found = {one.name for one in SOURCE.iterdir() if (one / "__init__.py").is_file()}
    assert found == ROOMS
    shown = (ROOT / "AGENTS.md").read_text()
    assert all(f"{room}/" in shown for room in ROOMS)


def test_the_map_fits_on_a_page():
    assert len((ROOT / "AGENTS.md").read_text().splitlines()) <= LONGEST_MAP


def test_every_exception_to_a_lint_rule_says_why():
    missing = [
        f"{named(module)}:{number}"
        for module in MODULES + TESTS
        for number, line in enumerate(module.read_text().splitlines(), start=1)
        if "# noqa" in line and " - " not in line.split("# noqa", 1)[1]
        if module != Path(__file__)
    ]
    assert missing == []


def test_every_ignored_rule_of_the_whole_project_says_why():
    text = (ROOT / "pyproject.toml").read_text()
    ignored = text.split("\nignore = [", 1)[1].split("]", 1)[0]
    unexplained = [line for line in ignored.splitlines() if line.strip() and "#" not in line]
    assert [line.strip() for line in unexplained] == ['"D105", "D107",']


def test_importing_the_package_makes_nothing_and_loads_nothing():
    code = (
        "import sys; before = set(sys.modules); import bullpen;"
        "print(sorted(name for name in set(sys.modules) - before if name != 'bullpen'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_the_command_names_are_those_the_documents_use():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "bullpen"
    assert set(project["scripts"]) == {"bullpen", "dev-sessions"}
    assert project["requires-python"] == ">=3.11"
