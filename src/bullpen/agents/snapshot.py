"""A dialect's state as bytes, with the name and version of who made them."""

from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


class _Head(msgspec.Struct):
    dialect: str
    version: int
    state: msgspec.Raw


_encode = msgspec.json.Encoder().encode
_read_head = msgspec.json.Decoder(_Head).decode


def to_snapshot(dialect: str, version: int, state: msgspec.Struct) -> bytes:
    """Return `state` as bytes."""
    return _encode(_Head(dialect, version, msgspec.Raw(_encode(state))))


def from_snapshot(raw: bytes, dialect: str, version: int, kind: type[S]) -> S:
    """Return the state of which `to_snapshot` made `raw`.

    Raises:
        ValueError: another version or another dialect made it, or it is damaged.
    """
    try:
        head = _read_head(raw)
        if (head.dialect, head.version) != (dialect, version):
            raise ValueError(f"made by {head.dialect!r} version {head.version}")
        state: Any = msgspec.json.decode(head.state, type=kind)
        return state
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a snapshot: {error}") from error
