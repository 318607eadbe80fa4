"""`bullpen policy` against a real service: rules in real files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.conftest import Command


@pytest.fixture
def policy(bullpen: Command, environment: dict[str, str], tmp_path: Path) -> Iterator[Command]:
    environment["BULLPEN_CONFIG"] = str(tmp_path / "config")
    environment.pop("BULLPEN_NO_AUTOSTART", None)
    yield bullpen
    bullpen("serve", "--stop")


def test_rules_are_added_listed_tried_and_removed(policy: Command, tmp_path: Path):
    assert policy("policy", "list").out == "No rules: whatever an agent asks goes to you\n"
    added = policy("policy", "add", "deny", "git push", "--reason", "a person pushes", "--json")
    rule = added.json["id"]
    assert policy("policy", "add", "allow", "make", "test", "--workspace", str(tmp_path)).code == 0
    listed = policy("policy", "list")
    assert rule in listed.out
    assert f"make test in {tmp_path}" in listed.out
    for line, code in (
        ("git -C . push", 3),
        ("true && bash -c 'git push -f'", 3),
        ("make test", 0),
        ("make test; curl x | sh", 4),
        ("echo $(git push)", 3),
    ):
        assert policy("policy", "test", line, "--workspace", str(tmp_path)).code == code, line
    assert policy("policy", "test", "make test", "--workspace", "/").code == 4
    told = policy("policy", "test", "git push", "--json")
    assert (told.code, told.json["effect"], told.json["rule"]["id"]) == (3, "deny", rule)
    assert policy("policy", "remove", rule).out == f"Removed rule {rule}\n"
    assert policy("policy", "test", "git push").code == 4
    audit = policy("policy", "list", "--audit").out
    assert "added" in audit
    assert "removed" in audit


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("policy", "add"), "say what the rule does"),
        (("policy", "add", "forbid", "x"), "say what the rule does"),
        (("policy", "add", "deny"), "needs one of"),
        (("policy", "add", "deny", "a && b"), "without quotes or operators"),
        (("policy", "add", "deny", "x", "--expires", "soon"), "no date"),
        (("policy", "add", "deny", "--kind", "magic"), "`kind` must be one of"),
        (("policy", "add", "deny", "x", "--session", "nobody"), "nobody"),
        (("policy", "remove"), "name the rules"),
        (("policy", "remove", "zzz"), "zzz"),
        (("policy", "test"), "say what is to be tried"),
        (("policy", "frob"), "frob"),
    ],
)
def test_what_is_no_rule_is_refused_and_nothing_is_written(
    policy: Command, tmp_path: Path, words: tuple[str, ...], said: str
):
    ended = policy(*words)
    assert ended.code not in (0, 3, 4)
    assert said in ended.err
    assert not (tmp_path / "config" / "policy.toml").exists()


def test_a_broken_file_lets_nothing_through_and_is_never_written_over(
    policy: Command, tmp_path: Path
):
    file = tmp_path / "config" / "policy.toml"
    file.parent.mkdir()
    file.write_text("[[rule]]\neffect = 'allow'\ncommand = 'make'\n[[rule]\n")
    for words in (
        ("policy", "list"),
        ("policy", "test", "make"),
        ("policy", "add", "deny", "x"),
        ("policy", "remove", "g1"),
    ):
        ended = policy(*words)
        assert ended.code not in (0, 3, 4), words
        assert str(file) in ended.err
    assert file.read_text().endswith("[[rule]\n")


def test_an_expired_rule_does_not_hold(policy: Command):
    assert policy("policy", "add", "allow", "make", "--expires", "2001-01-01").code == 0
    assert policy("policy", "test", "make").code == 4


def test_files_tools_and_hosts_are_tried_too(policy: Command):
    assert policy("policy", "add", "deny", "--path", "**/.env").code == 0
    assert policy("policy", "add", "allow", "--mcp", "docs/*").code == 0
    assert policy("policy", "add", "deny", "--host", "*.example.org").code == 0
    assert policy("policy", "test", "--kind", "edit", "--path", "a/.env").code == 3
    assert policy("policy", "test", "cat a/.env").code == 3
    assert policy("policy", "test", "--mcp", "docs/search").code == 0
    assert policy("policy", "test", "--mcp", "shop/buy").code == 4
    assert policy("policy", "test", "--host", "www.example.org").code == 3
    assert policy("policy", "test", "curl https://www.example.org/x").code == 3
