"""A conversation and the file that keeps it, so that another process can bring it back."""

import json
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

from bullpen.testing.demo.script import Json

MODES = {
    "plan": "Changes nothing",
    "ask": "Asks before each change and command",
    "edit": "Asks before commands",
    "bypass": "Never asks",
}
MODELS = {"demo-fast": "Demo Fast", "demo-deep": "Demo Deep"}


def home() -> Path:
    """Return the folder all conversations are kept in, which need not exist."""
    chosen = os.environ.get("BULLPEN_DEMO_HOME")
    state = os.environ.get("XDG_STATE_HOME") or f"{os.environ.get('HOME', '')}/.local/state"
    return Path(chosen or f"{state}/bullpen-demo")


class Conversation:
    """What was said and chosen. What must survive this process is kept as it happens: one JSON
    object per line of a file, where a killed process can at worst tear the last one."""

    def __init__(self, name: str) -> None:
        mode = os.environ.get("BULLPEN_DEMO_MODE", "")
        self.id = name
        self.cwd = "/"
        self.mode = mode if mode in MODES else "bypass"
        self.model = "demo-fast"
        self.title: str | None = None
        self.history: list[tuple[str, str]] = []
        self.servers: list[Json] = []
        self.granted: set[str] = set()

    def keep(self, **record: str | None) -> None:
        """Apply a record and append it to the file. A disk that refuses is told on stderr."""
        self._apply(record)
        # The newline in front closes a line that a killed process left half written.
        line = f"\n{json.dumps(record)}\n".encode()
        try:
            home().mkdir(mode=0o700, parents=True, exist_ok=True)
            with (home() / f"{self.id}.jsonl").open("ab", buffering=0) as file:
                file.write(line)
        except OSError as error:
            sys.stderr.write(f"demo agent: this conversation is not kept: {error}\n")

    def recall(self) -> bool:
        """Take over what the file tells, without lines that are torn; False when there is none."""
        file = home() / f"{self.id}.jsonl"
        # The id comes from the client and must not lead out of the folder.
        if not re.fullmatch(r"[\w-]+", self.id) or not file.is_file():
            return False
        for line in file.read_bytes().splitlines():
            with suppress(ValueError):
                self._apply(json.loads(line))
        return True

    def told(self) -> list[str]:
        """Return what the user said, oldest first."""
        return [text for who, text in self.history if who == "user"]

    def options(self) -> list[Json]:
        """Return mode and model as configuration options of the protocol."""
        return [
            _select("mode", self.mode, {mode: mode.title() for mode in MODES}),
            _select("model", self.model, MODELS),
        ]

    def state(self) -> Json:
        """Return what opening the conversation is answered with."""
        modes = [{"id": m, "name": m.title(), "description": MODES[m]} for m in MODES]
        return {
            "modes": {"currentModeId": self.mode, "availableModes": modes},
            "configOptions": self.options(),
        }

    def _apply(self, record: Json) -> None:
        for key, value in record.items():
            if key in ("user", "agent"):
                self.history.append((key, value))
            elif key in ("cwd", "mode", "model", "title"):
                setattr(self, key, value)


def _select(name: str, current: str, values: dict[str, str]) -> Json:
    options = [{"value": value, "name": label} for value, label in values.items()]
    return {
        "id": name,
        "name": name.title(),
        "category": name,
        "type": "select",
        "currentValue": current,
        "options": options,
    }


def listing(cwd: str | None, start: int, size: int) -> tuple[list[Json], bool]:
    """Return `size` kept conversations from the `start`-th on, newest first, only those of `cwd`
    when that is given; and whether there are more."""
    try:
        files = [(file.stat().st_mtime, file.stem) for file in home().glob("*.jsonl")]
    except OSError:
        return [], False
    found: list[Json] = []
    for changed, name in sorted(files, reverse=True):
        conversation = Conversation(name)
        if not conversation.recall() or cwd not in (None, conversation.cwd):
            continue
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(changed))
        title = conversation.title or " ".join(conversation.told()[:1])[:60]
        found.append(
            {"sessionId": name, "cwd": conversation.cwd, "title": title, "updatedAt": stamp}
        )
        if len(found) > start + size:
            break
    return found[start : start + size], len(found) > start + size
