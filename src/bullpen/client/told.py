"""Errors that another process raised, in the classes of `bullpen.errors`."""

import msgspec

from bullpen.errors import BullpenError, RemoteError


class _Told:
    """Mixin of errors that another process raised: they keep what it said, not its fields."""

    said: str
    advice: str
    code: str

    def __str__(self) -> str:
        return self.said

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.said!r})"

    @property
    def hint(self) -> str:
        return self.advice

    def __reduce__(self) -> tuple[object, ...]:
        return rebuilt, (self.code, self.said, self.advice)


def _kinds(base: type[BullpenError]) -> dict[str, type[BullpenError]]:
    found: dict[str, type[BullpenError]] = {}
    for kind in base.__subclasses__():
        if kind.__module__.startswith("bullpen.errors.") and kind is not RemoteError:
            found[kind.__new__(kind).code] = kind
            found |= _kinds(kind)
    return found


def rebuilt(code: str, message: str, hint: str = "") -> BullpenError:
    """Return the error another process raised.

    It is an instance of the class of `bullpen.errors` with that `code`, so `except` works as if
    it had been raised here, and has that message and hint; the class's own fields were not sent
    and are not there. A code no class has gives a `RemoteError`.
    """
    if code not in _BY_CODE:
        return RemoteError(code, message, hint)
    kind = _BY_CODE[code]
    error = kind.__new__(kind)
    vars(error).update(said=message, advice=hint)
    return error


_BY_CODE: dict[str, type[BullpenError]] = {
    code: type(kind.__name__, (_Told, kind), {"__doc__": kind.__doc__})
    for code, kind in _kinds(BullpenError).items()
}


def error_in(content: bytes, *, status: int) -> BullpenError:
    """Return the error in the body of an answer; whatever the body, it is one."""
    try:
        told = msgspec.json.decode(content)["error"]
        return rebuilt(str(told["code"]), str(told["message"]), str(told.get("hint") or ""))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return RemoteError("http-error", f"the service answered with HTTP status {status}")
