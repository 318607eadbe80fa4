"""Where a host's state lies. Standard library only: every shell verb imports this.

`BULLPEN_HOME`, else `$XDG_STATE_HOME/bullpen`, else `~/.local/state/bullpen`.
"""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

_LONGEST_SOCKET = 100
# A unix socket's path holds 104 bytes on macOS and 108 on Linux, the last one a NUL.


class Home:
    """The state folder of one host, and the names of what lies in it. Makes nothing."""

    __slots__ = ("folder", "socket")

    def __init__(self, folder: Path, *, runtime: Path) -> None:
        self.folder = folder
        """Absolute path; mode 0700 once the service made it."""
        socket = folder / "service.sock"
        if len(os.fsencode(socket)) > _LONGEST_SOCKET:
            digest = f"{zlib.crc32(os.fsencode(folder)):08x}"
            name = Path(f"bullpen-{os.getuid()}") / f"{digest}.sock"
            socket = runtime / name
            if len(os.fsencode(socket)) > _LONGEST_SOCKET:
                socket = Path("/tmp") / name
        self.socket = socket
        """Where the service listens; its folder has mode 0700."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Home":
        """Read the place from `environment`. Never fails; nothing has to exist."""
        user = environment.get("HOME") or "~"
        state = environment.get("XDG_STATE_HOME") or str(Path(user) / ".local" / "state")
        folder = environment.get("BULLPEN_HOME") or str(Path(state) / "bullpen")
        runtime = environment.get("XDG_RUNTIME_DIR") or "/tmp"
        return cls(Path(folder).expanduser().absolute(), runtime=Path(runtime))

    @property
    def sessions(self) -> Path:
        """Folder with one journal folder per session."""
        return self.folder / "sessions"

    def screen(self, session: str) -> Path:
        """Return the tmux socket of a terminal session."""
        inside = self.sessions / session / "t.sock"
        if len(os.fsencode(inside)) <= _LONGEST_SOCKET:
            return inside
        return self.socket.with_name(f"{self.socket.stem}-{session}.t")

    @property
    def worktrees(self) -> Path:
        """Folder of the worktrees, one level per repository."""
        return self.folder / "worktrees"

    @property
    def service_lock(self) -> Path:
        """Held by an flock as long as a service runs."""
        return self.folder / "service.lock"

    @property
    def start_lock(self) -> Path:
        """Held by whoever is starting a service."""
        return self.folder / "start.lock"

    @property
    def service_log(self) -> Path:
        """What a service in the background prints."""
        return self.folder / "service.log"
