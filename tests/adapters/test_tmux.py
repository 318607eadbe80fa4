import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bullpen.adapters.tmux import Failed, Tmux
from kit.world import eventually


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    one = Tmux(tmp_path / "t.sock", environment=dict(os.environ))
    yield one
    one.stop()


async def ending(tmux: Tmux) -> int:
    await eventually(lambda: tmux.pane()[1] is not None)
    status = tmux.pane()[1]
    assert status is not None
    return status


def shown(raw: Path) -> bytes:
    return raw.read_bytes() if raw.exists() else b""


@pytest.mark.parametrize(("line", "status"), [("exit 3", 3), ("exit 0;", 0), ("kill -9 $$", 137)])
async def test_how_the_program_ended_is_told(tmux: Tmux, tmp_path: Path, line: str, status: int):
    tmux.start(["sh", "-c", line], directory=str(tmp_path), raw=tmp_path / "raw")
    assert await ending(tmux) == status


async def test_a_paste_is_text_and_never_keys(tmux: Tmux, tmp_path: Path):
    file = tmp_path / "said"
    script = f"stty raw -echo; printf '\\033[?2004h'; head -c 30 > {file}; exit 7"
    tmux.start(["sh", "-c", script], directory=str(tmp_path), raw=tmp_path / "raw")
    await eventually(lambda: b"2004h" in shown(tmp_path / "raw"))
    tmux.paste("one\x03two\x1b[A\nthree abcdefghij")
    assert await ending(tmux) == 7
    assert file.read_bytes() == b"\x1b[200~onetwo[A\nthree abcdefghi"


async def test_a_program_that_is_not_there_and_a_server_that_is_gone_are_told(
    tmux: Tmux, tmp_path: Path
):
    tmux.start(["/nowhere/program"], directory=str(tmp_path), raw=tmp_path / "raw")
    assert await ending(tmux) != 0
    tmux.stop()
    with pytest.raises(Failed, match="list-panes"):
        tmux.pane()
