"""OpenAI Chat Completions: https://platform.openai.com/docs/api-reference/chat-streaming."""

import json
import re
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

import anyio

from bullpen.testing.model.anthropic import directory_in
from bullpen.testing.model.conversation import Answer, Item, aside, filled, next_answer, timed
from bullpen.testing.model.reading import objects, text_of, within
from bullpen.testing.model.script import Script
from bullpen.testing.model.tools import Call, Offer, Tools

_PLACE = re.compile(r"[Cc]urrent working directory: (\S+)")


def answer_to(script: Script, body: dict[str, Any]) -> Answer:
    """Return what the model says to a request."""
    form = within(body, "response_format")
    if form.get("type") == "json_schema":
        schema = within(form, "json_schema", "schema")
        return aside(script, json.dumps(filled(schema)), note="schema")
    offered = {
        tool["function"]["name"]: Offer(
            properties=within(tool, "function", "parameters", "properties")
        )
        for tool in objects(body, "tools")
        if tool.get("type") == "function"
    }
    items = [item for message in objects(body, "messages") for item in _items(message)]
    system = "\n".join(item.text for item in items if item.role == "system")
    place = _PLACE.search(system)
    directory = place[1] if place else directory_in(system)
    answer = next_answer(script, items, Tools(offered, directory=directory))
    if not offered and answer.error is None and answer.seconds == 0:
        return aside(script, "Scripted title", note="side")
    return answer


def _items(message: dict[str, Any]) -> list[Item]:
    role, text = str(message.get("role")), text_of(message.get("content"))
    items = [Item(role if role in ("tool", "user", "assistant") else "system", text)]
    return [*items, *(Item("call", "") for _ in objects(message, "tool_calls"))]


async def stream(body: dict[str, Any], answer: Answer) -> AsyncGenerator[dict[str, Any]]:
    """Tell the completion piece by piece."""
    base = _base(body, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return base | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    if answer.thought:
        yield chunk({"reasoning_content": answer.thought})
    for piece, seconds in timed(answer):
        yield chunk({"content": piece})
        await anyio.sleep(seconds)
    for index, call in enumerate(answer.calls):
        yield chunk({"tool_calls": [_told(call) | {"index": index}]})
    yield chunk({}, "tool_calls" if answer.calls else "stop")
    yield base | {"choices": [], "usage": _usage(answer)}


def completion(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Return the whole completion."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.thought:
        message["reasoning_content"] = answer.thought
    if answer.calls:
        message["tool_calls"] = [_told(call) for call in answer.calls]
    finish = "tool_calls" if answer.calls else "stop"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return _base(body, "chat.completion") | {"choices": [choice], "usage": _usage(answer)}


def _base(body: dict[str, Any], kind: str) -> dict[str, Any]:
    name = f"chatcmpl-{uuid.uuid4().hex[:16]}"
    return {"id": name, "object": kind, "created": int(time.time()), "model": body.get("model")}


def _told(call: Call) -> dict[str, Any]:
    arguments = json.dumps(call.arguments)
    return {
        "id": f"call_{uuid.uuid4().hex[:12]}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }
