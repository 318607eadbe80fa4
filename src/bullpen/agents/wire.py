"""JSON-RPC 2.0 as ACP agents speak it: lines to messages, messages to lines, ids that say what
they ask.

Pure functions over bytes and plain values. Nothing in here knows a conversation.
"""

import json
import re
from enum import IntEnum
from typing import Any, Final, cast

import msgspec

from bullpen.model.fact import Faulted

MAX_DEPTH: Final = 128
"""Deeper messages are refused: what was decoded just below the interpreter's recursion limit
could not be encoded again a few frames further down, when it is stored."""
SAMPLE_CHARS: Final = 200

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
REQUEST_CANCELLED: Final = -32800
AUTH_REQUIRED: Final = -32000

_LARGEST: Final = 2**63 - 1
_NUMERIC = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?|null")

decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Ask(IntEnum):
    """What one of our requests asks for. The wire id is `serial * 32 + ask`.

    The numbers are stored in journals: never give one another meaning.
    """

    INITIALIZE = 0
    INITIALIZE_TO_RESUME = 1
    """Tells a reader of the journal alone that a conversation is about to be brought back."""
    AUTHENTICATE = 2
    NEW = 3
    LOAD = 4
    RESUME = 5
    PROMPT = 6
    OPEN_MODE = 7
    OPEN_MODEL = 8
    SET_MODE = 9
    SET_MODEL = 10
    SET_OPTION = 11
    LIST = 12
    CLOSE = 13


def request_id(ask: Ask, serial: int) -> int:
    """Return the wire id of a request. For a prompt `serial` is the turn."""
    return serial * 32 + ask


def read_id(raw: Any) -> tuple[Ask, int] | None:
    """Return what one of our requests asked and its serial, or None when `raw` is no id of ours.

    Agents that hand ids through a string or a float are forgiven.
    """
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 20:
        raw = int(raw)
    whole = count_of(raw)
    if not whole:
        return None
    number, kind = divmod(whole, 32)
    return (Ask(kind), number) if kind <= Ask.CLOSE else None


def name_request(raw: Any) -> str | None:
    """Return the name under which an agent's request waits for its answer.

    Different JSON ids never get the same name: `7` is named `7` and `"7"` is named `s:7`. None
    when `raw` cannot be an id at all.
    """
    if isinstance(raw, str):
        plain = raw and not raw.startswith("s:") and not _NUMERIC.fullmatch(raw)
        return raw if plain else f"s:{raw}"
    if raw is None or (isinstance(raw, int | float) and not isinstance(raw, bool)):
        return _encode(raw).decode()
    return None


def line_of(message: dict[str, Any]) -> bytes:
    """Return `message` as one line with its newline.

    Raises:
        UnicodeEncodeError: a text in it holds half a surrogate pair.
    """
    return _encode(message) + b"\n"


def request(raw_id: int | str, method: str, params: dict[str, Any]) -> bytes:
    """Return the line of a request of ours."""
    return line_of({"jsonrpc": "2.0", "id": raw_id, "method": method, "params": params})


def notification(method: str, params: dict[str, Any]) -> bytes:
    """Return the line of a notification of ours."""
    return line_of({"jsonrpc": "2.0", "method": method, "params": params})


def answer(raw_id: Any, result: dict[str, Any]) -> bytes:
    """Return the line that answers an agent's request; its id is echoed as it came."""
    return line_of({"jsonrpc": "2.0", "id": raw_id, "result": result})


def refusal(raw_id: Any, code: int, message: str) -> bytes:
    """Return the line that refuses an agent's request."""
    error = {"code": code, "message": message}
    return line_of({"jsonrpc": "2.0", "id": raw_id, "error": error})


def text_of(value: Any) -> str | None:
    """Return `value` if it is a text, else None."""
    return value if isinstance(value, str) else None


def money_of(value: Any) -> float | None:
    """Return `value` if it is a number that can be an amount of money, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e15 else None


def dict_of(value: Any) -> dict[str, Any] | None:
    """Return `value` if it is a JSON object, else None."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def list_of(value: Any) -> list[Any] | None:
    """Return `value` if it is a JSON array, else None."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def count_of(value: Any) -> int | None:
    """Return `value` if it is a whole number a database can hold, 0 or more, else None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= _LARGEST else None


class Refused(msgspec.Struct, frozen=True):
    """The error of a response, whatever form it had."""

    code: str
    message: str
    data: Any = None


def read_error(error: Any) -> Refused:
    """Return `error` of a response as text. What agents hide in `data` is added to the message,
    because "Internal error" alone helps nobody."""
    fields = dict_of(error)
    if fields is None:
        return Refused("malformed", str(error)[:SAMPLE_CHARS])
    data = fields.get("data")
    message = plain_words(text_of(fields.get("message")) or "the agent gave no reason")
    detail = _detail(data)
    if detail and detail not in message:
        message = f"{message}: {detail}"
    return Refused(str(fields.get("code", "")), message, data)


def plain_words(message: str) -> str:
    """Return the words of an error that is told as the JSON it came in."""
    if not message.startswith("{"):
        return message
    found = read_line(message.encode(errors="replace"))
    error = found.get("error") if isinstance(found, dict) else None
    fields = dict_of(error)
    said = text_of(error) if fields is None else text_of(fields.get("message"))
    return said or message


def _detail(data: Any) -> str | None:
    fields = dict_of(data)
    if fields is None:
        return text_of(data)
    for key in ("details", "message", "error", "reason"):
        found = text_of(fields.get(key))
        if found:
            return found
    return None


def read_line(line: bytes) -> dict[str, Any] | Faulted:
    """Return the message of a line, or why it is none. Never raises."""
    try:
        message = decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = _second_reading(line, error)
    if isinstance(message, Faulted):
        return message
    fields = dict_of(message)
    return fault(line, "JSON, but no object") if fields is None else fields


def _second_reading(line: bytes, error: Exception) -> Any:
    """Agents that cut a text in UTF-16 units write half a surrogate pair; the rest of such a
    message is sound, so the half becomes U+FFFD and the message is kept."""
    if b"\\u" not in line or b"\0" in line:
        return fault(line, _why(line, error))
    try:
        mended = json.dumps(json.loads(line), ensure_ascii=False)
        whole = mended.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return decode(whole.encode())
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return fault(line, _why(line, error))


def _why(line: bytes, error: Exception) -> str:
    if b"\0" in line:
        return "NUL byte"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, RecursionError):
        return f"nested deeper than {MAX_DEPTH} levels"
    return f"not JSON: {error}"[:SAMPLE_CHARS]


def fault(line: bytes, why: str) -> Faulted:
    """Return the fact that `line` is no message."""
    sample = line[: 4 * SAMPLE_CHARS].decode("utf-8", "replace")[:SAMPLE_CHARS]
    return Faulted(why=why, sample=sample.replace("\0", "\ufffd"), length_bytes=len(line))


def is_too_deep(line: bytes, message: Any) -> bool:
    """Whether `message`, decoded from `line`, is nested deeper than `MAX_DEPTH`."""
    # Counting bytes costs next to nothing and clears all but a few messages.
    if line.count(b"{") + line.count(b"[") <= MAX_DEPTH:
        return False
    level = [message]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            below += _children(value)
        if not below:
            return False
        level = below
    return True


def _children(value: Any) -> list[Any]:
    within = dict_of(value)
    inner = list(within.values()) if within is not None else list_of(value) or []
    return [each for each in inner if _is_nest(each)]


def without_depth(message: dict[str, Any]) -> dict[str, Any]:
    """Return what is left of a message when all but plain values are dropped from its result,
    error or parameters: enough to end a turn or to refuse a request."""
    shallow: dict[str, Any] = {}
    for key, value in message.items():
        fields = dict_of(value)
        if fields is not None:
            shallow[key] = {name: each for name, each in fields.items() if not _is_nest(each)}
        elif not _is_nest(value):
            shallow[key] = value
    return shallow


def _is_nest(value: Any) -> bool:
    return isinstance(value, dict | list)
