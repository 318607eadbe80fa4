"""The service itself: run it here, start it in the background, ask for it, end it."""

from __future__ import annotations

import argparse
import os
from importlib import import_module

from bullpen.cli import exits
from bullpen.cli.exits import Refusal, usage
from bullpen.cli.options import add_json
from bullpen.cli.show import say, say_json
from bullpen.cli.start import is_running, started, until_gone
from bullpen.cli.wire import Wire, died
from bullpen.model.home import Home

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen serve`."""
    parser.epilog = "Agents outlive the service: ending it ends none of them."
    parser.add_argument(
        "--daemon", action="store_true", help="start it in the background unless it runs"
    )
    parser.add_argument("--stop", action="store_true", help="end it, and return when it is gone")
    parser.add_argument(
        "--status", action="store_true", help="say whether it runs; exit 255 if not"
    )
    add_json(parser)


def serve(args: argparse.Namespace) -> int:
    """Run the service in the foreground until SIGTERM or Ctrl-C; or what the option says."""
    if (args.daemon, args.stop, args.status).count(True) > 1:
        raise usage("give at most one of --daemon, --stop and --status")
    home = Home.of(os.environ)
    if args.daemon:
        return _start(home, as_json=args.json)
    if args.stop:
        return _stop(home, as_json=args.json)
    if args.status:
        return _say_health(_health(home), as_json=args.json)
    # The one import here that loads the web framework, so it is made when it is wanted.
    code: int = import_module("bullpen.service.serve").main(home)
    return code


def _start(home: Home, *, as_json: bool) -> int:
    started(home, os.environ).close()
    return _say_health(_health(home), as_json=as_json)


def _stop(home: Home, *, as_json: bool) -> int:
    stopped = _shut_down(home)
    until_gone(home)
    if as_json:
        say_json({"stopped": stopped})
    else:
        say("Stopped the service; agents go on" if stopped else "No service is running")
    return exits.DONE


def _shut_down(home: Home) -> bool:
    """Ask the service to end; False when there is none."""
    try:
        Wire(home, os.environ, start=False).call("POST", "/v1/shutdown", {}, repeat=False)
    except Refusal as refusal:
        # An answer that breaks off is one way to say that it ended.
        if refusal.exit_code != exits.UNREACHABLE:
            raise
        return refusal.message == died().message or is_running(home)
    return True


def _health(home: Home) -> dict[str, Any]:
    health: dict[str, Any] = Wire(home, os.environ, start=False).get("/v1/health")
    return health


def _say_health(health: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        say_json(health)
        return exits.DONE
    counts: dict[str, int] = health.get("sessions") or {}
    numbers = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    say(f"Service {health['version']} runs with pid {health['pid']}; home {health['home']}")
    say(f"Sessions: {numbers or 'none'}")
    return exits.DONE
