"""Gemini: https://ai.google.dev/api/generate-content."""

import json
import re
import uuid
from collections.abc import AsyncGenerator
from typing import Any

import anyio

from bullpen.testing.model.conversation import Answer, Item, aside, filled, next_answer, timed
from bullpen.testing.model.reading import objects, text_of, within
from bullpen.testing.model.script import Script
from bullpen.testing.model.tools import Offer, Tools

_PLACE = re.compile(r"(?:working in the directory|Workspace Director(?:y|ies)):?\s*(?:- )?(/\S+)")


def answer_to(script: Script, body: dict[str, Any]) -> Answer:
    """Return what the model says to a request."""
    settings = within(body, "generationConfig")
    schema = settings.get("responseJsonSchema") or settings.get("responseSchema")
    if schema:
        # The router before each turn, and other side questions.
        return aside(script, json.dumps(filled(schema)), note="schema")
    offered: dict[str, Offer] = {}
    for tool in objects(body, "tools"):
        for one in objects(tool, "functionDeclarations"):
            schema = within(one, "parametersJsonSchema") or within(one, "parameters")
            offered[one["name"]] = Offer(properties=within(schema, "properties"))
    items = _items(body)
    system = json.dumps(body.get("systemInstruction") or {}).replace("\\n", " ")
    place = _PLACE.search(system + " ".join(item.text for item in items[:3]))
    return next_answer(script, items, Tools(offered, directory=place[1] if place else None))


def _items(body: dict[str, Any]) -> list[Item]:
    items: list[Item] = []
    for content in objects(body, "contents"):
        for part in objects(content, "parts"):
            if "functionResponse" in part:
                items.append(Item("tool", json.dumps(part["functionResponse"].get("response"))))
            elif content.get("role", "user") == "user":
                items.append(Item("user", text_of(part)))
            elif "functionCall" in part:
                items.append(Item("call", ""))
            elif part.get("text") and not part.get("thought"):
                items.append(Item("assistant", part["text"]))
    return items


def refusal(error: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an error answer."""
    status = int(error["status"])
    kinds = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}
    kind = error.get("type") or kinds.get(status, "INTERNAL")
    message = error.get("message", "scripted")
    return {"error": {"code": status, "message": message, "status": kind}}


async def stream(model: str, answer: Answer) -> AsyncGenerator[dict[str, Any]]:
    """Tell the answer piece by piece."""
    usage = {
        "promptTokenCount": answer.input_tokens,
        "candidatesTokenCount": answer.output_tokens,
        "totalTokenCount": answer.input_tokens + answer.output_tokens,
    }
    base = {"usageMetadata": usage, "modelVersion": model, "responseId": uuid.uuid4().hex[:12]}

    def told(parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
        one: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        return base | {"candidates": [one if finish is None else one | {"finishReason": finish}]}

    if answer.thought:
        yield told([{"text": answer.thought, "thought": True}])
    for piece, seconds in timed(answer):
        yield told([{"text": piece}])
        await anyio.sleep(seconds)
    calls = [{"functionCall": {"name": one.name, "args": one.arguments}} for one in answer.calls]
    yield told([one | {"thoughtSignature": "c2ln"} for one in calls] or [{"text": ""}], "STOP")


def whole(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return all pieces as one answer."""
    parts = [part for event in events for part in event["candidates"][0]["content"]["parts"]]
    text = "".join(part.get("text", "") for part in parts if not part.get("thought"))
    calls = [part for part in parts if "functionCall" in part]
    last = events[-1]
    said = [{"text": text}] if text or not calls else []
    content = {"role": "model", "parts": [*said, *calls]}
    return last | {"candidates": [last["candidates"][0] | {"content": content}]}
