"""Reading a message exactly as it was given: no length limit, no byte changed."""

from __future__ import annotations

import os
import sys

from bullpen.cli.exits import Refusal, usage

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import TextIO


def message_of(text: str | None, file: str | None) -> str:
    """Return the message given as a word or by `--file`.

    Raises:
        Refusal: both or neither were given, it is blank, the file cannot be read, or it is not
            UTF-8 (the first byte that is not is named).
    """
    if text is not None and file is not None:
        raise usage("give either MESSAGE or --file, not both")
    if text is None and file is None:
        raise usage("a message is required", hint="give MESSAGE, --file PATH or --file -")
    message = read_text(file) if file is not None else _decoded(os.fsencode(text or ""), "MESSAGE")
    if not message.strip():
        raise usage("the message is empty", hint="give MESSAGE, --file PATH or --file -")
    return message


def read_text(file: str) -> str:
    """Return the content of `file`, of standard input for `-`.

    Raises:
        Refusal: it cannot be read or is not UTF-8.
    """
    if file == "-":
        # Python has no such object when the shell closed the stream.
        stdin: TextIO | None = sys.stdin
        if stdin is None:
            raise usage("standard input is closed")
        return _decoded(stdin.buffer.read(), "standard input")
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - pathlib adds nothing to one read
            return _decoded(stream.read(), repr(file))
    except OSError as error:
        raise Refusal("file-unreadable", f"cannot read {file!r}: {error.strerror}") from error


def _decoded(raw: bytes, source: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Refusal(
            "message-invalid",
            f"{source} is not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start} "
            f"(line {line})",
            hint="convert it first, for instance with `iconv -t utf-8`",
        ) from error
