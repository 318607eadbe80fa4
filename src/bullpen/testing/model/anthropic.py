"""Anthropic Messages: https://docs.anthropic.com/en/api/messages-streaming."""

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

_DIRECTORY = re.compile(r"(?:Primary working directory|Working directory|cwd): (\S+)")


def directory_in(text: str) -> str | None:
    """Return where the agent says it works, in its instructions."""
    found = _DIRECTORY.search(text)
    return found[1] if found else None


def answer_to(script: Script, body: dict[str, Any]) -> Answer:
    """Return what the model says to a request."""
    form = within(body, "output_config", "format") or within(body, "output_format")
    if form.get("type") == "json_schema":
        return aside(script, json.dumps(filled(form.get("schema"))), note="schema")
    offered = {
        tool["name"]: Offer(properties=within(tool, "input_schema", "properties"))
        for tool in objects(body, "tools")
        if "name" in tool
    }
    items = _items(body)
    system = text_of(body.get("system")) + "\n".join(i.text for i in items if i.role == "system")
    answer = next_answer(script, items, Tools(offered, directory=directory_in(system)))
    if not offered and answer.error is None and answer.seconds == 0:
        # A side question, such as a title for the conversation.
        return aside(script, "Scripted title", note="side")
    return answer


def _items(body: dict[str, Any]) -> list[Item]:
    items: list[Item] = []
    for message in objects(body, "messages"):
        role = str(message.get("role"))
        content = message.get("content")
        if isinstance(content, str):
            items.append(Item(role, content))
        for block in objects(message, "content"):
            kind = block.get("type")
            if kind == "tool_result":
                items.append(Item("tool", text_of(block.get("content"))))
            elif kind == "tool_use":
                items.append(Item("call", ""))
            elif kind == "text":
                items.append(Item(role, text_of(block)))
    return items


def refusal(error: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an error answer."""
    status = int(error["status"])
    kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    kind = error.get("type") or kinds.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.get("message", "scripted")}}


def message_of(body: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """Return the whole message."""
    blocks: list[dict[str, Any]] = []
    if answer.thought:
        blocks.append({"type": "thinking", "thinking": answer.thought, "signature": "sig"})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    for call in answer.calls:
        use = {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:20]}"}
        blocks.append(use | {"name": call.name, "input": call.arguments})
    return {
        "id": f"msg_{uuid.uuid4().hex[:20]}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": blocks,
        "stop_reason": "tool_use" if answer.calls else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }


async def stream(body: dict[str, Any], answer: Answer) -> AsyncGenerator[dict[str, Any]]:
    """Tell the message piece by piece."""
    whole = message_of(body, answer)
    usage = whole["usage"] | {"output_tokens": 1}
    yield {
        "type": "message_start",
        "message": whole | {"content": [], "stop_reason": None, "usage": usage},
    }
    for index, block in enumerate(whole["content"]):
        empty, deltas = _block(block, answer)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta, seconds in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
            await anyio.sleep(seconds)
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    count = {"output_tokens": answer.output_tokens}
    yield {"type": "message_delta", "delta": end, "usage": count}
    yield {"type": "message_stop"}


def _block(
    block: dict[str, Any], answer: Answer
) -> tuple[dict[str, Any], list[tuple[dict[str, Any], float]]]:
    if block["type"] == "text":
        texts = [({"type": "text_delta", "text": piece}, wait) for piece, wait in timed(answer)]
        return {"type": "text", "text": ""}, texts
    if block["type"] == "thinking":
        thought = {"type": "thinking_delta", "thinking": block["thinking"]}
        signed = {"type": "signature_delta", "signature": "sig"}
        return {"type": "thinking", "thinking": "", "signature": ""}, [(thought, 0), (signed, 0)]
    said = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    return block | {"input": {}}, [(said, 0)]
