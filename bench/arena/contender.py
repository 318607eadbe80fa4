"""What it means to take part."""

from collections.abc import Callable, Mapping
from typing import Protocol

from arena.figures import Figure
from arena.host import Effort

Slice = Callable[[Effort], Mapping[str, Figure]]
"""Measures some rows. Starts what it needs and leaves nothing behind."""

SLICES = ("cold", "verb", "create", "turns", "shell", "busy", "noisy", "storm", "live", "ingest")
"""In the order they are run; every contender that has the slice runs it before the next one."""


class Contender(Protocol):
    """One tool that is measured."""

    @property
    def name(self) -> str:
        """The head of its column."""
        ...

    def prepare(self) -> str:
        """Install what is missing and return what was found, with its version.

        Raises:
            Skipped: it cannot be had here.
        """
        ...

    @property
    def slices(self) -> Mapping[str, Slice]:
        """What of `SLICES` it can do."""
        ...
