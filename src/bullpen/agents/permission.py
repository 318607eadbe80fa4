"""Which answer to a permission request carries out a policy. Options are chosen by their kind:
ids and positions differ between agents."""

from collections.abc import Sequence

from bullpen.model.fact import PermissionOption

_ONCE = {True: "allow_once", False: "reject_once"}
_ALWAYS = {True: "allow_always", False: "reject_always"}


def choose(options: Sequence[PermissionOption], *, allow: bool, always: bool = False) -> str | None:
    """Return the id of the option that allows or rejects, or None when there is none of that
    kind, which means: answer `cancelled`.

    The narrower answer comes first: an agent's `allow_always` may mean more than this one tool
    ("accept all edits from now on"). With `always` the wider one comes first. Never returns an
    option whose kind this version does not know.
    """
    order = (_ONCE[allow], _ALWAYS[allow])
    for kind in reversed(order) if always else order:
        for option in options:
            if option.kind == kind:
                return option.id
    return None
