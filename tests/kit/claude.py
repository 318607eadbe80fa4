"""Claude Code over its journals: orders and lines as they came, and a dialect to speak with."""

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import settings

from bullpen.agents.claude import ClaudeDialect
from bullpen.agents.dialect import (
    AnyOrder,
    Prompt,
)
from bullpen.model.fact import (
    AgentFact,
    MessageStreamed,
    TurnEnded,
    TurnFailed,
)

JOURNALS = Path(__file__).parents[1] / "agents" / "journals" / "claude"
NAMES = sorted(file.stem for file in JOURNALS.glob("*.jsonl"))
MODES = {"questions": "plan", "steer": "acceptEdits"}
PROMPT = "00000000-0000-4000-8000-00000000000"
F = TypeVar("F")
patient = settings(deadline=None, database=None)


def read(name: str) -> list[bytes]:
    return (JOURNALS / f"{name}.jsonl").read_bytes().splitlines()


def speaker(name: str = "") -> ClaudeDialect:
    return ClaudeDialect(mode=MODES.get(name, "default"))


def step(dialect: ClaudeDialect, line: bytes) -> tuple[list[AgentFact], list[bytes]]:
    """Give an order or feed a line, whichever `line` is."""
    if line.startswith(b'{"order"'):
        order: Any = msgspec.json.decode(line, type=AnyOrder)
        return [], dialect.order(order)
    heard = dialect.feed(line)
    return heard.facts, heard.out


def play(name: str) -> list[AgentFact]:
    dialect = speaker(name)
    return [fact for line in read(name) for fact in step(dialect, line)[0]]


def of(facts: list[AgentFact], kind: type[F]) -> list[F]:
    return [fact for fact in facts if isinstance(fact, kind)]


def ends(facts: list[AgentFact]) -> list[AgentFact]:
    return [fact for fact in facts if isinstance(fact, TurnEnded | TurnFailed)]


def said(facts: list[AgentFact]) -> str:
    return "".join(one.text for one in of(facts, MessageStreamed))


def hear(dialect: ClaudeDialect, **message: Any) -> list[AgentFact]:
    return dialect.feed(json.dumps(message).encode()).facts


def written(dialect: ClaudeDialect, **message: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in dialect.feed(json.dumps(message).encode()).out]


def opened() -> ClaudeDialect:
    """A dialect whose conversation is open."""
    dialect = speaker()
    for line in read("text")[:2]:
        step(dialect, line)
    return dialect


def running() -> ClaudeDialect:
    """A dialect whose first turn runs."""
    dialect = opened()
    dialect.order(Prompt(turn=1, text="go"))
    return dialect


def result(turn: int = 1, **more: Any) -> dict[str, Any]:
    names = [f"{PROMPT}{turn}"]
    return {"type": "result", "is_error": False, "user_message_uuids": names, **more}


def failure(text: str, **more: Any) -> dict[str, Any]:
    return result(is_error=True, terminal_reason="api_error", result=text, **more)


def ask(dialect: ClaudeDialect, tool: str, request: str = "q", **given: Any) -> list[AgentFact]:
    wanted = {"subtype": "can_use_tool", "tool_name": tool, "input": given, "tool_use_id": "c"}
    return hear(dialect, type="control_request", request_id=request, request=wanted)


def called(dialect: ClaudeDialect, tool: str, **given: Any) -> list[AgentFact]:
    content = [{"type": "tool_use", "id": "c", "name": tool, "input": given}]
    return hear(dialect, type="assistant", message={"id": "m", "content": content})
