"""Reading requests, whose shape nobody promises."""

from typing import Any, cast


def within(body: Any, *keys: str) -> dict[str, Any]:
    """Return the object found by going down `keys`, an empty one when there is none."""
    for key in keys:
        body = cast("dict[str, Any]", body).get(key) if isinstance(body, dict) else None
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def objects(body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects in the list called `key`."""
    found = body.get(key)
    listed = cast("list[Any]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", each) for each in listed if isinstance(each, dict)]


def text_of(content: Any) -> str:
    """Return all text in a content of whatever shape."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(text_of(each) for each in cast("list[Any]", content))
    if isinstance(content, dict):
        fields = cast("dict[str, Any]", content)
        return text_of(fields.get("text") or fields.get("content") or fields.get("output") or "")
    return ""
