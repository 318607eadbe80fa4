"""A conversation with the dialect, the agent's side written by hand."""

import json
from typing import Any

from bullpen.agents.acp import AcpDialect
from bullpen.agents.dialect import (
    AnyOrder,
    Open,
    Prompt,
)

CAPABILITIES: dict[str, Any] = {
    "loadSession": True,
    "sessionCapabilities": {"list": {}, "resume": {}, "close": {}},
}
OPTIONS: list[Any] = [
    {
        "id": "how",
        "name": "Mode",
        "category": "mode",
        "type": "select",
        "currentValue": "careful",
        "options": [{"value": "careful", "name": "Careful"}, {"value": "bold", "name": "Bold"}],
    },
    {
        "id": "brain",
        "name": "Model",
        "category": "model",
        "type": "select",
        "currentValue": "small",
        "options": [
            {"group": "g", "name": "G", "options": [{"value": "small", "name": "Small"}]},
        ],
    },
    {"id": "loud", "name": "Loud", "type": "boolean", "currentValue": False},
]
PERMISSION: dict[str, Any] = {
    "sessionId": "s1",
    "toolCall": {"toolCallId": "c1", "rawInput": {"a": 1}},
    "options": [
        {"optionId": "yes!", "name": "Yes", "kind": "allow_once"},
        {"optionId": "no!", "name": "No", "kind": "reject_once"},
    ],
}


class Talk:
    """A dialect with the agent's side of the wire written by hand."""

    def __init__(self, **wishes: Any) -> None:
        self.dialect = AcpDialect(**wishes)
        self.out: list[dict[str, Any]] = []

    def order(self, order: AnyOrder) -> list[dict[str, Any]]:
        sent = [json.loads(line) for line in self.dialect.order(order)]
        self.out += sent
        return sent

    def hear(self, **message: Any) -> list[Any]:
        heard = self.dialect.feed(json.dumps({"jsonrpc": "2.0", **message}).encode())
        self.out += [json.loads(line) for line in heard.out]
        return heard.facts

    def update(self, name: str, /, **fields: Any) -> list[Any]:
        update = {"sessionUpdate": name, **fields}
        return self.hear(method="session/update", params={"sessionId": "s1", "update": update})

    def answer(self, result: Any) -> list[Any]:
        return self.hear(id=self.last()["id"], result=result)

    def last(self) -> dict[str, Any]:
        return self.out[-1]


def opened(result: dict[str, Any] | None = None, **wishes: Any) -> Talk:
    talk = Talk(**wishes)
    talk.order(Open(directory="/w"))
    talk.answer({"protocolVersion": 1, "agentCapabilities": CAPABILITIES})
    talk.answer({"sessionId": "s1", **(result or {})})
    return talk


def working(result: dict[str, Any] | None = None) -> Talk:
    talk = opened(result)
    talk.order(Prompt(turn=1, text="go"))
    return talk
