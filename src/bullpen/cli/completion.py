"""Completion scripts for shells."""

from __future__ import annotations

import argparse

import shtab

from bullpen.cli.exits import DONE
from bullpen.cli.main import build_parser
from bullpen.cli.show import say

SHELLS = ("bash", "zsh", "fish", "tcsh")


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen completion`."""
    parser.epilog = 'For bash: eval "$(bullpen completion bash)" in ~/.bashrc.'
    parser.add_argument("shell", choices=SHELLS, help="the shell to write for")


def completion(args: argparse.Namespace) -> int:
    """Print a script that completes verbs and options of `bullpen` in the given shell."""
    say(shtab.complete(build_parser(), shell=args.shell))
    return DONE
