"""A session's events told to people, line by line, as they come. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bullpen.cli.progress import clock, fields_of
from bullpen.cli.screen import tame, wrap
from bullpen.cli.show import columns_of

Line = tuple[str, str]
Fact = dict[str, Any]

_MOST_PROMPT_LINES = 30
_MOST_OUTPUT_LINES = 8
_STREAMED = ("message-streamed", "thought-streamed")
_PLAN_MARKS = {"completed": "✓", "in_progress": "●"}
_TOLD_STATES = ("queued", "starting", "limited", "stopping", "stopped", "failed", "lost")


class Telling:
    """Remembers what was told of one session, so that nothing is told twice or left out."""

    def __init__(self, record: Fact) -> None:
        """Begin at `record`, the session as last seen."""
        self.state: str = record.get("state", "")
        self.since: float = record.get("since", 0.0)
        self.used: int | None = record.get("used_tokens")
        self.size: int | None = record.get("size_tokens")
        self.asks: dict[str, Fact] = {one["request"]: one for one in record.get("asks", [])}
        self.commands: set[str] = set()
        self.turn: int | None = None
        """The running turn."""
        self.seq = 0
        """The last event that was told."""
        self.removed = False
        self._width = 80
        self._partial = ""
        self._kind = ""
        self._ahead: dict[tuple[str, str], str] = {}
        self._tools: dict[str, str] = {}
        self._began: dict[int, float] = {}
        self._lines: list[Line] = []
        turn = record.get("turn", {})
        if turn.get("state") == "running":
            self.turn = turn["number"]
            self._began[turn["number"]] = turn.get("started_at") or 0.0

    def hear(self, item: Fact, width: int) -> list[Line]:
        """Take one line of the event stream and return what is to be printed for good."""
        self._width, self._lines = width, []
        delta = item.get("delta")
        if delta:
            self._stream(delta["kind"], delta.get("message", ""), delta["text"], ahead=True)
        elif item.get("seq", 0) > self.seq:
            self.seq = item["seq"]
            self._tell(item["fact"], item.get("at", 0.0))
        return self._lines

    def tail(self) -> Line | None:
        """Return the line that is still being written, if there is one."""
        if not self._partial:
            return None
        return self._partial, self._style()

    def flush(self) -> list[Line]:
        """Return the line that is still being written as one to be printed for good."""
        self._lines = []
        self._end_line()
        return self._lines

    def _tell(self, fact: Fact, at: float) -> None:
        kind = fact["kind"]
        if kind in _STREAMED:
            self._stored(kind, fact.get("message", ""), fact["text"])
            return
        teller = _TELLERS.get(kind)
        if teller is not None:
            self._end_line()
            teller(self, fact, at)

    # ---- streamed text ---------------------------------------------------------------------

    def _stream(self, kind: str, message: str, text: str, *, ahead: bool) -> None:
        if kind not in _STREAMED:
            return
        if ahead:
            key = (kind, message)
            self._ahead[key] = self._ahead.get(key, "") + text
        if kind != self._kind:
            self._end_line()
            self._kind = kind
        *whole, rest = (self._partial + tame(text, lines=True)).split("\n")
        for line in whole:
            self._print(line, self._style())
        if columns_of(rest) > self._width:
            *full, rest = wrap(rest, self._width)
            self._lines += [(line, self._style()) for line in full]
        self._partial = rest

    def _stored(self, kind: str, message: str, text: str) -> None:
        """Tell what of `text` was not told while it streamed."""
        key = (kind, message)
        told = self._ahead.pop(key, "")
        if told.startswith(text):
            if len(told) > len(text):
                self._ahead[key] = told[len(text) :]
        elif text.startswith(told):
            self._stream(kind, message, text[len(told) :], ahead=False)
        else:
            # Pieces were missed while the service was away: the whole, once more and complete.
            self._end_line()
            self._stream(kind, message, text, ahead=False)

    def _style(self) -> str:
        return "dim" if self._kind == "thought-streamed" else ""

    def _end_line(self) -> None:
        if self._partial:
            self._print(self._partial, self._style())
        self._partial = self._kind = ""

    def _print(self, text: str, style: str = "", *, indent: str = "") -> None:
        lines = wrap(tame(text, lines=True), self._width - columns_of(indent)) or [""]
        self._lines += [(indent + line, style) for line in lines]

    def _print_some(self, text: str, most: int, style: str, indent: str) -> None:
        lines = text.rstrip("\n").split("\n")
        for line in lines[:most]:
            self._print(line, style, indent=indent)
        if len(lines) > most:
            self._print(f"({len(lines) - most} more lines)", "dim", indent=indent)

    # ---- one function per kind of fact -----------------------------------------------------

    def _turn_queued(self, fact: Fact, at: float) -> None:
        sender = fact.get("sender")
        head = f"[{sender}] " if sender else ""
        waits = self.turn is not None and fact["turn"] > self.turn
        note = "  (waits for its turn)" if waits else ""
        self._print("")
        self._print_some(head + fact["text"].rstrip("\n") + note, _MOST_PROMPT_LINES, "bold", "> ")

    def _turn_steered(self, fact: Fact, at: float) -> None:
        sender = fact.get("sender")
        head = f"[{sender}] " if sender else ""
        note = f"  (added to turn {fact['turn']})"
        self._print_some(head + fact["text"].rstrip("\n") + note, _MOST_PROMPT_LINES, "bold", "> ")

    def _turn_started(self, fact: Fact, at: float) -> None:
        self.turn = fact["turn"]
        self._began[fact["turn"]] = at

    def _turn_ended(self, fact: Fact, at: float) -> None:
        self.turn = None
        began = self._began.pop(fact["turn"], at)
        style = "dim" if fact["stop"] == "end_turn" else "yellow"
        self._print(f"— turn {fact['turn']}: {fact['stop']}, {clock(at - began)} —", style)

    def _turn_failed(self, fact: Fact, at: float) -> None:
        self.turn = None
        self._print(f"— turn {fact['turn']} failed: {fact.get('message', '')} —", "red")

    def _turn_withdrawn(self, fact: Fact, at: float) -> None:
        self._print(f"— turn {fact['turn']} was withdrawn: {fact.get('reason', '')} —", "yellow")

    def _tool(self, fact: Fact, at: float) -> None:
        call = fact["call"]
        known = self._tools.get(call)
        title = fact.get("title") or known or ""
        if title and title != known:
            self._tools[call] = title
            self._print(f"⚙ {title}", "cyan")
        status = fact.get("status")
        if status in ("completed", "failed"):
            self._tools.pop(call, None)
            style = "red" if status == "failed" else "dim"
            for text in shown_content(fact.get("content") or []):
                self._print_some(text, _MOST_OUTPUT_LINES, style, "    ")
            if status == "failed":
                self._print(f"✗ {title} failed", "red", indent="  ")

    def _plan(self, fact: Fact, at: float) -> None:
        self._print("plan", "bold")
        for entry in fact.get("entries", []):
            mark = _PLAN_MARKS.get(entry.get("status", "pending"), "○")
            self._print(f"{mark} {entry['content']}", indent="  ")

    def _permission(self, fact: Fact, at: float) -> None:
        self.asks[fact["request"]] = fact | {"kind": "permission"}
        self._print(f"? may it: {fact.get('title') or 'go on'}", "alarm")
        for text in shown_content(fact.get("content") or []):
            self._print_some(text, _MOST_OUTPUT_LINES, "", "    ")
        names = [f"{one['id']} ({one.get('name') or one['kind']})" for one in fact["options"]]
        self._print(f"  /allow  /deny  or /choose one of: {', '.join(names)}", "bold")

    def _question(self, fact: Fact, at: float) -> None:
        self.asks[fact["request"]] = fact | {"kind": "question"}
        self._print(f"? {fact['message']}", "alarm")
        if fact.get("url"):
            self._print(f"  open {fact['url']}", "bold")
        fields = ", ".join(fields_of(fact))
        self._print(f"  /answer {fields or 'TEXT'}  or  /deny", "bold")

    def _ask_gone(self, fact: Fact, at: float) -> None:
        self.asks.pop(fact["request"], None)
        if fact["kind"] == "ask-answered":
            by = fact.get("by", "user")
            self._print(f"  {fact['outcome']} by {by}", "green")

    def _state(self, fact: Fact, at: float) -> None:
        self.state, self.since = fact["after"], at
        if fact["after"] in _TOLD_STATES:
            style = "red" if fact["after"] in ("failed", "lost") else "yellow"
            self._print(f"{fact['after']}: {fact.get('reason', '')}", style)

    def _usage(self, fact: Fact, at: float) -> None:
        self.used = fact.get("used_tokens") or self.used
        self.size = fact.get("size_tokens") or self.size

    def _agent_ended(self, fact: Fact, at: float) -> None:
        code = fact.get("exit_code")
        how = f"with code {code}" if code is not None else f"by signal {fact.get('signal')}"
        self._print(f"the agent ended {how}", "yellow")
        self._print_some(fact.get("stderr_tail", ""), _MOST_OUTPUT_LINES, "dim", "    ")

    def _offered(self, fact: Fact, at: float) -> None:
        self.commands = {one["id"].lstrip("/") for one in fact.get("commands", [])}

    def _setup_printed(self, fact: Fact, at: float) -> None:
        self._print_some(fact["text"], _MOST_OUTPUT_LINES, "dim", "  setup  ")

    def _landed(self, fact: Fact, at: float) -> None:
        self._print(f"landed in {fact['target']} ({fact['commit'][:10]})", "green")

    def _not_landed(self, fact: Fact, at: float) -> None:
        self._print(f"not landed in {fact['target']}: {fact['why']}", "red")

    def _gone(self, fact: Fact, at: float) -> None:
        self.removed = True
        self._print("the session was removed", "yellow")


_TELLERS: dict[str, Callable[[Telling, Fact, float], None]] = {
    "turn-queued": Telling._turn_queued,
    "turn-started": Telling._turn_started,
    "turn-steered": Telling._turn_steered,
    "turn-ended": Telling._turn_ended,
    "turn-failed": Telling._turn_failed,
    "turn-withdrawn": Telling._turn_withdrawn,
    "tool-called": Telling._tool,
    "tool-changed": Telling._tool,
    "plan-shown": Telling._plan,
    "permission-asked": Telling._permission,
    "question-asked": Telling._question,
    "ask-withdrawn": Telling._ask_gone,
    "ask-answered": Telling._ask_gone,
    "state-changed": Telling._state,
    "usage-reported": Telling._usage,
    "agent-ended": Telling._agent_ended,
    "commands-offered": Telling._offered,
    "setup-printed": Telling._setup_printed,
    "work-landed": Telling._landed,
    "landing-refused": Telling._not_landed,
    "session-removed": Telling._gone,
}
"""Facts that are told. The others change nothing a watcher waits for."""


def shown_content(content: list[Any]) -> list[str]:
    """Return the parts of a tool call's content that can be shown as text."""
    found: list[str] = []
    for part in content:
        block = part.get("content") if isinstance(part, dict) else None  # pyright: ignore
        if isinstance(block, dict) and isinstance(block.get("text"), str):  # pyright: ignore
            found.append(str(block["text"]))  # pyright: ignore
        elif isinstance(part, dict) and part.get("type") == "diff":  # pyright: ignore
            lines = str(part.get("newText") or "").count("\n")  # pyright: ignore
            found.append(f"{part.get('path', '')}: {lines} lines")  # pyright: ignore
    return found
