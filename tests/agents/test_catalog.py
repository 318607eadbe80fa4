import os
import sys
from pathlib import Path

import pytest

import bullpen
from bullpen.agents.acp import AcpDialect
from bullpen.agents.catalog import (
    DIALECTS,
    Catalog,
    command_of,
    dialect_of,
    environment_of,
    launch_modes,
    user_folder,
)
from bullpen.agents.dialect import Open
from bullpen.errors import AgentUnknown, CatalogInvalid, ModeUnsupported
from bullpen.model.agent import AgentProfile, LaunchMode, Quirks

NEEDED = (
    "claude codex pi claude-acp codex-acp gemini opencode pi-acp goose qwen-code copilot "
    "cursor kiro auggie amp-acp cline kimi shell demo"
)
MINE = """
name = "Mine"
vendor = "Me"
dialect = "acp"
command = ["my-agent", "--acp"]
aliases = ["own"]
"""


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name.replace('_', '-')}.toml").write_text(text)
    return folder


def test_our_own_catalog_is_whole_and_sound():
    catalog = Catalog.load(None)
    assert catalog.faults == []
    assert set(NEEDED.split()) == set(catalog.profiles)
    assert list(catalog.profiles) == sorted(catalog.profiles)


@pytest.mark.parametrize("name", NEEDED.split())
def test_each_entry_says_how_to_get_the_agent_and_how_to_log_in(name: str):
    profile = Catalog.load(None).find(name)
    if name != "demo":
        assert profile.install_hint
        assert profile.login_hint
        assert profile.homepage.startswith("https://")
    assert profile.dialect in DIALECTS
    assert profile.memory_mb > 0


def test_no_alias_of_ours_names_two_agents_or_hides_an_id():
    names = [
        name
        for profile in Catalog.load(None).profiles.values()
        for name in (profile.id, *profile.aliases)
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("alias", "name"),
    [("claude-code", "claude"), ("claude-code-acp", "claude-acp"), (" Gemini ", "gemini")],
)
def test_an_agent_is_found_by_its_alias(alias: str, name: str):
    assert Catalog.load(None).find(alias).id == name


def test_an_unknown_agent_is_told_with_names_that_look_alike():
    with pytest.raises(AgentUnknown) as caught:
        Catalog.load(None).find("cladue")
    assert "claude" in caught.value.near
    assert "demo" in caught.value.known


def test_a_users_own_agent_stands_beside_ours(tmp_path: Path):
    catalog = Catalog.load(write(tmp_path, my_agent=MINE))
    assert catalog.faults == []
    assert catalog.find("own").id == "my-agent"
    assert catalog.find("demo").id == "demo"


def test_a_users_file_changes_one_of_ours_key_by_key(tmp_path: Path):
    change = 'command = ["/opt/gemini", "--acp"]\n[environment]\nMY_SWITCH = "on"\n'
    profile = Catalog.load(write(tmp_path, gemini=change)).find("gemini")
    assert profile.command == ("/opt/gemini", "--acp")
    assert profile.environment["MY_SWITCH"] == "on"
    assert profile.environment["NO_BROWSER"] == "1"
    assert profile.modes[LaunchMode.EDIT] == "autoEdit"


def test_a_users_alias_wins_over_ours_but_never_over_an_id(tmp_path: Path):
    mine = MINE.replace('"own"', '"claude-code", "demo"')
    catalog = Catalog.load(write(tmp_path, my_agent=mine))
    assert catalog.find("claude-code").id == "my-agent"
    assert catalog.find("demo").id == "demo"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "Invalid value"),
        (MINE + "comand = 1", "comand"),
        (MINE.replace('"--acp"', "7"), "key `command[1]`"),
        (MINE.replace('name = "Mine"', ""), "`name`"),
        (MINE + "[modes]\nwild = 'x'", "wild"),
        (MINE + "default_mode = 'plan'", "key `default_mode`"),
        (MINE + "memory_mb = 0", "key `memory_mb`"),
        (MINE + "start_timeout = -1.0", "key `start_timeout`"),
        (MINE + "start_timeout = nan", "key `start_timeout`"),
        (MINE + "id = 'Not An Id'", "key `id`"),
        (MINE + "id = 3", "key `id`"),
        (MINE.replace('"acp"', '"xyz"', 1), "key `dialect`"),
        (MINE.replace('["my-agent", "--acp"]', "[]"), "key `command`"),
        (MINE.replace('"own"', '"Own One"'), "key `aliases`"),
        (MINE + "[environment]\n'A=B' = 'x'", "A=B"),
        (MINE + "[quirks]\nodd = true", "odd"),
    ],
)
def test_a_broken_file_is_named_with_its_key_and_harms_no_other_agent(
    tmp_path: Path, text: str, said: str
):
    catalog = Catalog.load(write(tmp_path, broken=text, good=MINE))
    assert len(catalog.faults) == 1
    assert catalog.faults[0].file == tmp_path / "broken.toml"
    assert said in catalog.faults[0].why
    assert "\n" not in str(catalog.faults[0])
    assert catalog.find("good").name == "Mine"
    assert set(NEEDED.split()) < set(catalog.profiles)


def test_a_broken_change_leaves_our_agent_as_it_was(tmp_path: Path):
    catalog = Catalog.load(write(tmp_path, demo="memory_mb = 'much'"))
    assert len(catalog.faults) == 1
    assert catalog.find("demo").memory_mb == Catalog.load(None).find("demo").memory_mb


def test_files_that_cannot_be_read_are_faults_too(tmp_path: Path):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "latin.toml").write_bytes(b"name = '\xff'")
    (tmp_path / "dangling.toml").symlink_to(tmp_path / "nowhere")
    catalog = Catalog.load(tmp_path)
    assert len(catalog.faults) == 3


def test_two_files_with_one_id_are_a_fault_of_the_second(tmp_path: Path):
    catalog = Catalog.load(write(tmp_path, a="id = 'x'\n" + MINE, b="id = 'x'\n" + MINE))
    assert [fault.file.name for fault in catalog.faults] == ["b.toml"]
    assert catalog.find("x").id == "x"


def test_a_folder_that_does_not_exist_is_no_fault(tmp_path: Path):
    assert Catalog.load(tmp_path / "nowhere").faults == []


def test_the_users_folder_follows_xdg(tmp_path: Path):
    assert user_folder({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}) == Path("/c/bullpen/agents")
    assert user_folder({"HOME": "/h"}) == Path("/h/.config/bullpen/agents")
    relative = {"XDG_CONFIG_HOME": "rel", "HOME": "/h"}
    assert user_folder(relative) == Path("/h/.config/bullpen/agents")


def profile(**fields: object) -> AgentProfile:
    base: dict[str, object] = {"id": "x", "name": "X", "vendor": "V", "dialect": "acp"}
    return AgentProfile(**{**base, "command": ("x", "{python}{package}"), **fields})  # type: ignore[arg-type]


def test_the_command_gets_interpreter_package_and_the_modes_arguments(tmp_path: Path):
    made = profile(mode_args={LaunchMode.BYPASS: ("--yes", "{unknown}")})
    words = command_of(made, mode=LaunchMode.BYPASS, python="/py", package=tmp_path)
    assert words == ["x", f"/py{tmp_path}", "--yes", "{unknown}"]
    assert command_of(made, mode=None, python="/py", package=tmp_path)[2:] == []


def test_the_environment_gets_the_modes_variables():
    made = profile(
        environment={"A": "1", "B": "1"}, mode_environment={LaunchMode.ASK: {"B": "2", "C": "2"}}
    )
    assert environment_of(made, mode=LaunchMode.ASK) == {"A": "1", "B": "2", "C": "2"}
    assert environment_of(made, mode=None) == {"A": "1", "B": "1"}


def test_a_mode_counts_however_the_agent_is_put_into_it():
    made = profile(
        modes={LaunchMode.ASK: "a"},
        mode_args={LaunchMode.PLAN: ()},
        mode_environment={LaunchMode.BYPASS: {}},
    )
    assert launch_modes(made) == (LaunchMode.PLAN, LaunchMode.ASK, LaunchMode.BYPASS)


def test_a_mode_the_agent_has_not_is_refused_before_anything_starts(tmp_path: Path):
    made = profile(modes={LaunchMode.ASK: "a"})
    with pytest.raises(ModeUnsupported) as caught:
        command_of(made, mode=LaunchMode.PLAN, python="p", package=tmp_path)
    assert caught.value.supported == ("ask",)
    with pytest.raises(ModeUnsupported):
        environment_of(made, mode=LaunchMode.PLAN)


def test_the_dialect_of_an_agent_has_its_quirks_and_wishes():
    dialect = dialect_of(Catalog.load(None).find("gemini"), mode="plan", model=None, version="9")
    assert isinstance(dialect, AcpDialect)
    assert b'"version":"9"' in dialect.order(Open(directory="/w"))[0]


def test_a_dialect_of_another_version_is_told():
    with pytest.raises(CatalogInvalid, match="no dialect 'telepathy'"):
        dialect_of(profile(dialect="telepathy"), mode=None, model=None)


def test_the_demo_agent_is_started_by_our_own_interpreter_apart_from_the_users_settings():
    package = Path(bullpen.__file__).parent
    demo = Catalog.load(None).find("demo")
    words = command_of(demo, mode=LaunchMode.PLAN, python=sys.executable, package=package)
    assert words[:2] == [sys.executable, "-I"]
    assert os.access(words[2], os.R_OK)
    assert launch_modes(demo) == tuple(LaunchMode)


@pytest.mark.parametrize("field", [*AgentProfile.__struct_fields__, *Quirks.__struct_fields__])
def test_every_key_of_a_catalog_file_is_documented(field: str):
    page = Path(bullpen.__file__).parents[2] / "docs" / "reference" / "catalog.md"
    if not page.is_file():
        pytest.skip("the documentation is not installed")
    assert f"\n| `{field}` |" in page.read_text()


def test_the_documented_agent_can_be_added_as_it_stands(tmp_path: Path):
    page = Path(bullpen.__file__).parents[2] / "docs" / "reference" / "catalog.md"
    if not page.is_file():
        pytest.skip("the documentation is not installed")
    example = page.read_text().split("```toml\n")[1].split("```")[0]
    catalog = Catalog.load(write(tmp_path, my_agent=example))
    assert catalog.faults == []
    assert catalog.find("mine").id == "my-agent"


def test_an_agent_that_does_not_ask_before_commands_has_no_mode_that_says_so():
    codex = Catalog.load(None).find("codex-acp")
    assert launch_modes(codex) == (LaunchMode.PLAN, LaunchMode.BYPASS)


def test_what_opens_bypass_to_root_is_set_by_us_alone():
    """Passed on from the user's own environment it would open it in every mode."""
    for profile in Catalog.load(None).profiles.values():
        assert not set(profile.quirks.root_environment) & set(profile.passes), profile.id
