"""OpenAI Chat Completions: https://platform.openai.com/docs/api-reference/chat-streaming."""

import json
import re
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

import anyio

from bullpen.testing.model.anthropic import directory_in
from bullpen.testing.model.conversation import Answer, Item, filled, next_answer, timed
from bullpen.testing.model.reading import objects, text_of, within
from bullpen.testing.model.script import Script
from bullpen.testing.model.tools import Offer, Tools

_PLACE = re.compile(r"[Cc]urrent working directory: (\S+)")


def answer_to(script: Script, body: dict[str, Any]) -> Answer:
    """Return what the model says to a request."""
    form = within(body, "response_format")
    if form.get("type") == "json_schema":
        schema = within(form, "json_schema", "schema")
        return Answer(text=json.dumps(filled(schema)), note="schema")
    offered = {
        tool["function"]["name"]: Offer(
            properties=within(tool, "function", "parameters", "properties")
        )
        for tool in objects(body, "tools")
        if tool.get("type") == "function"
    }
    items = [_item(message) for message in objects(body, "messages")]
    system = "\n".join(item.text for item in items if item.role == "system")
    place = _PLACE.search(system)
    directory = place[1] if place else directory_in(system)
    answer = next_answer(script, items, Tools(offered, directory=directory))
    if not offered and answer.error is None and answer.seconds == 0:
        return Answer(text="Scripted title", note="side")
    return answer


def _item(message: dict[str, Any]) -> Item:
    roles = {"tool": "tool", "user": "user", "assistant": "assistant"}
    return Item(roles.get(message["role"], "system"), text_of(message.get("content")))


async def stream(
    script: Script, body: dict[str, Any], answer: Answer
) -> AsyncGenerator[dict[str, Any]]:
    """Tell the completion piece by piece."""
    base = _base(body, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return base | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for piece, seconds in timed(answer):
        yield chunk({"content": piece})
        await anyio.sleep(seconds)
    if answer.call is not None:
        yield chunk({"tool_calls": [_call(answer) | {"index": 0}]})
    yield chunk({}, "stop" if answer.call is None else "tool_calls")
    yield base | {"choices": [], "usage": _usage(script)}


def completion(script: Script, body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Return the whole completion."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.call is not None:
        message["tool_calls"] = [_call(answer)]
    finish = "stop" if answer.call is None else "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return _base(body, "chat.completion") | {"choices": [choice], "usage": _usage(script)}


def _base(body: dict[str, Any], kind: str) -> dict[str, Any]:
    name = f"chatcmpl-{uuid.uuid4().hex[:16]}"
    return {"id": name, "object": kind, "created": int(time.time()), "model": body.get("model")}


def _call(answer: Answer) -> dict[str, Any]:
    assert answer.call is not None, "asked for by whoever has one"
    arguments = json.dumps(answer.call.arguments)
    return {
        "id": f"call_{uuid.uuid4().hex[:12]}",
        "type": "function",
        "function": {"name": answer.call.name, "arguments": arguments},
    }


def _usage(script: Script) -> dict[str, int]:
    return {
        "prompt_tokens": script.input_tokens,
        "completion_tokens": script.output_tokens,
        "total_tokens": script.input_tokens + script.output_tokens,
    }
