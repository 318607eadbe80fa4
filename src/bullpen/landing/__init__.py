"""Bringing a session's branch home.

Owns: the rules by which a branch is merged into a target, and that it is all or nothing. Refuses:
choosing what to land and in which order, checks before it, resolving conflicts; it reports those.
Confines no library.
"""

from bullpen.landing.land import Landed, land

__all__ = ["Landed", "land"]
