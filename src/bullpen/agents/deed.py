"""What an agent wants to do, read from what ACP says of a tool call.

The protocol gives a kind, a title, the tool's raw input and the files it touches; of each it may
give nothing. What cannot be read for sure stays unknown.
"""

from typing import Any, Final

from bullpen.agents.wire import dict_of, list_of, text_of
from bullpen.model.fact import Deed

_KINDS: Final = frozenset({"read", "edit", "delete", "move", "search", "execute", "fetch", "think"})
_COMMANDS: Final = ("command", "cmd", "script")
_DIRECTORIES: Final = ("cwd", "workdir", "directory", "dir_path")
_PATHS: Final = (
    "file_path",
    "filePath",
    "path",
    "absolute_path",
    "notebook_path",
    "old_path",
    "new_path",
    "source",
    "destination",
)
_MODES: Final = ("switch_mode", "exit_plan_mode")


def deed_of(
    *, kind: str | None, title: str | None, raw_input: Any, locations: Any, content: Any, meta: Any
) -> Deed | None:
    """Return what the call does, None when nothing of it can be read."""
    given = dict_of(raw_input) or {}
    tool = _tool_name(meta, given)
    server, name = _mcp(tool, given)
    command, argv = _command(given)
    paths = _paths(given, locations, content)
    url = text_of(given.get("url"))
    found = _kind(kind, server=server, has_command=command is not None or argv is not None)
    if found == "other" and not (paths or url or server or tool):
        return None
    if found == "execute" and command is None and argv is None:
        # Agents without a raw input show the command as the title.
        command = _titled(title)
    directory = next((one for key in _DIRECTORIES if (one := text_of(given.get(key)))), None)
    return Deed(
        kind=found,
        tool=tool,
        command=command,
        argv=argv,
        directory=directory,
        paths=paths,
        server=server,
        mcp_tool=name,
        url=url,
    )


def _kind(kind: str | None, *, server: str | None, has_command: bool) -> str:
    if server is not None:
        return "mcp"
    if has_command and kind in (None, "other"):
        return "execute"
    if kind in _MODES:
        return "mode"
    return kind if kind in _KINDS else "other"


def _tool_name(meta: Any, given: dict[str, Any]) -> str | None:
    inner = dict_of((dict_of(meta) or {}).get("claudeCode")) or {}
    return text_of(inner.get("toolName")) or text_of(given.get("tool_name"))


def _mcp(tool: str | None, given: dict[str, Any]) -> tuple[str | None, str | None]:
    if tool is not None and tool.startswith("mcp__"):
        _, server, name = [*tool.split("__", 2), ""][:3]
        return server, name
    server, name = text_of(given.get("server")), text_of(given.get("tool"))
    return (server, name) if server and name else (None, None)


def _command(given: dict[str, Any]) -> tuple[str | None, list[str] | None]:
    for key in _COMMANDS:
        value = given.get(key)
        text, words = text_of(value), list_of(value)
        if text is not None:
            return text, None
        if words and all(isinstance(each, str) for each in words):
            is_shell = len(words) == 3 and words[1] in ("-c", "-lc")
            return (words[2], None) if is_shell else (None, words)
    return None, None


def _titled(title: str | None) -> str | None:
    text = (title or "").strip()
    if len(text) > 1 and text.startswith("`") and text.endswith("`"):
        return text[1:-1]
    return text or None


def _paths(given: dict[str, Any], locations: Any, content: Any) -> list[str]:
    found = [path for key in _PATHS if (path := text_of(given.get(key)))]
    places = [dict_of(each) or {} for each in list_of(locations) or []]
    found += [text_of(each.get("path")) or "" for each in places]
    for each in list_of(content) or []:
        block = dict_of(each) or {}
        if block.get("type") == "diff":
            found.append(text_of(block.get("path")) or "")
    return [path for path in dict.fromkeys(found) if path]
