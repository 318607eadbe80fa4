"""Answering what an agent asks."""

from __future__ import annotations

import argparse
import json
import re

from bullpen.cli.exits import DONE, Refusal, usage
from bullpen.cli.message import read_text
from bullpen.cli.options import add_json
from bullpen.cli.show import one_line, say, say_json, table
from bullpen.cli.wire import Wire, session_path

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

ACTIONS = ("allow", "deny", "choose", "fill", "decline", "cancel")
_YES = ("true", "yes", "1", "on")
_APPROVAL = re.compile(r"[0-9a-f]{6}")
_NO = ("false", "no", "0", "off")


def add_answer(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen answer`."""
    parser.epilog = (
        "without an action: show what is open. allow, deny and choose OPTION answer a permission; "
        "fill NAME=VALUE..., decline and cancel answer a question"
    )
    parser.add_argument(
        "session", metavar="ID", help="id of the session, or one from `bullpen approvals`"
    )
    parser.add_argument("action", metavar="ACTION", nargs="?", help=", ".join(ACTIONS))
    parser.add_argument(
        "values", metavar="VALUE", nargs="*", help="the option for choose; NAME=VALUE for fill"
    )
    parser.add_argument(
        "-r", "--request", metavar="REQUEST", help="which one, when several are open"
    )
    parser.add_argument(
        "--always", action="store_true", help="allow or deny this for the rest of the session"
    )
    parser.add_argument(
        "--content",
        metavar="JSON",
        help="the whole answer to fill as a JSON object, @FILE reads it",
    )
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record and the agent")
    add_json(parser)


def answer(args: argparse.Namespace) -> int:
    """Answer the open permission or question of a session; without an action show them.

    An answer is given once: when the service dies in between, look again before repeating it.
    """
    wire = Wire.here()
    _meant(wire, args)
    if args.action is None:
        return _show(wire.get(session_path(args.session)), args.request, as_json=args.json)
    body = _answer(wire, args)
    for name in ("request", "reason"):
        if getattr(args, name):
            body[name] = getattr(args, name)
    record = wire.post(session_path(args.session, "/answers"), body)
    if args.json:
        say_json(record)
    else:
        say(f"Answered session {args.session}")
    return DONE


def _meant(wire: Wire, args: argparse.Namespace) -> None:
    """Take an id of `bullpen approvals` for the session and request that it stands for."""
    if not _APPROVAL.fullmatch(args.session):
        return
    for one in wire.get("/v1/approvals")["approvals"]:
        if one["id"] == args.session:
            args.session, args.request = one["session"], one["request"]
            return


def _answer(wire: Wire, args: argparse.Namespace) -> dict[str, Any]:
    if args.action not in ACTIONS:
        raise usage(f"unknown action {args.action!r}", hint=f"one of: {', '.join(ACTIONS)}")
    if args.action in ("allow", "deny"):
        _without_values(args)
        always = {"always": True} if args.always else {}
        return {"allow": args.action == "allow", **always}
    if args.action == "choose":
        if len(args.values) != 1:
            raise usage("choose needs exactly one option", hint="`bullpen answer ID` shows them")
        return {"choice": args.values[0]}
    if args.action == "fill":
        return {"action": "accept", "content": _content(wire, args)}
    _without_values(args)
    return {"action": args.action}


def _without_values(args: argparse.Namespace) -> None:
    if args.values:
        raise usage(f"{args.action} takes no value", hint="use --reason TEXT to say why")


def _content(wire: Wire, args: argparse.Namespace) -> dict[str, Any]:
    if args.content is not None:
        if args.values:
            raise usage("give either NAME=VALUE or --content, not both")
        return _json_object(args.content)
    fields = _within(_schema(wire, args), "properties")
    content: dict[str, Any] = {}
    for value in args.values:
        name, equals, text = value.partition("=")
        if not equals:
            raise usage(f"{value!r} is not of the form NAME=VALUE")
        _put(content, name, text, _within(fields, name))
    return content


def _put(content: dict[str, Any], name: str, text: str, field: dict[str, Any]) -> None:
    """Store one value; a repeated name fills a list."""
    if field.get("type") == "array":
        item = _within(field, "items")
        content.setdefault(name, []).append(_typed(name, text, str(item.get("type", "string"))))
    else:
        content[name] = _typed(name, text, str(field.get("type", "string")))


def _typed(name: str, text: str, kind: str) -> Any:
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError as error:
        raise usage(f"{name!r} wants a number, not {text!r}") from error
    if kind == "boolean":
        if text.lower() not in (*_YES, *_NO):
            raise usage(f"{name!r} wants yes or no, not {text!r}")
        return text.lower() in _YES
    return text


def _schema(wire: Wire, args: argparse.Namespace) -> dict[str, Any]:
    asks = wire.get(session_path(args.session)).get("asks", [])
    for ask in asks:
        if args.request in (None, ask["request"]) and ask.get("schema"):
            return ask["schema"]
    return {}


def _within(outer: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the object called `name`, an empty one when there is none."""
    found: dict[str, Any] | None = outer.get(name)
    return found or {}


def _json_object(text: str) -> dict[str, Any]:
    raw = read_text(text[1:]) if text.startswith("@") else text
    try:
        content = json.loads(raw)
    except ValueError as error:
        raise usage(f"--content is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise usage("--content must be a JSON object")
    return content  # pyright: ignore[reportUnknownVariableType]


def _show(record: dict[str, Any], only: str | None, *, as_json: bool) -> int:
    every: list[dict[str, Any]] = record.get("asks", [])
    asks = [one for one in every if only in (None, one["request"])]
    if as_json:
        say_json(asks)
        return DONE
    if not asks:
        what = "nothing" if only is None else f"nothing under {only!r}"
        raise Refusal("ask-not-found", f"session {record['id']!r} asks {what}")
    for ask in asks:
        say(f"{ask['request']}: {one_line(ask.get('title', '')) or ask.get('kind', '')}")
        for line in _ways(record["id"], ask):
            say(f"  {line}")
    return DONE


def _ways(session: str, ask: dict[str, Any]) -> list[str]:
    """Return how `ask` may be answered, as commands to type."""
    if options := ask.get("options"):
        rows = [(f"bullpen answer {session} choose {each['id']}", each["name"]) for each in options]
        return table(("", ""), rows).splitlines()[1:]
    lines = [f"open {one_line(ask['url'])}"] if ask.get("url") else []
    fields = _within(_within(ask, "schema"), "properties")
    for name in fields:
        field = _within(fields, name)
        about = field.get("title") or field.get("description") or field.get("type", "")
        lines.append(f"{one_line(name)}: {one_line(str(about))}")
    pairs = " ".join(f"{one_line(name)}=…" for name in fields)
    return [*lines, f"bullpen answer {session} fill {pairs}".rstrip()]
