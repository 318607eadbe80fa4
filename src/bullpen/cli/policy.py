"""Rules about what agents may do without asking."""

from __future__ import annotations

import argparse
import time

from bullpen.cli.exits import DONE, usage
from bullpen.cli.options import absolute, add_json
from bullpen.cli.show import one_line, say, say_json, table
from bullpen.cli.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

ACTIONS = ("list", "add", "remove", "test")
EFFECTS = ("allow", "ask", "deny")
VERDICTS = {"allow": 0, "ask": 4, "deny": 3}
"""How `policy test` ends. Without a rule the user is asked, as with `ask`."""
_FIELDS = ("kind", "path", "mcp", "host", "reason", "expires")


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Declare `bullpen policy`."""
    parser.epilog = (
        "list; add EFFECT [COMMAND] with EFFECT allow, ask or deny; remove RULE...; "
        "test COMMAND, which ends with 0 for allow, 4 for ask or no rule, 3 for deny"
    )
    parser.add_argument("action", metavar="ACTION", choices=ACTIONS, help=", ".join(ACTIONS))
    parser.add_argument("words", metavar="WORD", nargs="*", help="see below")
    parser.add_argument(
        "--kind", metavar="KIND", help="read, edit, delete, execute, fetch, mcp, ..."
    )
    parser.add_argument("--path", metavar="GLOB", help="inside, outside, or a glob of files")
    parser.add_argument("--mcp", metavar="SERVER/TOOL", help="tool of an MCP server; globs allowed")
    parser.add_argument("--host", metavar="HOST", help="host that is connected to; globs allowed")
    parser.add_argument("--exact", action="store_true", help="the command word for word")
    parser.add_argument("--session", metavar="ID", help="a rule of, or a test in, this session")
    parser.add_argument(
        "--workspace", metavar="DIR", help="a rule for, or a test in, this repository or directory"
    )
    parser.add_argument("--expires", metavar="DATE", help="when the rule ends, such as 2030-01-31")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record and the agent")
    parser.add_argument("--audit", action="store_true", help="list the last changes of rules too")
    add_json(parser)


def policy(args: argparse.Namespace) -> int:
    """List, add, remove and try rules about what agents may do."""
    return {"list": _list, "add": _add, "remove": _remove, "test": _test}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    query = [f"session={args.session}"] if args.session else []
    query += ["audit=100"] if args.audit else []
    found = Wire.here().get("/v1/policy" + ("?" + "&".join(query) if query else ""))
    if args.json:
        say_json(found if args.audit else found["rules"])
        return DONE
    if not found["rules"]:
        say("No rules: whatever an agent asks goes to you")
    else:
        rows = [(one["id"], one["effect"], one["scope"], _about(one)) for one in found["rules"]]
        say(table(("ID", "EFFECT", "SCOPE", "ABOUT"), rows))
    for entry in found.get("audit", []):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["at"]))
        rule = entry["rule"]
        name = rule if isinstance(rule, str) else f"{rule['id']} {rule['effect']} {_about(rule)}"
        say(f"{when}  {entry['did']} {one_line(name)}")
    return DONE


def _about(rule: dict[str, Any]) -> str:
    said = [f"{name}={rule[name]}" for name in ("kind", "path", "mcp", "host") if rule.get(name)]
    command = [rule["command"]] if rule.get("command") else []
    where = [f"in {rule['workspace']}"] if rule.get("workspace") else []
    reason = [f"({rule['reason']})"] if rule.get("reason") else []
    return one_line(" ".join([*command, *said, *where, *reason]))


def _add(args: argparse.Namespace) -> int:
    if not args.words or args.words[0] not in EFFECTS:
        raise usage("say what the rule does", hint="bullpen policy add deny 'git push --force'")
    made = Wire.here().post("/v1/policy", _rule(args))
    if args.json:
        say_json(made)
    else:
        say(f"Added rule {made['id']}: {made['effect']} {_about(made)}")
    return DONE


def _rule(args: argparse.Namespace) -> dict[str, Any]:
    effect, *words = args.words
    given = {name: getattr(args, name) for name in (*_FIELDS, "session", "exact")}
    given["command"] = " ".join(words)
    given["workspace"] = absolute(args.workspace) if args.workspace else None
    return {"effect": effect} | {name: value for name, value in given.items() if value}


def _remove(args: argparse.Namespace) -> int:
    if not args.words:
        raise usage("name the rules to remove", hint="`bullpen policy list` shows their ids")
    wire = Wire.here()
    done: list[Any] = [wire.call("DELETE", f"/v1/policy/{name}") for name in args.words]
    if args.json:
        say_json(done)
    else:
        for one in done:
            say(f"Removed rule {one['removed']}")
    return DONE


def _test(args: argparse.Namespace) -> int:
    given = {
        "command": " ".join(args.words),
        "kind": args.kind,
        "paths": [args.path] if args.path else None,
        "mcp": args.mcp,
        "url": f"https://{args.host}" if args.host else None,
    }
    body: dict[str, Any] = {name: value for name, value in given.items() if value}
    if not body:
        raise usage("say what is to be tried", hint="bullpen policy test 'git push --force'")
    where = (
        {"session": args.session} if args.session else {"place": absolute(args.workspace or ".")}
    )
    body |= where
    found = Wire.here().post("/v1/policy/test", body)
    if args.json:
        say_json(found)
    else:
        say(f"{found['effect'] or 'ask'}: {one_line(found['why'])}")
        for one in found["findings"]:
            why = f"{one_line(one['what'])}  ({one_line(one['why'])})"
            say(f"  {one['effect'] or 'no rule':<8} {why}")
    return VERDICTS[found["effect"] or "ask"]
