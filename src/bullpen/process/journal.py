"""The files through which an agent speaks and is spoken to.

They outlive us, so a service that comes later finds the whole conversation. Everything in the
folder is for the user alone, and nothing in it is followed through a link: what is not as we
left it is refused, never mended.
"""

import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bullpen.errors import JournalDamaged
from bullpen.process.table import arguments, look

_LARGEST_SIGNAL = 64


@dataclass(frozen=True, slots=True)
class Ending:
    """How an agent ended. Both None: nobody saw how."""

    exit_code: int | None
    """As a shell says it: 128 + n when signal n killed it."""
    signal: int | None
    """The signal that killed it. An agent that itself exits with 128 + n, as many do after
    SIGINT, cannot be told from one that signal n killed; both are recorded as killed."""

    @classmethod
    def of(cls, code: int) -> "Ending":
        """Return the ending a shell reports as `code`, or `subprocess` as a negative one."""
        code = 128 - code if code < 0 else code
        number = code - 128
        return cls(code, number if 0 < number <= _LARGEST_SIGNAL else None)


UNSEEN = Ending(None, None)
"""The ending nobody saw."""


@dataclass(frozen=True, slots=True)
class Journal:
    """One session's folder. Runs come one after the other and append to the same output."""

    folder: Path
    """`sessions/<id>`; made with mode 0700."""

    @property
    def stdin(self) -> Path:
        """FIFO the agent reads."""
        return self.folder / "in"

    @property
    def stdout(self) -> Path:
        """All the agent ever wrote to its stdout, over all runs."""
        return self.folder / "out.jsonl"

    @property
    def stderr(self) -> Path:
        """All the agent ever wrote to its stderr, over all runs."""
        return self.folder / "err.log"

    @property
    def pid_file(self) -> Path:
        """`<pid> <run>` of the wrapper, there from before the agent starts."""
        return self.folder / "pid"

    @property
    def exit_file(self) -> Path:
        """`<code> <run>`, there once the agent has ended and the wrapper saw how."""
        return self.folder / "exit"

    @property
    def run_file(self) -> Path:
        """`<run> <bytes of stdout> <bytes of stderr> <random>`, the bytes as they were when the
        run was prepared."""
        return self.folder / "run"

    def prepare(self, *, run: int) -> int:
        """Make everything ready for `run` and return the offset in stdout at which it begins.

        What earlier runs wrote is kept. Bytes they never read from their FIFO are gone with it,
        and a last line they did not finish is closed with a newline, so the offset is always
        the start of a line. May be called again when the one before was cut short.

        Raises:
            JournalDamaged: something in the folder is no plain file, FIFO or folder of ours, or
                an earlier run is still alive. Nothing was deleted.
        """
        self._make_folder()
        self._refuse_strangers()
        self._refuse_a_living_run()
        begins = self._ready_for_append(self.stdout, closes_line=True)
        stderr_begins = self._ready_for_append(self.stderr, closes_line=False)
        # First of all that changes: a wrapper of an earlier run that wakes late finds that it is
        # not meant. The number makes every preparation another one, also of the same run.
        self._write_run_file(f"{run} {begins} {stderr_begins} {secrets.randbits(62)}\n")
        for stale in (self.exit_file, self.pid_file, self.stdin):
            stale.unlink(missing_ok=True)
        os.mkfifo(self.stdin, 0o600)
        return begins

    def ending(self, run: int) -> Ending | None:
        """Return how `run` ended, None when no one recorded that."""
        numbers = read_numbers(self.exit_file)
        return Ending.of(numbers[0]) if len(numbers) == 2 and numbers[1] == run else None

    def wrapper(self, run: int) -> int | None:
        """Return the pid the wrapper of `run` had; None when it never came to write it."""
        numbers = read_numbers(self.pid_file)
        return numbers[0] or None if len(numbers) == 2 and numbers[1] == run else None

    def give_up(self, run: int) -> bool:
        """Make sure that the agent of `run` will never start, if it has not started yet.

        A wrapper that was forked and has not come to write its pid file finds one and ends.
        Returns False when there is one already, of whomever: then the agent may have started.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            with opened(self.pid_file, flags) as descriptor:
                os.write(descriptor, f"0 {run}\n".encode("ascii"))
        except FileExistsError:
            return False
        return True

    def prepared(self) -> str:
        """Return the words by which a wrapper knows that this preparation is the one it is for.

        Raises:
            JournalDamaged: `prepare` was not called.
        """
        try:
            return self.run_file.read_text("ascii").strip()
        except FileNotFoundError as error:
            raise JournalDamaged(self.folder, "it was not prepared for a run") from error

    def stderr_tail(self, limit_bytes: int = 4000) -> str:
        """Return the last lines of stderr of the newest run, at most `limit_bytes` of them.

        Bad UTF-8 becomes the replacement character. A line cut by the limit is left out, unless
        there is no other. Empty when there is no stderr.
        """
        numbers = read_numbers(self.run_file)
        begins = numbers[2] if len(numbers) == 4 else 0
        try:
            with self.stderr.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                begins = begins if begins <= size else 0
                start = max(begins, size - limit_bytes)
                log.seek(max(start - 1, 0))
                tail = log.read(size - max(start - 1, 0))
        except FileNotFoundError:
            return ""
        # The byte before the tail says whether the tail begins with a whole line.
        before, tail = (tail[:1], tail[1:]) if start else (b"\n", tail)
        if start > begins and before != b"\n":
            _, newline, rest = tail.partition(b"\n")
            tail = rest if newline and rest else tail
        return tail.decode("utf-8", "replace").strip("\r\n")

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise JournalDamaged(self.folder, "it is no folder")
        if found.st_uid != os.geteuid():
            raise JournalDamaged(self.folder, "it belongs to another user")
        if stat.S_IMODE(found.st_mode) != 0o700:
            self.folder.chmod(0o700)

    def _refuse_strangers(self) -> None:
        wanted = {self.stdin: stat.S_ISFIFO}
        for path in (self.stdout, self.stderr, self.pid_file, self.exit_file, self.run_file):
            wanted[path] = stat.S_ISREG
        for path, is_right in wanted.items():
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if not is_right(found.st_mode):
                kind = "FIFO" if is_right is stat.S_ISFIFO else "plain file"
                raise JournalDamaged(self.folder, f"{path.name!r} is no {kind}")

    def _refuse_a_living_run(self) -> None:
        numbers = read_numbers(self.pid_file)
        entry = look(numbers[0]) if numbers and numbers[0] else None
        if entry is None or entry.is_dead:
            return
        # The folder is an argument of its wrapper, which no other process with that pid has.
        if str(self.folder.resolve()) in arguments(numbers[0]):
            raise JournalDamaged(self.folder, f"process {numbers[0]} of an earlier run is alive")

    def _write_run_file(self, text: str) -> None:
        draft = self.folder / "run.new"
        draft.unlink(missing_ok=True)
        draft.touch(0o600, exist_ok=False)
        draft.write_text(text, "ascii")
        draft.replace(self.run_file)

    def _ready_for_append(self, path: Path, *, closes_line: bool) -> int:
        with opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW) as descriptor:
            os.fchmod(descriptor, 0o600)
            size = os.fstat(descriptor).st_size
            if closes_line and size and os.pread(descriptor, 1, size - 1) != b"\n":
                size += os.write(descriptor, b"\n")
            return size


@contextmanager
def opened(path: Path, flags: int) -> Generator[int]:
    """Open `path` as a descriptor no child inherits, 0600 if it is made, and close it."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_numbers(path: Path) -> list[int]:
    """Return the numbers in a one-line file; empty when it is missing or not written to its
    end, which the newline shows."""
    try:
        # Never opened unless plain: opening a FIFO would wait for whoever put it there.
        text = path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else b""
    except FileNotFoundError:
        return []
    words = text.split()
    whole = text.endswith(b"\n") and all(word.isdigit() for word in words)
    return [int(word) for word in words] if whole else []
