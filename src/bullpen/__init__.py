"""Run many coding agents at once, keep them alive, and land what they make.

Every shell verb imports this package, so nothing is loaded before it is asked for.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bullpen.client.link import Stream
    from bullpen.client.pen import Pen, Ran, RemoteSession, connect
    from bullpen.client.views import (
        AgentView,
        ApprovalView,
        Changes,
        CostView,
        Delta,
        Entry,
        Landed,
        Message,
        RuleView,
        SessionView,
        TurnView,
        Waited,
    )
    from bullpen.errors import BullpenError
    from bullpen.model.fact import Event
    from bullpen.model.session import SessionState

__all__ = [
    "AgentView",
    "ApprovalView",
    "BullpenError",
    "Changes",
    "CostView",
    "Delta",
    "Entry",
    "Event",
    "Landed",
    "Message",
    "Pen",
    "Ran",
    "RemoteSession",
    "RuleView",
    "SessionState",
    "SessionView",
    "Stream",
    "TurnView",
    "Waited",
    "connect",
]

_HOMES = {
    "BullpenError": "bullpen.errors",
    "Event": "bullpen.model.fact",
    "Pen": "bullpen.client.pen",
    "Ran": "bullpen.client.pen",
    "RemoteSession": "bullpen.client.pen",
    "SessionState": "bullpen.model.session",
    "Stream": "bullpen.client.link",
    "connect": "bullpen.client.pen",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _HOMES.get(name, "bullpen.client.views")
    __import__(module)
    value = getattr(sys.modules[module], name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
