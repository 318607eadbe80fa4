from pathlib import Path

import pytest

from bullpen.errors import ConfigInvalid
from bullpen.sessions.settings import Settings, config_folder, load


def test_without_a_file_the_defaults_hold(tmp_path: Path):
    assert load(tmp_path / "config.toml") == Settings()


def test_every_key_can_be_set(tmp_path: Path):
    file = tmp_path / "config.toml"
    file.write_text(
        'branch = "me/{session}"\nsetup_timeout = 5.0\nstop_grace = 1\ninterrupt_grace = 2\n'
        'database = "postgresql://x"\n[caps]\nlive = 3\nmemory_mb = 100\n'
        '[caps.agent]\ndemo = 1\n[caps.workspace]\n"/w" = 2\n'
    )
    settings = load(file)
    assert (settings.branch, settings.caps.live, settings.caps.memory_mb) == (
        "me/{session}",
        3,
        100,
    )
    assert (settings.caps.agent, settings.caps.workspace) == ({"demo": 1}, {"/w": 2})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = [", "Invalid|Expected|Unclosed|end of"),
        ("brunch = 1", "brunch"),
        ("[caps]\nlive = 0", "above zero"),
        ("[caps]\nlive = 'many'", "int"),
        ("[caps.agent]\ndemo = -1", "agent.demo"),
    ],
)
def test_a_file_that_says_nonsense_is_refused_with_the_place(tmp_path: Path, text: str, why: str):
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigInvalid, match=why):
        load(file)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path):
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigInvalid):
        load(tmp_path / "config.toml")


def test_the_folder_follows_the_environment():
    assert config_folder({"HOME": "/h"}) == Path("/h/.config/bullpen")
    assert config_folder({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}) == Path("/c/bullpen")
    assert config_folder({"BULLPEN_CONFIG": "/b", "HOME": "/h"}) == Path("/b")
