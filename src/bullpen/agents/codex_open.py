"""What Codex is told, and tells, when a conversation opens."""

from typing import Any

from bullpen.agents.wire import dict_of, list_of, text_of
from bullpen.model.fact import Choice


def server_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return an MCP server as overrides of the agent's configuration."""
    base = f"mcp_servers.{given['name']}"
    if given.get("url"):
        headers = {each["name"]: each["value"] for each in given.get("headers") or ()}
        return {f"{base}.url": given["url"], f"{base}.http_headers": headers}
    variables = {each["name"]: each["value"] for each in given.get("env") or ()}
    args: list[str] = given.get("args") or []
    said = {f"{base}.command": given["command"], f"{base}.args": args}
    return said | ({f"{base}.env": variables} if variables else {})


def models_of(result: dict[str, Any]) -> list[Choice]:
    """Return the models the agent offers."""
    listed = [dict_of(each) or {} for each in list_of(result.get("data")) or []]
    return [
        Choice(
            name, text_of(each.get("displayName")) or name, text_of(each.get("description")) or ""
        )
        for each in listed
        if (name := text_of(each.get("model"))) and each.get("hidden") is not True
    ]
