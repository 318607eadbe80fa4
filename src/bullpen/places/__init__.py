"""Where a session runs: which folder, under which names, with what in it before the agent starts.

Owns: the paths and branch names of worktrees, `.worktreeinclude`, the setup command, the size of
what a place takes. Refuses: git, so whoever joins the two hands in what git knows; agents and
sessions. Confines no library.
"""

from bullpen.places.directory import check_directory, measure, worktree_path
from bullpen.places.naming import DEFAULT_TEMPLATE, branch_name
from bullpen.places.setup import run_setup
from bullpen.places.worktreeinclude import (
    INCLUDE_FILE,
    Included,
    Section,
    Skipped,
    include,
    parse_include,
)

__all__ = [
    "DEFAULT_TEMPLATE",
    "INCLUDE_FILE",
    "Included",
    "Section",
    "Skipped",
    "branch_name",
    "check_directory",
    "include",
    "measure",
    "parse_include",
    "run_setup",
    "worktree_path",
]
