import os
import socket
from pathlib import Path

from bullpen.model.home import Home


def test_the_place_follows_the_environment_in_order():
    assert Home.of({"HOME": "/h"}).folder == Path("/h/.local/state/bullpen")
    assert Home.of({"HOME": "/h", "XDG_STATE_HOME": "/s"}).folder == Path("/s/bullpen")
    both = {"HOME": "/h", "XDG_STATE_HOME": "/s", "BULLPEN_HOME": "/b"}
    assert Home.of(both).folder == Path("/b")


def test_a_deep_folder_still_has_a_socket_that_can_be_bound(tmp_path: Path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    home = Home.of({"BULLPEN_HOME": str(deep), "XDG_RUNTIME_DIR": str(tmp_path)})
    assert home.socket.parent.name == f"bullpen-{os.getuid()}"
    assert (
        home.socket == Home.of({"BULLPEN_HOME": str(deep), "XDG_RUNTIME_DIR": str(tmp_path)}).socket
    )
    other = Home.of({"BULLPEN_HOME": str(deep / "x"), "XDG_RUNTIME_DIR": str(tmp_path)})
    assert other.socket != home.socket
    short = Home(Path("/tmp"), runtime=Path("/tmp"))
    assert short.socket == Path("/tmp/service.sock")
    if len(os.fsencode(home.socket)) < 104:
        home.socket.parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(home.socket))


def test_a_socket_path_is_never_longer_than_the_system_takes():
    deep = "/" + "d" * 200
    for runtime in ("/run/user/1", deep):
        home = Home.of({"BULLPEN_HOME": f"{deep}/state", "XDG_RUNTIME_DIR": runtime})
        assert len(str(home.socket)) <= 100
        assert home.socket.suffix == ".sock"
