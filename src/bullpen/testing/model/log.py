"""What the model was asked: a file per request and a line each, for people and tests."""

import json
import time
from pathlib import Path
from typing import Any

_MOST = 2000
_MOST_BYTES = 200 * 2**20
# What is kept of requests; a forgotten agent in a loop must not fill the disk.


class Log:
    """Writes into a folder, or nothing when there is none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._count = self._bytes = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            sizes = [file.stat().st_size for file in folder.glob("*-*.json")]
            self._count, self._bytes = len(sizes), sum(sizes)

    def take(self, api: str, path: str, body: Any, note: str) -> None:
        """Keep one request and what was answered."""
        if self._folder is None or self._count >= _MOST or self._bytes >= _MOST_BYTES:
            return
        self._count += 1
        entry = {"at": time.time(), "api": api, "path": path, "note": note, "body": body}
        name = f"{self._count:04d}-{api}.json"
        self._bytes += (self._folder / name).write_text(json.dumps(entry))
        with (self._folder / "access.log").open("a") as lines:
            lines.write(f"{entry['at']:.3f} {name} {path} {note}\n")
