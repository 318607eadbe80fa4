"""Terminal sessions: sitting at an agent's own screen, and handing a conversation over."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess

from bullpen.cli.exits import DONE, Refusal
from bullpen.cli.options import add_json, add_session
from bullpen.cli.show import say, say_json
from bullpen.cli.wire import Wire, session_path
from bullpen.model.home import Home

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any, NoReturn

_LINES = 5
_PATIENCE = 20


def add_switch(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen switch`."""
    add_session(parser)
    parser.add_argument(
        "--interface", choices=("structured", "terminal"), required=True, help="what to go on with"
    )
    parser.add_argument("--interrupt", action="store_true", help="end the running turn first")
    add_json(parser)


def switch(args: argparse.Namespace) -> int:
    """Hand a conversation over: from an agent we speak to, to the agent's own screen, and back."""
    body = {"interface": args.interface, "interrupt": args.interrupt}
    path = session_path(args.session, "/switch")
    record = Wire.here().call("POST", path, body, timeout=None)
    if args.json:
        say_json(record)
    else:
        say(f"Switched session {args.session} to {record.get('interface', 'structured')}")
    return DONE


def add_screen(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen screen`."""
    add_session(parser)


def screen(args: argparse.Namespace) -> int:
    """Print what the screen of a terminal session shows now."""
    record = Wire.here().get(session_path(args.session))
    words = [*_tmux(record), "capture-pane", "-p", "-t", "main"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    if done.returncode != 0:
        raise Refusal(
            "screen-gone", f"session {args.session!r} shows no screen: {done.stderr.strip()}"
        )
    say(done.stdout.rstrip("\n"))
    return DONE


def sit_down(record: dict[str, Any], *, read_only: bool) -> NoReturn:
    """Become the user's tmux on the session's screen. Leaving it leaves the agent running.

    Raises:
        Refusal: there is no screen, or no tmux.
    """
    words = [*_tmux(record), "attach-session", "-t", "main", *(["-r"] if read_only else [])]
    # Inside another tmux ours would refuse to start.
    environment = {name: value for name, value in os.environ.items() if name != "TMUX"}
    os.execvpe(words[0], words, environment)


def _tmux(record: dict[str, Any]) -> list[str]:
    if record.get("interface") != "terminal":
        raise Refusal(
            "no-screen",
            f"session {record['id']!r} has no screen of its own",
            hint=f"bullpen switch {record['id']} --interface terminal",
        )
    if shutil.which("tmux") is None:
        raise Refusal("program-not-found", "tmux is not installed", hint="install tmux")
    sock = Home.of(os.environ).screen(record["id"])
    if not sock.exists():
        why = f"the screen of {record['id']!r} is gone: the session is {record['state']}"
        raise Refusal("screen-gone", why, hint=f"bullpen resume {record['id']}")
    return ["tmux", "-S", str(sock)]
