"""What each step does. The first line of each docstring is what `--help` says of it."""

import json
import os
import re
import signal
import textwrap
import time
from pathlib import Path

from bullpen.testing.demo.command import detach, execute
from bullpen.testing.demo.conversation import MODES
from bullpen.testing.demo.script import (
    VERBS,
    Arguments,
    Json,
    Pause,
    ScriptError,
    Step,
    Steps,
    parse_file,
    parse_line,
    step,
)
from bullpen.testing.demo.turn import (
    LEAVES,
    NOW,
    Failure,
    Stop,
    Turn,
    inner,
    perform,
    switch_mode,
    text_content,
)

BATCH_BYTES = 262_144
"""How much a flood writes before it hears a cancel."""
STATUSES = {"[x]": "completed", "[>]": "in_progress", "[ ]": "pending"}
COMMIT = """\
git add -A || exit
git diff --cached --quiet && echo nothing to commit && exit
if ! git config user.email > /dev/null; then
  export GIT_AUTHOR_NAME="${GIT_AUTHOR_NAME:-Demo Agent}"
  export GIT_AUTHOR_EMAIL="${GIT_AUTHOR_EMAIL:-demo-agent@example.invalid}"
  export GIT_COMMITTER_NAME="${GIT_COMMITTER_NAME:-$GIT_AUTHOR_NAME}"
  export GIT_COMMITTER_EMAIL="${GIT_COMMITTER_EMAIL:-$GIT_AUTHOR_EMAIL}"
fi
git commit --quiet --no-gpg-sign -m "$1" && git log -1 --format='%h %s'
"""


def _after(seconds: float) -> Pause:
    return Pause(until=time.monotonic() + seconds)


# ---- speech ----------------------------------------------------------------------------------


def _pieces(text: str, size: int) -> list[str]:
    pieces = [""]
    for word in re.findall(r"\S+\s*|\s+", text):
        if len(pieces[-1]) >= size:
            pieces.append("")
        pieces[-1] += word
    return pieces


@step("think [delay=SECONDS] [chunk=N] TEXT")
def think(turn: Turn, *, text: str, delay: float = 0.0, chunk: int = 24) -> Steps:
    """Stream a thought, in pieces of at least `chunk` characters, `delay` apart."""
    message = turn.name()
    for piece in _pieces(text, chunk):
        content = {"type": "text", "text": piece}
        turn.update("agent_thought_chunk", content=content, messageId=message)
        yield _after(delay)


@step("say [delay=SECONDS] [chunk=N] TEXT")
def say(turn: Turn, *, text: str, delay: float = 0.0, chunk: int = 24) -> Steps:
    """Stream a message, likewise."""
    message = turn.name()
    for piece in _pieces(text, chunk):
        turn.say(piece, message=message)
        yield _after(delay)
    turn.said.append("\n")


def _read_entries(_line: int, arguments: Arguments) -> Arguments:
    entries: list[Json] = []
    for text in re.split(r"[;\n]", arguments.get("entries", "")):
        entry = re.fullmatch(r"\s*(\[[x> ]\])?\s*(.+?)\s*(?:\((high|medium|low)\))?\s*", text)
        if entry:
            status = STATUSES[entry[1] or "[ ]"]
            entries.append(
                {"content": entry[2], "status": status, "priority": entry[3] or "medium"}
            )
    return {"entries": entries}


@step("plan [ENTRIES]", read=_read_entries)
def plan(turn: Turn, *, entries: list[Json]) -> None:
    """Show a plan: entries divided by ; or lines, marked [x] [>] or [ ], with (high) or (low)
    behind them if wanted. Without entries: go on to the next one of the plan shown."""
    if entries:
        turn.entries = entries
    else:
        turn.entries = _advanced(turn.entries)
    turn.update("plan", entries=turn.entries)


def _advanced(entries: list[Json]) -> list[Json]:
    done = sum(entry["status"] == "completed" for entry in entries)
    begun = any(entry["status"] == "in_progress" for entry in entries)
    states = ["completed"] * (done + begun) + ["in_progress"] + ["pending"] * len(entries)
    return [entry | {"status": state} for entry, state in zip(entries, states, strict=False)]


@step("usage USED SIZE [AMOUNT] [CURRENCY]")
def usage(
    turn: Turn, *, used: int, size: int, amount: float | None = None, currency: str = "USD"
) -> None:
    """Report tokens used, the size of the context window, and the cost so far."""
    cost = {} if amount is None else {"cost": {"amount": amount, "currency": currency}}
    turn.update("usage_update", used=used, size=size, **cost)


@step("tokens INPUT OUTPUT")
def tokens(turn: Turn, *, input: int, output: int) -> None:
    """Count these tokens in the turn's answer."""
    total = input + output
    turn.tokens = {"inputTokens": input, "outputTokens": output, "totalTokens": total}


@step("title TEXT")
def title(turn: Turn, *, text: str) -> None:
    """Give the conversation a title."""
    turn.conversation.keep(title=text)
    turn.update("session_info_update", title=text)


def _read_mode(_line: int, arguments: Arguments) -> Arguments:
    if arguments["mode"] not in MODES:
        raise ValueError(f"MODE must be one of {', '.join(MODES)}")
    return arguments


@step("mode MODE", read=_read_mode)
def mode(turn: Turn, *, mode: str) -> None:
    """Change to the mode plan, ask, edit or bypass."""
    switch_mode(turn.wire, turn.conversation, mode)


@step("commands TEXT")
def commands(turn: Turn, *, text: str) -> None:
    """Offer slash commands: `name: description` divided by ; or lines."""
    offered: list[Json] = []
    for each in re.split(r"[;\n]", text):
        name, _, description = each.partition(":")
        offered.append({"name": name.strip(), "description": description.strip()})
    turn.update("available_commands_update", availableCommands=offered)


@step("memory")
def memory(turn: Turn) -> None:
    """Say what it was told in earlier turns of the conversation."""
    told = turn.conversation.told()[:-1]
    lines = [f"{number}. {' '.join(text.split())}\n" for number, text in enumerate(told, 1)]
    turn.say("".join(["I was told:\n", *lines]) if lines else "I was told nothing before.\n")


@step("mcp")
def mcp(turn: Turn) -> None:
    """Say the names of the MCP servers it was given."""
    names = [f"{each['name']} ({each.get('type', 'stdio')})" for each in turn.conversation.servers]
    turn.say(f"MCP servers: {', '.join(names) or 'none'}\n")


@step("env NAME")
def env(turn: Turn, *, name: str) -> None:
    """Say the value of an environment variable."""
    value = os.environ.get(name)
    turn.say(f"{name} is not set\n" if value is None else f"{name}={value}\n")


# ---- deeds -----------------------------------------------------------------------------------


def _put(turn: Turn, path: str, title: str, old: bytes | None, new: bytes) -> Steps:
    file = Path(turn.conversation.cwd, path)
    diff = {
        "type": "diff",
        "path": str(file),
        "oldText": None if old is None else old.decode(errors="replace"),
        "newText": new.decode(errors="replace"),
    }
    places = {"content": [diff], "locations": [{"path": str(file)}]}
    call = yield from turn.leave("write", title, "edit", **places)
    if call:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(new)
        turn.change(call, status="completed")


def _content(turn: Turn, path: str) -> bytes | None:
    file = Path(turn.conversation.cwd, path)
    return file.read_bytes() if file.exists() else None


@step("write PATH TEXT")
def write(turn: Turn, *, path: str, text: str) -> Steps:
    """Write a file, with the folders it needs."""
    new = f"{text}\n" if text else ""
    yield from _put(turn, path, f"Write {path}", _content(turn, path), new.encode())


@step("append PATH TEXT")
def append(turn: Turn, *, path: str, text: str) -> Steps:
    """Add lines to the end of a file."""
    old = _content(turn, path)
    yield from _put(turn, path, f"Append to {path}", old, (old or b"") + f"{text}\n".encode())


def _read_edit(line: int, arguments: Arguments) -> Arguments:
    path, text = arguments["path"], arguments["change"]
    if path.endswith(":"):
        halves = re.split(r" => | → ", text)
    else:
        halves = re.split(r"^====+$\n?", text, flags=re.MULTILINE)
        halves[1:] = [f"{lines}\n" if lines else "" for lines in halves[1:]]
    if len(halves) != 2 or not halves[0]:
        raise ValueError("the change must be `PATH: old => new`, or a body with a line ==== in it")
    return {"line": line, "path": path.removesuffix(":"), "old": halves[0], "new": halves[1]}


@step("edit PATH CHANGE", read=_read_edit)
def edit(turn: Turn, *, line: int, path: str, old: str, new: str) -> Steps:
    """Replace a text that occurs once in a file: `edit PATH: OLD => NEW` on one line, or
    `edit PATH <<END` with the old lines, a line ====, and the new lines as its body."""
    before = _content(turn, path)
    count = (before or b"").count(old.encode())
    if before is None or count != 1:
        why = "there is no such file" if before is None else f"the old text occurs {count} times"
        turn.call(f"Edit {path}", "edit", content=text_content(why))
        turn.say(f"I cannot edit {path}: {why}.\n")
        raise Failure(-32603, f"line {line}: cannot edit {path!r}: {why}")
    after = before.replace(old.encode(), new.encode())
    yield from _put(turn, path, f"Edit {path}", before, after)


@step("run COMMAND")
def run(turn: Turn, *, command: str) -> Steps:
    """Run a shell command; the script goes on however it ends."""
    yield from execute(turn, "run", command, ["/bin/sh", "-c", command])


@step("check COMMAND")
def check(turn: Turn, *, command: str) -> Steps:
    """Run a shell command; the turn ends in an error unless it succeeds."""
    code = yield from execute(turn, "run", command, ["/bin/sh", "-c", command])
    _must_be_zero(turn, code, command)


@step("commit MESSAGE")
def commit(turn: Turn, *, message: str) -> Steps:
    """Commit every change in the repository, as Demo Agent where git knows no one else."""
    title = f"git commit: {message.splitlines()[0]}"
    code = yield from execute(turn, "commit", title, ["/bin/sh", "-c", COMMIT, "sh", message])
    _must_be_zero(turn, code, title)


def _must_be_zero(turn: Turn, code: int, title: str) -> None:
    if code:
        turn.say(f"This failed with code {code}: {title}\n")
        raise Failure(-32603, f"{title!r} failed with code {code}")


@step("orphan SECONDS")
def orphan(turn: Turn, *, seconds: float) -> None:
    """Leave a process behind, in a session of its own, and say its pid."""
    turn.say(f"orphan pid {detach(['sleep', str(seconds)])}\n")


@step("touch-file PATH")
def touch_file(turn: Turn, *, path: str) -> None:
    """Make an empty file, without a tool call and in any mode: a sign for others to wait for."""
    Path(turn.conversation.cwd, path).touch()


# ---- questions -------------------------------------------------------------------------------


def _read_kinds(_line: int, arguments: Arguments) -> Arguments:
    kinds = tuple(arguments.get("kinds", ",".join(LEAVES)).split(","))
    if not set(kinds) <= set(LEAVES):
        raise ValueError(f"KINDS are {', '.join(LEAVES)}, divided by commas")
    return arguments | {"kinds": kinds}


@step("ask [kinds=KINDS] [wait=SECONDS] TITLE", read=_read_kinds)
def ask(turn: Turn, *, title: str, kinds: tuple[str, ...], wait: float | None = None) -> Steps:
    """Ask for permission. Allowed: go on. Rejected: say so and end the turn. After `wait`
    seconds: take the question back and go on."""
    call = turn.call(title, "other")
    patience = {} if wait is None else {"wait": wait}
    kind = yield from turn.permission(call, title, kinds, **patience)
    turn.change(call, status="completed" if kind.startswith("allow") else "failed")
    if kind.startswith("reject"):
        turn.say(f"Rejected: {title}\n")
        raise Stop("end_turn")
    turn.say(f"{'Nobody answered' if kind == 'late' else 'Allowed'}: {title}\n")


@step("question [choices=CHOICES] [wait=SECONDS] TEXT")
def question(turn: Turn, *, text: str, choices: str = "", wait: float | None = None) -> Steps:
    """Ask for an answer in words, or for one of `choices` divided by |, and say what came."""
    field: Json = {"type": "string", "title": "Answer"}
    if choices:
        field["enum"] = choices.split("|")
    schema = {"type": "object", "properties": {"answer": field}, "required": ["answer"]}
    yield from _elicit(turn, "form", {"requestedSchema": schema, "message": text}, wait)


@step("visit [wait=SECONDS] URL")
def visit(turn: Turn, *, url: str, wait: float | None = None) -> Steps:
    """Ask the user to open a page."""
    page = {"elicitationId": turn.name(), "url": url, "message": "Please open this page."}
    yield from _elicit(turn, "url", page, wait)


def _elicit(turn: Turn, mode: str, params: Json, wait: float | None) -> Steps:
    if inner(turn.wire.client, "elicitation").get(mode) is None:
        turn.say(f"I would ask, but the client takes no questions: {params['message']}\n")
        return
    patience = {} if wait is None else {"wait": wait}
    reply = yield from turn.ask("elicitation/create", {"mode": mode, **params}, **patience)
    if reply is None:
        turn.say("Nobody answered.\n")
        return
    if inner(reply, "result").get("action") == "cancel":
        raise Stop("cancelled")
    answer = inner(reply, "result", "content").get("answer", "")
    accepted = inner(reply, "result").get("action") == "accept"
    turn.say(f"Answer: {answer}\n" if accepted else "Declined.\n")


def _read_params(_line: int, arguments: Arguments) -> Arguments:
    return {"method": arguments["method"], "params": json.loads(arguments.get("json", "{}"))}


@step("request METHOD [JSON]", read=_read_params)
def request(turn: Turn, *, method: str, params: Json) -> Steps:
    """Send any request to the client, with the session's id added, and say the response."""
    reply = yield from turn.ask(method, params)
    answer = {key: value for key, value in (reply or {}).items() if key in ("result", "error")}
    turn.say(f"Response: {_compact(answer)}\n")


_compact = json.JSONEncoder(separators=(",", ":")).encode


# ---- time and flow ---------------------------------------------------------------------------


@step("sleep SECONDS")
def sleep(turn: Turn, *, seconds: float) -> Steps:
    """Do nothing for a while."""
    yield _after(seconds)


@step("wait-file PATH")
def wait_file(turn: Turn, *, path: str) -> Steps:
    """Do nothing until a file exists."""
    while not Path(turn.conversation.cwd, path).exists():
        yield _after(0.01)


def _read_repeat(line: int, arguments: Arguments) -> Arguments:
    return {"times": arguments["n"], "repeated": parse_line(line, arguments["step"])}


@step("repeat N STEP", read=_read_repeat)
def repeat(turn: Turn, *, times: int, repeated: Step) -> Steps:
    """Do a step N times."""
    yield from perform(turn, [repeated] * times)


@step("play PATH")
def play(turn: Turn, *, path: str) -> Steps:
    """Do the steps of a file, which is read when this step comes."""
    try:
        steps = parse_file(Path(turn.conversation.cwd, path).read_text())
        yield from perform(turn, steps)
    except (ScriptError, UnicodeDecodeError, RecursionError) as error:
        turn.say(f"I cannot play {path}: {error}.\n")
        raise Failure(-32602, f"script error in {path!r}, {error}") from error


@step("stop REASON")
def stop(turn: Turn, *, reason: str) -> None:
    """End the turn with end_turn, max_tokens, max_turn_requests, refusal, or another word."""
    raise Stop(reason)


@step("refuse")
def refuse(turn: Turn) -> None:
    """End the turn with refusal."""
    raise Stop("refusal")


@step("error CODE MESSAGE")
def error(turn: Turn, *, code: int, message: str) -> None:
    """End the turn in an error of the protocol."""
    raise Failure(code, message)


# ---- trouble ---------------------------------------------------------------------------------


@step("flood N [LENGTH]")
def flood(turn: Turn, *, n: int, length: int = 40) -> Steps:
    """Send N message chunks as fast as possible: the numbers from 0 on, filled up with x."""
    content = {"type": "text", "text": "@@ " + "x" * length}
    update = {"sessionUpdate": "agent_message_chunk", "messageId": turn.name(), "content": content}
    params = {"sessionId": turn.conversation.id, "update": update}
    message = {"jsonrpc": "2.0", "method": "session/update", "params": params}
    head, tail = f"{_compact(message)}\n".encode().split(b"@@")
    batch = BATCH_BYTES // (len(head) + len(tail)) + 1
    for start in range(0, n, batch):
        numbers = range(start, min(start + batch, n))
        turn.wire.write(b"".join([b"%b%d%b" % (head, number, tail) for number in numbers]))
        yield NOW


@step("big-line LENGTH")
def big_line(turn: Turn, *, length: int) -> None:
    """Send one message chunk of LENGTH characters."""
    turn.say("x" * length)


@step("stderr LENGTH")
def stderr(turn: Turn, *, length: int) -> Steps:
    """Write LENGTH bytes to stderr; with nobody to read them it hangs, as real agents do."""
    line = b"demo agent: this is a line of the noise some agents make".ljust(79) + b"\n"
    while length > 0:
        length -= os.write(2, (line * 800)[:length])
        yield NOW


@step("raw TEXT")
def raw(turn: Turn, *, text: str) -> None:
    """Write TEXT as a line of its own to stdout; $SESSION stands for the session's id."""
    turn.wire.write(text.replace("$SESSION", turn.conversation.id).encode() + b"\n")


@step("unknown [KIND]")
def unknown(turn: Turn, *, kind: str = "demo_novelty") -> None:
    """Send an update of a kind that does not exist."""
    turn.update(kind, novelty={"answer": 42})


@step("invalid")
def invalid(turn: Turn) -> None:
    """Write three lines that are no messages: bad UTF-8, a NUL byte, a torn object."""
    turn.wire.write(b'{"bad":"\xff\xfe"}\n{"nul":"\x00"}\n{"jsonrpc":"2.0","method":"sess\n')


@step("ignore-cancel")
def ignore_cancel(turn: Turn) -> None:
    """Go on to the end of the script even when the turn is cancelled."""
    turn.stubborn = True


@step("ignore-term")
def ignore_term(turn: Turn) -> None:
    """Survive SIGTERM from here on."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@step("never-answer")
def never_answer(turn: Turn) -> Steps:
    """Do nothing for ever, or until the turn is cancelled."""
    while True:
        yield Pause()


@step("crash [CODE]")
def crash(turn: Turn, *, code: int = 1) -> None:
    """End the process with this exit code, or below zero by that signal."""
    os.write(2, b"demo agent: told to crash\n")
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code % 256)


@step("die-mid-line")
def die_mid_line(turn: Turn) -> None:
    """Write half a message and end the process."""
    turn.wire.write(b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"')
    os._exit(1)


def described() -> str:
    """Return every step with what it does, for people."""
    lines: list[str] = []
    for verb in VERBS.values():
        words = " ".join((verb.perform.__doc__ or "").split())
        lines += [
            f"  {verb.usage}",
            *textwrap.wrap(words, 90, initial_indent=" " * 6, subsequent_indent=" " * 6),
        ]
    return "\n".join(lines) + "\n"
