"""A turn: one prompt until its answer, moved on from pause to pause by the agent's loop."""

import time
from collections.abc import Callable, Generator
from math import inf
from typing import Any, Protocol, cast

from bullpen.testing.demo.conversation import Conversation
from bullpen.testing.demo.script import VERBS, Json, Pause, ScriptError, Step, Steps, parse

NOW = Pause(until=0.0)
LEAVES = ("allow_once", "allow_always", "reject_once", "reject_always")
ASKS = {"ask": {"write", "run", "commit"}, "edit": {"run"}}
"""What each mode asks leave for. `plan` does none of it, `bypass` all of it."""


class Stop(Exception):
    """The turn ends with this stop reason."""


class Failure(Exception):
    """A request ends in an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Wire(Protocol):
    """What a turn needs of the agent."""

    @property
    def client(self) -> Json:
        """What the client said it can do."""
        ...

    def write(self, data: bytes) -> None:
        """Write bytes to the client."""
        ...

    def emit(self, message: Json) -> None:
        """Send a message."""
        ...

    def ask(self, turn: "Turn", method: str, params: Json) -> int:
        """Send a request whose answer resumes `turn`."""
        ...

    def withdraw(self, number: int) -> None:
        """Tell the client that a request needs no answer, unless it is answered."""
        ...


class Turn:
    """One prompt. Its script is a generator; a cancel is thrown into it where it pauses."""

    def __init__(self, wire: Wire, conversation: Conversation, request: Any, text: str) -> None:
        self.wire = wire
        self.conversation = conversation
        self.request = request
        self.text = text
        self.pause = NOW
        self.stubborn = False
        self.begun = False
        self.ended = False
        self.said: list[str] = []
        self.entries: list[Json] = []
        self.tokens: Json = {}
        self._open: list[str] = []
        self._names = 0
        self._life = _life(self)

    def begin(self) -> None:
        """Take note of the prompt, once; the first step is done by `resume`."""
        if not self.begun:
            self.begun = True
            self.conversation.keep(user=self.text)
            self.pause = next(self._life)

    def resume(self, answer: Json | None = None) -> None:
        """Move on to the next pause; `answer` is what the client said to a request."""
        self._move(lambda: self._life.send(answer))

    def cancel(self) -> None:
        """End the turn as cancelled, unless its script said to ignore that."""
        if not self.begun:
            self.wire.emit({"id": self.request, "result": {"stopReason": "cancelled"}})
            self.close()
        elif not self.stubborn:
            self._move(lambda: self._life.throw(Stop("cancelled")))

    def close(self) -> None:
        """Undo what the running step holds; the prompt stays without an answer."""
        self._life.close()
        self.ended = True

    def _move(self, way: Callable[[], Pause]) -> None:
        try:
            self.pause = way()
        except StopIteration:
            self.ended = True

    def name(self) -> str:
        """Return a name no other message or tool call of the conversation has."""
        self._names += 1
        return f"{len(self.conversation.told())}-{self._names}"

    def update(self, kind: str, /, **fields: Any) -> None:
        """Send a session/update."""
        notify(self.wire, self.conversation, kind, **fields)

    def say(self, text: str, *, message: str = "") -> None:
        """Say `text` in one piece."""
        self.said.append(text)
        content = {"type": "text", "text": text}
        self.update("agent_message_chunk", content=content, messageId=message or self.name())

    def call(self, title: str, kind: str, **fields: Any) -> str:
        """Announce a tool call and return its id."""
        call = f"call-{self.name()}"
        self._open.append(call)
        fields |= {"title": title, "kind": kind, "status": "pending"}
        self.update("tool_call", toolCallId=call, **fields)
        return call

    def change(self, call: str, **fields: Any) -> None:
        """Report on a tool call."""
        if fields.get("status") in ("completed", "failed"):
            self._open.remove(call)
        self.update("tool_call_update", toolCallId=call, **fields)

    def give_up(self) -> None:
        """Report every tool call that has not ended as failed."""
        for call in list(self._open):
            self.change(call, status="failed")

    def leave(self, need: str, title: str, kind: str, **fields: Any) -> Generator[Pause, Any, str]:
        """Announce a deed and get leave for it as the mode wants: return its tool call, or
        nothing when it must not be done, which has been said then."""
        call = self.call(title, kind, **fields)
        if self.conversation.mode == "plan":
            why = "Plan mode, so not done"
        elif (yield from self._granted(need, call, title)):
            self.change(call, status="in_progress")
            return call
        else:
            why = "Rejected, so not done"
        self.change(call, status="failed", content=text_content(why))
        self.say(f"{why}: {title}\n")
        return ""

    def _granted(self, need: str, call: str, title: str) -> Generator[Pause, Any, bool]:
        granted = self.conversation.granted
        if need not in ASKS.get(self.conversation.mode, set[str]()) - granted:
            return True
        kind = yield from self.permission(call, title, LEAVES)
        if kind == "allow_always":
            granted.add(need)
        return kind.startswith("allow")

    def permission(
        self, call: str, title: str, kinds: tuple[str, ...], *, wait: float = inf
    ) -> Generator[Pause, Any, str]:
        """Ask for leave and return the kind of the answer; `late` when `wait` seconds went by.

        Raises:
            Stop: the client cancelled the question.
        """
        options = [{"optionId": f"id-{k}", "kind": k, "name": k.replace("_", " ")} for k in kinds]
        asked = {"toolCall": {"toolCallId": call, "title": title}, "options": options}
        reply = yield from self.ask("session/request_permission", asked, wait=wait)
        if reply is None:
            return "late"
        outcome = inner(reply, "result", "outcome")
        if outcome.get("outcome") == "cancelled":
            raise Stop("cancelled")
        kind = str(outcome.get("optionId", "")).removeprefix("id-")
        return kind if kind in kinds else "reject_once"

    def ask(
        self, method: str, params: Json, *, wait: float = inf
    ) -> Generator[Pause, Any, Json | None]:
        """Send a request to the client and return its response; None when `wait` seconds went
        by. A request nobody waits for any more is withdrawn."""
        params = {"sessionId": self.conversation.id, **params}
        number = self.wire.ask(self, method, params)
        try:
            return (yield Pause(until=time.monotonic() + wait))
        finally:
            self.wire.withdraw(number)


def notify(wire: Wire, conversation: Conversation, kind: str, /, **fields: Any) -> None:
    """Send a session/update, in a turn or outside of one."""
    update = {"sessionUpdate": kind, **fields}
    params = {"sessionId": conversation.id, "update": update}
    wire.emit({"method": "session/update", "params": params})


def switch_mode(wire: Wire, conversation: Conversation, mode: str) -> None:
    """Change the mode and tell the client."""
    conversation.keep(mode=mode)
    notify(wire, conversation, "current_mode_update", currentModeId=mode)
    notify(wire, conversation, "config_option_update", configOptions=conversation.options())


def inner(message: Json, *path: str) -> Json:
    """Return the object at `path` within a message; an empty one where there is none."""
    for key in path:
        value: Any = message.get(key)
        message = cast("Json", value) if isinstance(value, dict) else {}
    return message


def text_content(text: str) -> list[Json]:
    """Return the content of a tool call that is one text."""
    return [{"type": "content", "content": {"type": "text", "text": text}}]


def perform(turn: Turn, steps: list[Step]) -> Steps:
    """Do `steps` one after the other; a cancel is heard between any two of them.

    Raises:
        Failure: the system refused what a step wanted.
    """
    for each in steps:
        try:
            yield from each.verb.perform(turn, **each.arguments) or ()
        except (OSError, ValueError) as error:
            # ValueError: a path or argument no system takes, such as one with a NUL in it.
            raise Failure(-32603, f"line {each.line}: {error}") from error
        yield NOW


def _life(turn: Turn) -> Steps:
    answer: Json
    try:
        yield NOW
        yield from perform(turn, parse(turn.text) or _courtesy(turn.text))
        answer = {"result": {"stopReason": "end_turn"}}
    except Stop as stop:
        answer = {"result": {"stopReason": str(stop)}}
    except ScriptError as error:
        turn.say(f"I cannot play this script, {error}.\n")
        answer = {"error": {"code": -32602, "message": f"script error, {error}"}}
    except Failure as failure:
        answer = {"error": {"code": failure.code, "message": str(failure)}}
    turn.give_up()
    if turn.tokens and "result" in answer:
        answer["result"]["usage"] = turn.tokens
    turn.conversation.keep(agent="".join(turn.said))
    turn.wire.emit({"id": turn.request, **answer})


def _courtesy(text: str) -> list[Step]:
    words = text.split()
    about = " ".join(words[:12]) + (" …" if len(words) > 12 else "")
    answer = (
        f"I read your brief ({len(words)} words: {about}). I am the demo agent: I do the steps "
        "a brief holds, and this one holds none.\n"
    )
    thought = "There are no steps for me in this brief, so I only answer."
    return [
        Step(0, VERBS["think"], {"text": thought}),
        Step(0, VERBS["say"], {"text": answer}),
    ]
