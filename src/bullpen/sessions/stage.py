"""What every session of a host stands on, in one value."""

import msgspec

from bullpen.agents.catalog import Catalog
from bullpen.model.home import Home
from bullpen.process import Watcher
from bullpen.sessions.hub import Hub
from bullpen.sessions.judging import Policies
from bullpen.sessions.reflex import Reflex
from bullpen.sessions.settings import Settings
from bullpen.store import Store


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """The host's store, watcher, catalog and settings."""

    home: Home
    store: Store
    hub: Hub
    watcher: Watcher
    catalog: Catalog
    settings: Settings
    environment: dict[str, str]
    """What the service itself was started with; agents get an allowlist of it."""
    policies: Policies
    """The user's rules about what agents may do."""
    reflexes: tuple[Reflex, ...] = ()
    """What is done about what agents say, in this order."""
