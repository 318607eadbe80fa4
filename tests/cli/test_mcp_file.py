import json
import sys
from pathlib import Path

import pytest

from bullpen.cli.exits import Refusal
from bullpen.cli.mcp_file import servers_of


def written(tmp_path: Path, content: object) -> str:
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps(content))
    return str(file)


def test_servers_are_given_in_the_protocols_form(tmp_path: Path):
    servers = {
        "tool": {"command": sys.executable, "args": ["-V"], "env": {"A": "1"}},
        "page": {"url": "http://127.0.0.1:9/mcp", "headers": {"X": "y"}},
        "old": {"type": "sse", "url": "http://127.0.0.1:9/sse"},
    }
    assert servers_of(written(tmp_path, {"mcpServers": servers})) == [
        {
            "name": "tool",
            "command": sys.executable,
            "args": ["-V"],
            "env": [{"name": "A", "value": "1"}],
        },
        {
            "type": "http",
            "name": "page",
            "url": "http://127.0.0.1:9/mcp",
            "headers": [{"name": "X", "value": "y"}],
        },
        {"type": "sse", "name": "old", "url": "http://127.0.0.1:9/sse", "headers": []},
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([], "no object 'mcpServers'"),
        ({"mcpServers": {}}, "no object 'mcpServers'"),
        ({"mcpServers": {"x": {}}}, "neither 'command' nor 'url'"),
        ({"mcpServers": {"x": {"command": "no-such-program-here"}}}, "cannot find program"),
        ({"mcpServers": {"x": {"command": "sh", "args": "-c"}}}, "must be a list of texts"),
        ({"mcpServers": {"x": {"command": "sh", "env": ["A=1"]}}}, "must map names to texts"),
        ({"mcpServers": {"x": {"command": "sh", "env": {"A": 1}}}}, "must map names to texts"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, content: object, why: str
):
    with pytest.raises(Refusal, match=why):
        servers_of(written(tmp_path, content))


def test_a_file_that_is_no_json_or_is_missing_is_refused(tmp_path: Path):
    (tmp_path / "mcp.json").write_text("{")
    with pytest.raises(Refusal, match="no JSON"):
        servers_of(str(tmp_path / "mcp.json"))
    with pytest.raises(Refusal, match="cannot read"):
        servers_of(str(tmp_path / "missing.json"))
