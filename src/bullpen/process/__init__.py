"""Child processes and their journals: spawn, follow, write, adopt, reap.

Owns: starting every process there is, the files an agent speaks through, the (pid, start time)
by which a recycled pid is told from ours, and the certainty that what we end is gone with all it
started. Refuses: what the lines mean, when a session starts or ends, any store; it raises or
returns what it saw and decides nothing. Confines `subprocess`, `psutil` and `inotify_simple`.
"""

from bullpen.process.adopt import adopt
from bullpen.process.child import Child
from bullpen.process.environment import whole_environment
from bullpen.process.follow import Batch, Follower
from bullpen.process.identity import Identity
from bullpen.process.journal import Ending, Journal
from bullpen.process.reap import reap_group
from bullpen.process.run import Done, run
from bullpen.process.spawn import spawn
from bullpen.process.table import Marked, marked
from bullpen.process.watch import Watcher

__all__ = [
    "Batch",
    "Child",
    "Done",
    "Ending",
    "Follower",
    "Identity",
    "Journal",
    "Marked",
    "Watcher",
    "adopt",
    "marked",
    "reap_group",
    "run",
    "spawn",
    "whole_environment",
]
