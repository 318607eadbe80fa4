"""What the stand-in agents say they saw, and when, on the clock all processes share."""

import json
import time
from pathlib import Path

from arena.figures import Trouble


class Marks:
    """The file the stand-in agents append to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._offset = 0
        self._rest = b""
        self._seen: dict[tuple[str, str], float] = {}

    def at(self, what: str, tag: str, *, timeout: float = 60) -> float:
        """Return when `what` (`ready`, `recv`, `done`, …) happened to `tag`.

        Raises:
            Trouble: it did not happen within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while (what, tag) not in self._seen:
            self._read()
            if (what, tag) not in self._seen:
                if time.monotonic() > end:
                    raise Trouble(f"no {what} of {tag} within {timeout:g} s")
                time.sleep(0.002)
        return self._seen[what, tag]

    def _read(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            mark = json.loads(line)
            self._seen[mark["what"], mark["tag"]] = mark["at"]
