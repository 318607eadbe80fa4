"""The example: three briefs, played side by side, whose branches merge and pass the tests."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest

from bullpen.testing.line_client import LineClient

Launch = Callable[..., AbstractAsyncContextManager[LineClient]]
EXAMPLES = Path(__file__).parents[2] / "examples"
BRIEFS = sorted((EXAMPLES / "briefs").glob("*.md"))


@pytest.fixture
def repository(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A copy of the shop as a git repository with one commit, and a worktree per brief."""
    shop = tmp_path / "shop"
    shutil.copytree(EXAMPLES / "shop", shop, ignore=shutil.ignore_patterns("__pycache__"))
    ada = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    git(environment, shop, "init", "-q", "-b", "main")
    git(environment, shop, "add", "-A")
    git(environment, shop, *ada, "commit", "-q", "-m", "The shop")
    for brief in BRIEFS:
        git(environment, shop, "worktree", "add", "-q", "-b", brief.stem, f"../{brief.stem}")
    return shop


def git(environment: dict[str, str], cwd: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(cwd), *arguments]
    return subprocess.run(argv, env=environment, check=True, capture_output=True, text=True).stdout


def unittests(shop: Path) -> str:
    argv = [sys.executable, "-B", "-m", "unittest"]
    return subprocess.run(argv, cwd=shop, check=True, capture_output=True, text=True).stderr


async def test_three_briefs_land_cleanly_and_the_tests_pass_on_the_result(
    repository: Path, environment: dict[str, str], launch: Launch
) -> None:
    before = unittests(repository)

    async def play(brief: Path) -> None:
        async with launch() as agent:
            await agent.open(repository.with_name(brief.stem))
            played = await agent.play(brief.read_text())
        assert (brief.name, played.answer.get("error")) == (brief.name, None)
        assert played.updates("usage_update")
        assert {each["status"] for each in played.updates("plan")[-1]["entries"]} == {"completed"}

    with anyio.fail_after(40):
        async with anyio.create_task_group() as playing:
            for brief in BRIEFS:
                playing.start_soon(play, brief)
    for brief in BRIEFS:
        work = repository.with_name(brief.stem)
        assert git(environment, work, "status", "--porcelain") == ""
        assert git(environment, work, "rev-list", "--count", "main..") == "1\n"
    ada = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for brief in BRIEFS:
        git(environment, repository, *ada, "merge", "-q", "--no-edit", brief.stem)
    assert ("Ran 14 tests" in before, "Ran 25 tests" in unittests(repository)) == (True, True)


def test_each_brief_makes_sense_without_its_script() -> None:
    assert len(BRIEFS) == 3
    for brief in BRIEFS:
        words, fence, script = brief.read_text().partition("```demo\n")
        assert fence
        assert "ignore it" in words.split("\n\n")[-2].replace("\n", " ")
        assert script.endswith("```\n")
