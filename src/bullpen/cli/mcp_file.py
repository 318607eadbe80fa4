"""Reading a file of MCP servers, in the form other tools share, for the agent protocol's."""

import json
import os
import shutil
from typing import Any, cast

from bullpen.cli.exits import Refusal
from bullpen.cli.message import read_text


def servers_of(file: str) -> list[dict[str, Any]]:
    """Return the servers of `{"mcpServers": {NAME: {command, args, env} or {url, headers}}}`.

    Commands are looked up on PATH, since the agent may have another one.

    Raises:
        Refusal: the file cannot be read, is no such JSON, or names a program that is not there.
    """
    try:
        content = json.loads(read_text(file))
    except ValueError as error:
        raise _invalid(file, f"it is no JSON: {error}") from error
    listed = _object(_object(content).get("mcpServers"))
    if not listed:
        raise _invalid(file, "it has no object 'mcpServers' with servers in it")
    return [_server(file, name, _object(entry)) for name, entry in listed.items()]


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _server(file: str, name: str, entry: dict[str, Any]) -> dict[str, Any]:
    if isinstance(entry.get("url"), str):
        kind = "sse" if entry.get("type") == "sse" else "http"
        headers = _pairs(file, name, entry.get("headers"))
        return {"type": kind, "name": name, "url": entry["url"], "headers": headers}
    command = entry.get("command")
    if not isinstance(command, str):
        raise _invalid(file, f"server {name!r} has neither 'command' nor 'url'")
    found = shutil.which(command)
    if found is None:
        raise _invalid(file, f"server {name!r}: cannot find program {command!r}")
    args: Any = entry.get("args", [])
    if not isinstance(args, list) or not all(
        isinstance(one, str) for one in cast("list[Any]", args)
    ):
        raise _invalid(file, f"server {name!r}: 'args' must be a list of texts")
    program = os.path.abspath(found)  # noqa: PTH100 - symbolic links stay as found
    environment = _pairs(file, name, entry.get("env"))
    return {"name": name, "command": program, "args": args, "env": environment}


def _pairs(file: str, name: str, given: Any) -> list[dict[str, str]]:
    pairs = _object(given)
    if (given is not None and not isinstance(given, dict)) or not all(
        isinstance(one, str) for one in pairs.values()
    ):
        raise _invalid(file, f"server {name!r}: 'env' and 'headers' must map names to texts")
    return [{"name": key, "value": value} for key, value in pairs.items()]


def _invalid(file: str, why: str) -> Refusal:
    hint = 'write {"mcpServers": {"NAME": {"command": "…", "args": []}}}'
    return Refusal("mcp-file-invalid", f"cannot use {file!r}: {why}", hint=hint, exit_code=2)
