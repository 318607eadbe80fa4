"""What an agent does, told by its own hooks, files and extension; never read from its screen.

Each source turns what one agent leaves behind into the same few signs: `ready`, `prompt` (somebody
gave it one), `text`, `tool`, `tool-end`, `end` (of a turn), `asked`.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing the agent did."""

    kind: str
    text: str = ""
    name: str = ""
    data: dict[str, Any] = field(default_factory=dict[str, Any])


class Source(Protocol):
    """Where signs of one agent come from."""

    def arguments(self) -> list[str]:
        """Return what the agent must be told on its command line."""
        ...

    def environment(self) -> dict[str, str]:
        """Return what must stand in its environment."""
        ...

    def hook(self, event: str, data: dict[str, Any]) -> list[Sign]:
        """Take what a hook told."""
        ...

    def look(self, pid: int) -> list[Sign]:
        """Return what happened since the last look. `pid` is the agent's."""
        ...


class Tail:
    """The lines of a file as they are added."""

    def __init__(self, file: Path, *, from_start: bool = True) -> None:
        self._file = file
        self._offset = 0 if from_start or not file.exists() else file.stat().st_size

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the whole lines that are new and hold a JSON object."""
        try:
            with self._file.open("rb") as lines:
                lines.seek(self._offset)
                raw = lines.read()
        except OSError:
            return
        whole, newline, _ = raw.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.split(b"\n"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found  # pyright: ignore[reportUnknownVariableType]


_HOOKS = (
    "SessionStart",
    "UserPromptSubmit",
    "PermissionRequest",
    "Stop",
    "StopFailure",
    "SessionEnd",
)
_IDLE_PATIENCE = 1.0
_FILE_PATIENCE = 1.0


class ClaudeHooks:
    """Claude Code: hooks for turns and leave, its transcript for what is said, its session file
    for interrupts, of which no hook tells."""

    def __init__(self, *, hook: list[str], home: Path) -> None:
        self._hook = hook
        self._home = home
        self._transcript: Tail | None = None
        self._is_busy = False
        self._idle_since: float | None = None
        self._told = ""
        """A last message that was told before the file had it."""

    def arguments(self) -> list[str]:
        """Return the settings that install our hooks for this process alone."""
        hooks = {
            event: [{"hooks": [{"type": "command", "command": " ".join([*self._hook, event])}]}]
            for event in _HOOKS
        }
        return ["--settings", json.dumps({"hooks": hooks})]

    def environment(self) -> dict[str, str]:
        """Return nothing: the settings say it all."""
        return {}

    def hook(self, event: str, data: dict[str, Any]) -> list[Sign]:
        """Take what a hook told."""
        path = data.get("transcript_path")
        if path and self._transcript is None:
            fresh = data.get("source") not in ("resume", "compact")
            self._transcript = Tail(Path(path), from_start=fresh)
        if event == "SessionStart":
            return [Sign("ready", name=str(data.get("session_id", "")))]
        if event == "UserPromptSubmit":
            self._is_busy, self._idle_since = True, None
            return [Sign("prompt", text=str(data.get("prompt", "")))]
        if event == "PermissionRequest":
            return [Sign("asked", name=str(data.get("tool_name", "")), data=data)]
        if event in ("Stop", "StopFailure"):
            self._is_busy = False
            said = self._all_said(str(data.get("last_assistant_message") or ""))
            error = str(data.get("error_details") or data.get("error") or "the turn failed")
            last = (
                Sign("end", "error", error) if event == "StopFailure" else Sign("end", "end_turn")
            )
            return [*said, last]
        return []

    def _all_said(self, last: str) -> list[Sign]:
        """Return what was said up to the end of the turn: the hook may be ahead of the file."""
        found: list[Sign] = []
        until = time.monotonic() + _FILE_PATIENCE
        while True:
            found += self._said()
            if not last or any(one.kind == "text" and last in one.text for one in found):
                return found
            if time.monotonic() > until:
                self._told = last
                return [*found, Sign("text", text=last)]
            time.sleep(0.02)

    def look(self, pid: int) -> list[Sign]:
        """Read the transcript, and see whether a turn ended without a hook."""
        found = [*self._said()]
        if self._is_busy and self._is_idle(pid):
            self._is_busy = False
            found += [*self._said(), Sign("end", "cancelled")]
        return found

    def _is_idle(self, pid: int) -> bool:
        file = self._home / ".claude" / "sessions" / f"{pid}.json"
        try:
            status = json.loads(file.read_bytes()).get("status")
        except (OSError, ValueError):
            return False
        if status != "idle":
            self._idle_since = None
            return False
        # The hook of an ordinary end comes within this time.
        self._idle_since = self._idle_since or time.monotonic()
        return time.monotonic() - self._idle_since > _IDLE_PATIENCE

    def _said(self) -> Iterator[Sign]:
        for entry in self._transcript.read() if self._transcript else ():
            message: dict[str, Any] = entry.get("message") or {}
            content: Any = message.get("content")
            if entry.get("isSidechain") or not isinstance(content, list):
                continue
            blocks: list[dict[str, Any]] = content  # pyright: ignore[reportUnknownVariableType]
            for sign in (one for block in blocks for one in _claude_block(entry, block)):
                if sign.kind == "text" and sign.text == self._told:
                    self._told = ""
                else:
                    yield sign


def _claude_block(entry: dict[str, Any], block: dict[str, Any]) -> Iterator[Sign]:
    kind = block.get("type")
    if entry.get("type") == "assistant" and kind == "text" and not entry.get("isApiErrorMessage"):
        yield Sign("text", text=str(block.get("text", "")), name=str(entry.get("uuid", "")))
    elif kind == "tool_use":
        given: dict[str, Any] = block.get("input") or {}
        data = {"tool": block.get("name"), "input": given}
        yield Sign("tool", name=str(block.get("id", "")), data=data)
    elif kind == "tool_result":
        status = "failed" if block.get("is_error") else "completed"
        yield Sign("tool-end", text=status, name=str(block.get("tool_use_id", "")))


class CodexRollout:
    """Codex: its rollout file, which tells of turns, words and tools. Hooks of Codex must be
    trusted by its user one by one, so none are installed; what it asks is answered at its screen,
    and shows as work that goes on."""

    def __init__(self, *, home: Path, directory: str, resume: str | None) -> None:
        self._folder = home / ".codex" / "sessions"
        self._directory = directory
        self._resume = resume
        self._began = time.time() - 1
        self._tail: Tail | None = None
        self._is_ready = False

    def arguments(self) -> list[str]:
        """Keep Codex from leaving a daemon behind and from asking for updates."""
        return ["-c", "features.daemon_auto_start=false", "-c", "check_for_update_on_startup=false"]

    def environment(self) -> dict[str, str]:
        """Return nothing."""
        return {}

    def hook(self, event: str, data: dict[str, Any]) -> list[Sign]:
        """No hooks are installed."""
        return []

    def look(self, pid: int) -> list[Sign]:
        """Read the rollout file; find it first."""
        if not self._is_ready:
            # It writes no file before the first prompt, so nobody can say that it is ready.
            self._is_ready = True
            return [Sign("ready", name=self._resume or "")]
        if self._tail is None:
            self._tail = self._found()
        found: list[Sign] = []
        for entry in self._tail.read() if self._tail else ():
            found += _codex_entry(entry)
        return found

    def _found(self) -> Tail | None:
        files = sorted(self._folder.glob("*/*/*/rollout-*.jsonl"), key=_changed, reverse=True)
        for file in files[:20]:
            if self._resume is not None and self._resume in file.name:
                return Tail(file, from_start=False)
            if self._resume is None and _changed(file) >= self._began and self._is_ours(file):
                return Tail(file)
        return None

    def _is_ours(self, file: Path) -> bool:
        try:
            with file.open("rb") as lines:
                head = json.loads(lines.readline())
        except (OSError, ValueError):
            return False
        payload: dict[str, Any] = head.get("payload") or {}
        return payload.get("cwd") == self._directory


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _codex_entry(entry: dict[str, Any]) -> list[Sign]:
    payload: dict[str, Any] = entry.get("payload") or {}
    kind = payload.get("type")
    if entry.get("type") == "session_meta":
        return [Sign("named", name=str(payload.get("id", "")))]
    if entry.get("type") == "response_item":
        return _codex_item(payload, name=str(entry.get("ordinal", "")))
    if entry.get("type") != "event_msg":
        return []
    if kind == "task_complete":
        return [Sign("end", "end_turn")]
    if kind == "turn_aborted":
        return [Sign("end", "cancelled")]
    if kind == "error":
        return [Sign("end", "error", str(payload.get("message", "the turn failed")))]
    return []


def _codex_item(payload: dict[str, Any], *, name: str) -> list[Sign]:
    kind, call = str(payload.get("type")), str(payload.get("call_id", ""))
    if kind == "message" and payload.get("role") == "assistant":
        blocks: list[dict[str, Any]] = payload.get("content") or []
        texts = [str(block.get("text", "")) for block in blocks]
        return [Sign("text", text="".join(texts), name=name)]
    if kind == "message" and payload.get("role") == "user":
        blocks = payload.get("content") or []
        text = "".join(str(block.get("text", "")) for block in blocks)
        # What stands in marks of its own is context, not what somebody said.
        return [] if text.lstrip().startswith("<") else [Sign("prompt", text=text)]
    if kind in ("function_call", "custom_tool_call", "local_shell_call"):
        given = _given(payload.get("arguments"))
        return [Sign("tool", name=call, data={"tool": payload.get("name"), "input": given})]
    if kind in ("function_call_output", "custom_tool_call_output"):
        return [Sign("tool-end", text="completed", name=call)]
    return []


def _given(arguments: Any) -> dict[str, Any]:
    try:
        found = json.loads(arguments)
    except (TypeError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    given: dict[str, Any] = found  # pyright: ignore[reportUnknownVariableType]
    return {"command": given["cmd"], **given} if "cmd" in given else given


class PiExtension:
    """pi: our own extension tells of turns and tools, its session file of what is said."""

    def __init__(self, *, file: Path, resume: str | None) -> None:
        self._file = file
        self._resume = resume
        self._tail = Tail(file, from_start=False)
        self._transcript: Tail | None = None

    def arguments(self) -> list[str]:
        """Return nothing: the catalog entry loads the extension."""
        return []

    def environment(self) -> dict[str, str]:
        """Say where the lines go."""
        return {"BULLPEN_SIGNALS": str(self._file)}

    def hook(self, event: str, data: dict[str, Any]) -> list[Sign]:
        """No hooks are installed."""
        return []

    def look(self, pid: int) -> list[Sign]:
        """Read what the extension and the session file tell."""
        found: list[Sign] = []
        for entry in self._tail.read():
            if entry.get("event") == "session_start" and entry.get("file"):
                fresh = self._resume is None
                self._transcript = Tail(Path(str(entry["file"])), from_start=fresh)
            signs = _pi_entry(entry)
            # What was said stands in the file before the end is told.
            found += [*self._said(), *signs] if any(one.kind == "end" for one in signs) else signs
        return [*found, *self._said()]

    def _said(self) -> Iterator[Sign]:
        for entry in self._transcript.read() if self._transcript else ():
            message: dict[str, Any] = entry.get("message") or {}
            content: Any = message.get("content")
            if message.get("role") != "assistant" or not isinstance(content, list):
                continue
            blocks: list[dict[str, Any]] = content  # pyright: ignore[reportUnknownVariableType]
            for block in blocks:
                if block.get("type") == "text" and block.get("text"):
                    yield Sign("text", text=str(block["text"]), name=str(entry.get("id", "")))


def _pi_entry(entry: dict[str, Any]) -> list[Sign]:
    event = entry.get("event")
    if event == "session_start":
        return [Sign("ready", name=str(entry.get("session", "")))]
    if event == "input":
        return [Sign("prompt", text=str(entry.get("text", "")))]
    if event == "tool_start":
        return [Sign("tool", name=str(entry.get("call", "")), data={"tool": entry.get("tool")})]
    if event == "tool_end":
        status = "failed" if entry.get("error") else "completed"
        return [Sign("tool-end", text=status, name=str(entry.get("call", "")))]
    if event == "permission_asked":
        given: dict[str, Any] = entry.get("input") or {}
        data = {"tool_input": given, "tool_use_id": entry.get("call")}
        return [Sign("asked", name=str(entry.get("tool", "")), data=data)]
    if event == "permission_answered":
        return [Sign("answered")]
    if event == "agent_settled":
        return [_pi_end(entry)]
    return []


def _pi_end(entry: dict[str, Any]) -> Sign:
    stop = str(entry.get("stop") or "")
    if stop == "aborted":
        return Sign("end", "cancelled")
    if stop == "error":
        return Sign("end", "error", str(entry.get("error") or "the turn failed"))
    return Sign("end", "end_turn")


class NoSigns:
    """A program that tells nothing: only whether it lives is known."""

    def arguments(self) -> list[str]:
        """Return nothing."""
        return []

    def environment(self) -> dict[str, str]:
        """Return nothing."""
        return {}

    def hook(self, event: str, data: dict[str, Any]) -> list[Sign]:
        """No hooks are installed."""
        return []

    def look(self, pid: int) -> list[Sign]:
        """It is ready as soon as it runs."""
        return []


def source_of(plan: dict[str, Any], *, hook: list[str]) -> Source:
    """Return where the signs of the agent in `plan` come from."""
    home = Path(os.environ.get("HOME", "/"))
    kind = plan["signals"]
    if kind == "claude-hooks":
        return ClaudeHooks(hook=hook, home=home)
    if kind == "codex-rollout":
        return CodexRollout(home=home, directory=plan["directory"], resume=plan.get("resume"))
    if kind == "pi-extension":
        file = Path(plan["folder"]) / "signals.jsonl"
        return PiExtension(file=file, resume=plan.get("resume"))
    return NoSigns()
