"""What the service does when its state folder is deleted under it."""

import shutil
import subprocess
import sys
from collections.abc import Generator

import httpx
import pytest

from bullpen.process import marked
from kit.world import World, eventually


@pytest.fixture
def service(world: World) -> Generator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "bullpen", "serve"]
    with (world.folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, env=world.environment, stdout=log, stderr=log)
    yield process
    process.kill()
    process.wait()


@pytest.mark.torture
async def test_a_service_whose_folder_is_deleted_ends_its_agents_and_itself(
    world: World, service: subprocess.Popen[bytes]
):
    await eventually(world.home.socket.exists)
    transport = httpx.AsyncHTTPTransport(uds=str(world.home.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as http:
        wish = {"agent": "demo", "path": str(world.work), "id": "calm-otter-of-this-test"}
        assert (await http.post("/v1/sessions", json=wish)).status_code == 201
    assert [one for one in marked() if one.session == "calm-otter-of-this-test"]
    shutil.rmtree(world.home.folder)
    await eventually(lambda: service.poll() is not None, timeout=30)
    assert service.returncode == 0
    assert [one for one in marked() if one.session == "calm-otter-of-this-test"] == []
