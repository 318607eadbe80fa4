"""A model for all tests of a worker, a host per test, and the table at the end of the run."""

from collections.abc import Generator
from pathlib import Path

import pytest

from contract.table import ENTRIES, Entry
from kit.contract_table import CELL
from kit.model import Model, running_model
from kit.real import settle
from kit.world import World


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Generator[Model]:
    with running_model(tmp_path_factory.mktemp("model")) as made:
        yield made


@pytest.fixture(autouse=True)
def cell(request: pytest.FixtureRequest) -> None:
    """Say in the test's report which cell of the table it is."""
    mark = request.node.get_closest_marker("behaviour")
    agent = request.node.callspec.params["agent"]
    reason = ENTRIES[agent].cannot.get(mark.kwargs.get("needs", ""), "")
    value = (agent, mark.args[0], reason)
    request.node.user_properties.append((CELL, value))


@pytest.fixture
def entry(agent: str) -> Entry:
    return ENTRIES[agent]


@pytest.fixture
def stage(world: World, agent: str, model: Model) -> World:
    """A world in which the agent is installed and talks to our model."""
    settle(world, agent, model)
    return world


@pytest.fixture
def echo_file(tmp_path: Path) -> Path:
    return tmp_path / "echoed"
