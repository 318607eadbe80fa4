"""Options and arguments that several verbs share, and the forms their values have."""

from __future__ import annotations

import argparse
import os

from bullpen.cli.exits import usage

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare `--json`."""
    parser.add_argument(
        "--json", action="store_true", help="print results and errors as JSON on stdout"
    )


def add_session(parser: argparse.ArgumentParser) -> None:
    """Declare the one session a verb is about."""
    parser.add_argument("session", metavar="ID", help="id of the session, such as brisk-otter")


def add_sessions(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Declare the sessions a verb is about."""
    parser.add_argument(
        "sessions", metavar="ID", nargs="*" if optional else "+", help="ids of the sessions"
    )


def add_message(parser: argparse.ArgumentParser) -> None:
    """Declare the two ways to hand over a message."""
    parser.add_argument(
        "message",
        metavar="MESSAGE",
        nargs="?",
        help="the text; behind `--` when it begins with a dash",
    )
    parser.add_argument(
        "-f", "--file", metavar="PATH", help="read the text from a file, `-` is standard input"
    )


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Declare `--timeout`."""
    parser.add_argument(
        "-t",
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=300.0,
        help="give up after this long, 0 means never (default 300)",
    )


def absolute(path: str) -> str:
    """Return `path` as it is typed, seen from the root; symbolic links stay.

    Raises:
        Refusal: it is relative, and the directory the user is in was deleted.
    """
    try:
        return os.path.abspath(path)  # noqa: PTH100 - resolve() would follow symbolic links
    except FileNotFoundError:
        hint = "go to one that exists, or name one by its full path: --path /DIR"
        raise usage("the current directory was deleted", hint=hint) from None


def seconds(text: str) -> float:
    """Read a number of seconds, zero or above."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def count(text: str) -> int:
    """Read a whole number above zero."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def natural(text: str) -> int:
    """Read a whole number, zero or above."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def duration(text: str) -> float:
    """Read a duration such as `90s`, `30m`, `72h`, `7d` or `2w` as seconds."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and unit in _UNITS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration like 30m, 72h or 7d")
    return float(int(number) * _UNITS[unit])


def pair(text: str) -> tuple[str, str]:
    """Read `NAME=VALUE`; the value may be empty and may hold `=`."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value
