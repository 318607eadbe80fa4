"""OpenAI Responses: https://platform.openai.com/docs/api-reference/responses-streaming."""

import json
import re
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

import anyio

from bullpen.testing.model.conversation import Answer, Item, aside, filled, next_answer, timed
from bullpen.testing.model.reading import objects, text_of, within
from bullpen.testing.model.script import Script
from bullpen.testing.model.tools import Call, Offer, Tools

_DIRECTORY = re.compile(r"<cwd>(.+?)</cwd>")


def answer_to(script: Script, body: dict[str, Any]) -> Answer:
    """Return what the model says to a request."""
    form = within(body, "text", "format")
    if form.get("type") == "json_schema":
        # Titles and automatic reviews quote the user's prompt.
        return aside(script, json.dumps(filled(form.get("schema"))), note="schema")
    items = _items(body)
    places = [found[1] for item in items if (found := _DIRECTORY.search(item.text))]
    tools = Tools(_offered(body), directory=places[-1] if places else None)
    return next_answer(script, items, tools)


def _items(body: dict[str, Any]) -> list[Item]:
    said = body.get("input")
    if isinstance(said, str):
        return [Item("user", said)]
    items: list[Item] = []
    for one in objects(body, "input"):
        kind = str(one.get("type", "message"))
        if kind == "message":
            role = one.get("role") if one.get("role") in ("user", "assistant") else "system"
            items.append(Item(str(role), text_of(one.get("content"))))
        elif kind.endswith("_output"):
            items.append(Item("tool", text_of(one.get("output"))))
        elif kind.endswith("_call"):
            items.append(Item("call", ""))
    return items


def _offered(body: dict[str, Any]) -> dict[str, Offer]:
    offered: dict[str, Offer] = {}
    for tool in objects(body, "tools"):
        if "tools" in tool:
            for inner in objects(tool, "tools"):
                offered[str(inner.get("name"))] = _offer(inner, namespace=tool.get("name"))
        else:
            offered[str(tool.get("name") or tool.get("type"))] = _offer(tool, namespace=None)
    return offered


def _offer(tool: dict[str, Any], *, namespace: str | None) -> Offer:
    properties = within(tool, "parameters", "properties")
    is_free = tool.get("type") == "custom"
    return Offer(properties=properties, is_free=is_free, namespace=namespace)


def refusal(error: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an error answer."""
    status = int(error["status"])
    # `server_error` makes some agents try for minutes, even below 500.
    kinds = {429: "rate_limit_exceeded", 401: "invalid_api_key"}
    usual = "server_error" if status >= 500 else "invalid_request_error"
    kind = error.get("type") or kinds.get(status, usual)
    body: dict[str, Any] = {"type": kind, "message": error.get("message", "scripted")}
    if error.get("retry_after") is not None:
        body["resets_in_seconds"] = error["retry_after"]
    return {"error": body}


async def stream(body: dict[str, Any], answer: Answer) -> AsyncGenerator[dict[str, Any]]:
    """Tell the response piece by piece; the last event holds it whole."""
    base: dict[str, Any] = {
        "id": f"resp_{uuid.uuid4().hex[:16]}",
        "object": "response",
        "created_at": int(time.time()),
        "model": body.get("model"),
        "status": "in_progress",
        "output": [],
    }
    yield {"type": "response.created", "response": base}
    done: list[dict[str, Any]] = []
    async for event in _items_told(answer):
        yield event
        if event["type"] == "response.output_item.done":
            done.append(event["item"])
    whole = base | {"status": "completed", "output": done, "usage": _usage(answer)}
    yield {"type": "response.completed", "response": whole}


async def _items_told(answer: Answer) -> AsyncGenerator[dict[str, Any]]:
    index = 0
    if answer.thought:
        for event in _thought(answer.thought, index):
            yield event
        index += 1
    if answer.text or not answer.calls:
        async for event in _message(answer, index):
            yield event
        index += 1
    for number, call in enumerate(answer.calls, start=index):
        for event in _call(call, number):
            yield event


def _thought(text: str, index: int) -> list[dict[str, Any]]:
    name = f"rs_{uuid.uuid4().hex[:16]}"
    item: dict[str, Any] = {"id": name, "type": "reasoning", "summary": []}
    here = {"item_id": name, "output_index": index, "summary_index": 0}
    part = {"type": "summary_text", "text": text}
    kind = "response.reasoning_summary"
    return [
        {"type": "response.output_item.added", "output_index": index, "item": item},
        {"type": f"{kind}_part.added", **here, "part": part | {"text": ""}},
        {"type": f"{kind}_text.delta", **here, "delta": text},
        {"type": f"{kind}_text.done", **here, "text": text},
        {"type": f"{kind}_part.done", **here, "part": part},
        {
            "type": "response.output_item.done",
            "output_index": index,
            "item": item | {"summary": [part]},
        },
    ]


async def _message(answer: Answer, index: int) -> AsyncGenerator[dict[str, Any]]:
    name = f"msg_{uuid.uuid4().hex[:16]}"
    item: dict[str, Any] = {"id": name, "type": "message", "role": "assistant"}
    here = {"item_id": name, "output_index": index, "content_index": 0}
    part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": []}
    begun: dict[str, Any] = item | {"status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    yield {"type": "response.content_part.added", **here, "part": part}
    for piece, seconds in timed(answer):
        yield {"type": "response.output_text.delta", **here, "delta": piece}
        await anyio.sleep(seconds)
    yield {"type": "response.output_text.done", **here, "text": answer.text}
    whole = item | {"status": "completed", "content": [part | {"text": answer.text}]}
    yield {"type": "response.output_item.done", "output_index": index, "item": whole}


def _call(call: Call, index: int) -> list[dict[str, Any]]:
    name = f"call_{uuid.uuid4().hex[:12]}"
    at = {"output_index": index}
    if call.text is not None:
        item = {"id": f"ctc_{name}", "type": "custom_tool_call", "call_id": name}
        item |= {"name": call.name, "status": "completed", "input": call.text}
        field, kind = "input", "response.custom_tool_call_input"
    else:
        item = {"id": f"fc_{name}", "type": "function_call", "call_id": name}
        item |= {"name": call.name, "status": "completed", "arguments": json.dumps(call.arguments)}
        field, kind = "arguments", "response.function_call_arguments"
    if call.namespace:
        item["namespace"] = call.namespace
    begun = item | {field: "", "status": "in_progress"}
    told = {"item_id": item["id"], **at}
    return [
        {"type": "response.output_item.added", **at, "item": begun},
        {"type": f"{kind}.delta", **told, "delta": item[field]},
        {"type": f"{kind}.done", **told, field: item[field]},
        {"type": "response.output_item.done", **at, "item": item},
    ]


def _usage(answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }
