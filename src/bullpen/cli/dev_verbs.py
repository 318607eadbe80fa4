"""What each command of `dev-sessions` does, and how our records and errors read there."""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import UTC, datetime

from bullpen.cli import exits
from bullpen.cli.ending import chosen_sessions
from bullpen.cli.exits import DONE, ERROR, TIMEOUT, Refusal
from bullpen.cli.message import read_text
from bullpen.cli.options import absolute, duration
from bullpen.cli.show import columns_of, one_line, say, say_agent_text, talk
from bullpen.cli.turns import reply_of
from bullpen.cli.waiting import outcome_of, settled
from bullpen.cli.wire import Wire, fresh_key, session_path

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs every verb 5 ms
    from typing import Any

TITLES = ("ID", "CLI", "MODE", "HOST", "STATUS", "PATH", "DESCRIPTION", "LAST USED")
_OVER = ("stopped", "failed", "lost")
_WORDS = {"idle": "idle", "asking": "waiting_for_input", "waiting": "waiting_for_input"}
_TURN_STATUS = {"done": "completed", "failed": "failed", "cancelled": "interrupted"}
_SELECTORS = "Provide exactly one of <id>, --all, or --older-than <duration>"
_POLL = 0.2
_GONE = "session-not-found"


def failure(message: str, *, hint: str = "", exit_code: int = ERROR) -> Refusal:
    """Return a refusal that is printed as it stands."""
    return Refusal("dev-sessions", message, hint=hint, exit_code=exit_code)


def translated(refusal: Refusal) -> Refusal:
    """Return `refusal` in the words of dev-sessions where it has words for it."""
    name = refusal.message.rpartition(": ")[2].strip("'")
    if refusal.code == _GONE:
        return failure(f"Session not found: {name}")
    if refusal.code == "session-id-taken":
        return failure(f"Champion ID already in use: {name}")
    return refusal


def record_of(wire: Wire, session: str) -> dict[str, Any]:
    """Return the record of a session that was not killed; a killed one is gone here.

    Raises:
        Refusal: there is none.
    """
    record: dict[str, Any] = wire.get(session_path(session))
    if record["state"] == "stopped":
        raise failure(f"Session not found: {session}")
    return record


def as_stored(record: dict[str, Any]) -> dict[str, Any]:
    """Return `record` in the shape of dev-sessions' store."""
    turn: dict[str, Any] = record.get("turn") or {}
    shown: dict[str, Any] = {
        "championId": record["id"],
        "internalId": record.get("agent_session") or record["id"],
        "cli": cli_of(record["agent"]),
        "mode": "native",
        "path": record.get("path") or record["directory"],
        "description": record.get("title"),
        "status": "inactive" if record["state"] in _OVER else "active",
        "model": record.get("model"),
        "lastTurnStatus": _TURN_STATUS.get(turn.get("state", "")),
        "lastTurnError": turn.get("error"),
        "createdAt": _iso(record.get("created_at", 0.0)),
        "lastUsed": _iso(record.get("used_at") or record.get("created_at", 0.0)),
    }
    return {name: value for name, value in shown.items() if value}


def cli_of(agent: str) -> str:
    """Return what dev-sessions calls an agent: `claude` and not `claude-acp`."""
    return agent.removesuffix("-acp")


def _iso(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")


def create(args: argparse.Namespace) -> int:
    """Create a session; returns when the agent is ready."""
    if args.host:
        raise failure("Remote hosts (--host) are not supported; run bullpen on that host")
    if args.mode == "docker":
        raise failure("Docker mode is not supported; use --mode native")
    if args.mode != "native":
        raise _not_allowed("-m, --mode <mode>", args.mode, ["native", "docker"])
    path = absolute(args.path)
    if not os.path.exists(path):  # noqa: PTH110 - one question
        raise failure(f"Workspace path does not exist: {path}")
    if not os.path.isdir(path):  # noqa: PTH112 - one question
        raise failure(f"Workspace path is not a directory: {path}")
    wire = Wire.here()
    body: dict[str, Any] = {"agent": args.cli, "path": path}
    if "bypass" in _modes(wire, args.cli):
        body["mode"] = "bypass"
    wanted = {
        "title": args.description,
        "model": args.model,
        "id": args.id,
        "parent": os.environ.get("BULLPEN_SESSION"),
    }
    body |= {name: value for name, value in wanted.items() if value}
    record = wire.call("POST", "/v1/sessions", body, key=fresh_key(), timeout=None)
    if args.json:
        _say_pretty(as_stored(record))
    else:
        say(record["id"] if args.quiet else f"Created session {record['id']}")
    return DONE


def _modes(wire: Wire, agent: str) -> list[str]:
    """Return the launch modes of `agent`.

    Raises:
        Refusal: the catalog has no such agent.
    """
    catalog: list[dict[str, Any]] = wire.get("/v1/agents")["agents"]
    for entry in catalog:
        if agent == entry["id"] or agent in (entry.get("aliases") or ()):
            return entry.get("modes") or []
    first = ["claude", "codex"]
    others = {cli_of(entry["id"]) for entry in catalog}.difference(first)
    raise _not_allowed("--cli <cli>", agent, [*first, *sorted(others)])


def _not_allowed(option: str, value: str, choices: list[str]) -> Refusal:
    return failure(
        f"error: option '{option}' argument '{value}' is invalid. "
        f"Allowed choices are {', '.join(choices)}."
    )


def send(args: argparse.Namespace) -> int:
    """Send a message and return at once."""
    text = _message(args)
    wire = Wire.here()
    _deliver(wire, args.id, text)
    say(f"Sent message to {args.id}")
    return DONE


def _message(args: argparse.Namespace) -> str:
    if args.file is not None and args.message:
        raise failure("Provide either <message> or --file, not both")
    text = args.message or ""
    if args.file is not None:
        if args.file != "-" and not os.path.exists(args.file):  # noqa: PTH110 - one question
            path = os.path.abspath(args.file)  # noqa: PTH100 - one question
            raise failure(f"ENOENT: no such file or directory, open '{path}'")
        text = read_text(args.file)
    if not text.strip():
        raise failure("Message is required. Use <message> or --file <path>.")
    return text


def _deliver(wire: Wire, session: str, text: str) -> int:
    """Hand `text` over and return the number of its turn.

    To a session that waits for an answer in words the text is that answer, because a script for
    dev-sessions has no other way to give one. A permission is not answered by a message.
    """
    record = record_of(wire, session)
    asks: list[dict[str, Any]] = record.get("asks") or []
    field = _only_text_field(asks[0]) if len(asks) == 1 else ""
    if field:
        body = {"request": asks[0]["request"], "action": "accept", "content": {field: text}}
        wire.post(session_path(session, "/answers"), body)
        return record["turn"]["number"]
    if asks:
        talk(
            f"[dev-sessions] {session} waits for you; the message comes after that. "
            f"Answer it with: bullpen answer {session}"
        )
    path = session_path(session, "/turns")
    number: int = wire.call("POST", path, {"text": text}, key=fresh_key())["turn"]
    return number


def _only_text_field(ask: dict[str, Any]) -> str:
    schema: dict[str, Any] = ask.get("schema") or {}
    fields: dict[str, dict[str, Any]] = schema.get("properties") or {}
    if ask.get("kind") != "question" or len(fields) != 1:
        return ""
    name, field = next(iter(fields.items()))
    is_free = field.get("type", "string") == "string" and not ("enum" in field or "oneOf" in field)
    return name if is_free else ""


def ask(args: argparse.Namespace) -> int:
    """Send a message, wait for its turn, print the reply."""
    timeout = positive_integer(args.timeout, "--timeout")
    text = _message(args)
    wire = Wire.here()
    turn = _deliver(wire, args.id, text)
    answer = settled(wire, [args.id], timeout=timeout, turns={args.id: turn})
    if answer["timed_out"]:
        raise failure(
            f"Timed out waiting for {args.id} after {timeout}s (the agent keeps working; use "
            f"'wait {args.id}' then 'last-message {args.id}' to pick up the reply)",
            exit_code=TIMEOUT,
        )
    _check_end(wire, answer["sessions"][args.id], turn)
    reply = reply_of(wire, args.id, turn)
    if reply:
        say_agent_text(reply)
    return DONE


def wait(args: argparse.Namespace) -> int:
    """Wait for the last message to be answered, for ever so if none was ever sent.

    Ends with code 1 and a line when the agent asks something, since it would never end else.
    """
    timeout = positive_integer(args.timeout, "--timeout")
    _positive_number(args.interval, "--interval")
    wire = Wire.here()
    record = record_of(wire, args.id)
    if args.next_turn and not _is_codex(record):
        raise failure(
            "--next-turn waits are only supported for codex sessions; "
            f"{args.id} is a {cli_of(record['agent'])} session"
        )
    number = _awaited_turn(record, upcoming=args.next_turn)
    what = f"the next turn on {args.id}" if args.next_turn else args.id
    settling = _settled_at(wire, args.id, number, timeout)
    if settling is None:
        raise failure(f"Timed out waiting for {what}", exit_code=TIMEOUT)
    _check_end(wire, settling, number)
    say("completed")
    return DONE


def _awaited_turn(record: dict[str, Any], *, upcoming: bool) -> int:
    """Return the number of the newest turn, the first if there is none; with `upcoming` that of
    the turn that ends next."""
    turns: int = record.get("turns", 0)
    if not upcoming:
        return max(1, turns)
    last: dict[str, Any] = record.get("turn") or {}
    if last.get("state") == "running":
        return int(last["number"])
    queue: list[int] = record.get("queue") or [turns + 1]
    return queue[0]


def _settled_at(wire: Wire, session: str, turn: int, timeout: int) -> dict[str, Any] | None:
    """Return the record when `turn` is over, be it one that nobody has asked for yet; None when
    time ran out."""
    end = time.monotonic() + timeout
    while (left := end - time.monotonic()) > 0:
        answer = settled(wire, [session], timeout=left, turns={session: turn})
        if answer["timed_out"]:
            return None
        record: dict[str, Any] = answer["sessions"][session]
        if record.get("turns", 0) >= turn or record["state"] != "idle":
            return record
        time.sleep(_POLL)
    return None


def _check_end(wire: Wire, record: dict[str, Any], turn: int) -> None:
    """Return when the turn came to an end of its own.

    Raises:
        Refusal: it failed, was interrupted, the agent died, or it waits for the user.
    """
    session, word = record["id"], outcome_of(wire, record, turn)
    if exits.of_outcome(word) == DONE:
        return
    if word in ("asking", "waiting"):
        asks: list[dict[str, Any]] = record.get("asks") or [{}]
        raise failure(
            f"Session {session} is waiting for input: {one_line(asks[0].get('title', ''))}",
            hint=f"answer it with: bullpen answer {session}",
        )
    if record["state"] in _OVER:
        reason = one_line(record.get("reason", "")) or record["state"]
        raise failure(f"Session {session} died during wait: {reason}")
    if word in ("refused", "truncated"):
        talk(f"[dev-sessions] the turn of {session} was {word}")
        return
    if word in ("cancelled", "withdrawn"):
        raise failure(f"Turn of {session} was interrupted")
    last: dict[str, str | None] = record.get("turn") or {}
    error = one_line(last.get("error") or "")
    raise failure(f"Turn of {session} failed{': ' if error else ''}{error}")


def last_message(args: argparse.Namespace) -> int:
    """Print the last messages of the agent."""
    count = positive_integer(args.count, "--count")
    wire = Wire.here()
    record_of(wire, args.id)
    messages = wire.get(session_path(args.id, "/messages"), count=count)["messages"]
    texts = [message["text"] for message in messages]
    if args.json:
        _say_compact(texts)
    elif texts:
        say_agent_text("\n\n".join(texts))
    return DONE


def status(args: argparse.Namespace) -> int:
    """Print idle, working or waiting_for_input; fail for an agent that is dead."""
    record = record_of(Wire.here(), args.id)
    if record["state"] in _OVER:
        raise failure(
            f"Session {args.id} is {record['state']}: {one_line(record.get('reason', ''))}",
            hint=f"bring it back with: bullpen resume {args.id}",
        )
    say(_WORDS.get(record["state"], "working"))
    return DONE


def list_sessions(args: argparse.Namespace) -> int:
    """Print the sessions that live."""
    records = Wire.here().get("/v1/sessions")["sessions"]
    stored = [as_stored(record) for record in records if record["state"] not in _OVER]
    if args.json:
        _say_pretty(stored)
    elif stored:
        say(_table([_row(session) for session in stored]))
    else:
        say("No active sessions")
    return DONE


def _row(stored: dict[str, str]) -> list[str]:
    host, description = stored.get("host", "local"), stored.get("description", "")
    head = [stored["championId"], stored["cli"], stored["mode"], host, stored["status"]]
    return [one_line(cell) for cell in (*head, stored["path"], description, stored["lastUsed"])]


def _table(rows: list[list[str]]) -> str:
    """Return the table with every column padded, the last one too, as dev-sessions prints it."""
    widths = [max(map(columns_of, column)) for column in zip(TITLES, *rows, strict=True)]
    lines = [list(TITLES), ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell + " " * (width - columns_of(cell))
            for cell, width in zip(line, widths, strict=True)
        )
        for line in lines
    )


def logs(args: argparse.Namespace) -> int:
    """Print the conversation."""
    wire = Wire.here()
    record_of(wire, args.id)
    entries = wire.get(session_path(args.id, "/log"))["entries"]
    if args.json:
        _say_compact([{"role": entry["role"], "text": entry["text"]} for entry in entries])
    elif entries:
        parts = [f"[{entry['role'].upper()}]\n{entry['text']}" for entry in entries]
        say_agent_text("\n\n".join(parts))
    else:
        say("No conversation history available")
    return DONE


def inspect(args: argparse.Namespace) -> int:
    """Print the record as dev-sessions would have stored it."""
    _say_pretty(as_stored(record_of(Wire.here(), args.id)))
    return DONE


def kill(args: argparse.Namespace) -> int:
    """End sessions at once; they are gone from every list. A failure does not stop the rest."""
    if (args.id is not None, args.all, args.older_than is not None).count(True) != 1:
        raise failure(_SELECTORS)
    wire = Wire.here()
    if args.id is not None:
        record_of(wire, args.id)
        _kill(wire, args.id)
        return DONE
    chosen = chosen_sessions(wire, older_than=_age(args.older_than) if args.older_than else None)
    if not chosen:
        say("No matching sessions to kill")
        return DONE
    failed = 0
    for session in chosen:
        try:
            _kill(wire, session)
        except Refusal as refusal:
            talk(f"[dev-sessions] {session}: {translated(refusal).message}")
            failed += 1
    say(f"Killed {len(chosen) - failed} session(s)")
    return ERROR if failed else DONE


def _kill(wire: Wire, session: str) -> None:
    wire.call("POST", session_path(session, "/kill"), {}, repeat=True, timeout=None)
    say(f"Killed session {session}")


def _age(text: str) -> float:
    if text[-1:] not in ("m", "h", "d"):
        raise failure("--older-than must be a duration like 30m, 72h, or 7d")
    try:
        return duration(text)
    except argparse.ArgumentTypeError as error:
        raise failure("--older-than must be a duration like 30m, 72h, or 7d") from error


def gateway(_args: argparse.Namespace) -> int:
    """Refuse: there is no gateway."""
    raise failure(
        "The gateway is not supported; bullpen's own service answers on a unix socket",
        hint="mount that socket into the container: `bullpen serve --status` says where it is",
    )


def _is_codex(record: dict[str, Any]) -> bool:
    return cli_of(record["agent"]) == "codex"


def positive_integer(text: str, option: str) -> int:
    """Return the number `text` says, or refuse it in the name of `option`."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise failure(f"{option} must be a positive integer")
    return int(text)


def _positive_number(text: str, option: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise failure(f"{option} must be a positive number")
    return value


def _say_pretty(document: Any) -> None:
    say(json.dumps(document, indent=2, ensure_ascii=False))


def _say_compact(document: Any) -> None:
    say(json.dumps(document, separators=(",", ":"), ensure_ascii=False))
