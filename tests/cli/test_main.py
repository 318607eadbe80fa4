"""The command as a whole: words, help, mistakes, and what a verb loads."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bullpen as package
from bullpen.cli.main import VERBS, Parser, build_parser, parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Command, Stub

SOURCE = str(Path(package.__path__[0]).parent)
LIGHT = """
import sys
from bullpen.cli.main import main
code = main(["status", "a"])
print("\\n".join(sorted(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
HEAVY = {
    "asyncio",
    "anyio",
    "bullpen.cli.start",
    "bullpen.errors",
    "dataclasses",
    "email",
    "fastapi",
    "http",
    "httpx",
    "importlib.metadata",
    "inspect",
    "logging",
    "msgspec",
    "pydantic",
    "shtab",
    "sqlalchemy",
    "subprocess",
    "typing",
    "uvicorn",
}


def test_no_arguments_print_the_help_on_stderr_and_are_a_usage_error(bullpen: Command):
    ended = bullpen()
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("usage: bullpen")


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_names_every_verb(bullpen: Command, word: str):
    ended = bullpen(word)
    assert ended.code == 0
    assert all(f"  {verb} " in ended.out for verb in VERBS)


def test_help_of_a_verb_is_what_its_own_option_prints(bullpen: Command):
    assert bullpen("help", "wait").out == bullpen("wait", "--help").out != ""


def test_version(bullpen: Command):
    assert bullpen("--version").out == "bullpen 0.1.0\n"


def test_a_mistyped_verb_is_told_which_one_was_meant(bullpen: Command):
    ended = bullpen("lst")
    assert ended.code == 2
    assert ended.err == (
        "error: unknown verb 'lst'\nhint: did you mean list? `bullpen --help` lists the verbs\n"
    )


def test_a_wrong_command_line_is_told_as_json_where_json_was_asked_for(bullpen: Command):
    ended = bullpen("wait", "--json", "--bogus", "a")
    assert (ended.code, ended.err) == (2, "")
    assert ended.json["error"]["code"] == "usage"
    assert "--bogus" in ended.json["error"]["message"]


def test_an_abbreviated_option_is_not_accepted(bullpen: Command):
    assert bullpen("wait", "--time", "3", "a").code == 2


def test_an_error_goes_to_stderr_with_its_hint_and_with_json_to_stdout(
    bullpen: Command, stub: Stub
):
    stub.refuse("GET", "/v1/sessions/a", "session-not-found", "session not found: 'a'", hint="look")
    plain = bullpen("status", "a")
    assert (plain.code, plain.out) == (1, "")
    assert plain.err == "error: session not found: 'a'\nhint: look\n"
    told = bullpen("status", "a", "--json")
    assert (told.code, told.err) == (1, "")
    assert told.json == {
        "error": {"code": "session-not-found", "message": "session not found: 'a'", "hint": "look"}
    }


def test_an_error_that_quotes_an_agent_cannot_drive_the_terminal(bullpen: Command, stub: Stub):
    stub.refuse("GET", "/v1/sessions/a", "agent-died", "it said \x1b[2J\x9b")
    assert bullpen("status", "a").err == "error: it said ␛[2J\ufffd\n"


def test_no_service_is_exit_255(bullpen: Command):
    ended = bullpen("status", "a")
    assert ended.code == 255
    assert ended.err.startswith("error: no service answers at")


def test_control_c_is_exit_130_and_no_traceback(
    bullpen: Command, stub: Stub, until: Callable[[Callable[[], bool]], None]
):
    stub.on("POST", "/v1/wait", {"timed_out": True, "sessions": {}, "settled": [], "pending": []})
    waiting = bullpen.begin("wait", "a")
    until(lambda: len(stub.asked) > 1)
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, err) == (
        130,
        b"error: interrupted\nhint: agents go on; `bullpen list` shows them\n",
    )


def test_a_reader_that_goes_away_ends_the_verb_without_a_word(bullpen: Command, stub: Stub):
    event = b'{"session":"a","seq":1}\n'
    stub.on("GET", "/v1/sessions/a/events", raw=b"HTTP/1.1 200 OK\r\n\r\n" + event * 200_000)
    reading = bullpen.begin("events", "a", "--follow")
    assert reading.stdout is not None
    assert reading.stderr is not None
    reading.stdout.readline()
    reading.stdout.close()
    assert reading.stderr.read() == b""
    reading.stderr.close()
    assert reading.wait(30) == 0


def test_an_everyday_verb_loads_nothing_heavy_and_no_other_verb(bullpen: Command, stub: Stub):
    stub.record("a", state="working")
    # Without `site`, which loads what the development tools put into the environment.
    program = f"import sys; sys.path[:0] = {[SOURCE]!r}\n{LIGHT}"
    bullpen.argv = [sys.executable, "-S", "-c", program]
    ended = bullpen()
    loaded = ended.err.split()
    assert ended.out == "working\n"
    assert HEAVY.isdisjoint(loaded)
    ours = {name for name in loaded if name.startswith("bullpen.cli.")}
    assert ours == {
        f"bullpen.cli.{name}"
        for name in ("exits", "main", "many", "options", "sessions", "show", "wire")
    }


def test_options_and_arguments_may_stand_in_any_order():
    parser = Parser(prog="x")
    parser.add_argument("session")
    parser.add_argument("message", nargs="?")
    parser.add_argument("--key")
    parser.add_argument("more", nargs="*")
    args = parsed(parser, ["a", "--key", "k", "b", "c"])
    assert (args.session, args.key, args.message, args.more) == ("a", "k", "b", ["c"])


@pytest.mark.parametrize("word", ["--", "-x", "--json", "", "- a", "-1", "\n;"])
def test_what_stands_behind_two_dashes_comes_out_as_it_went_in(word: str):
    parser = Parser(prog="x")
    parser.add_argument("session")
    parser.add_argument("message", nargs="?")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("more", nargs="*")
    args = parsed(parser, ["a", "--json", "--", word, word, "--"])
    assert (args.session, args.json, args.message, args.more) == ("a", True, word, [word, "--"])


def test_the_whole_parser_knows_every_verb():
    for verb in VERBS:
        with pytest.raises(SystemExit) as caught:
            build_parser().parse_args([verb, "--help"])
        assert caught.value.code == 0


def test_json_errors_are_one_document(bullpen: Command):
    assert json.loads(bullpen("nonsense", "--json").out)["error"]["code"] == "usage"
