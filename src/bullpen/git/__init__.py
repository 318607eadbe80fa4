"""Typed verbs over the git command: repositories, worktrees, changes, merges, rescues.

Owns: how git is called, so that nothing in the user's environment, hooks or configuration changes
what a verb does; the lock that makes worktrees safe to add in parallel. Refuses: agents and
sessions; it never rewrites or deletes a commit, and runs no hook. Confines the git command, 2.38
or later. `repo` is any folder inside of a repository; `path` any folder inside of a working tree.
"""

from bullpen.git.changes import (
    Changes,
    Numbers,
    ignored_files,
    numbers,
    status,
    untracked_matching,
)
from bullpen.git.command import Signature, printable
from bullpen.git.lock import repository_lock
from bullpen.git.merging import (
    Conflicted,
    Merged,
    commit_tree,
    fast_forward,
    files_changed,
    merge_tree,
)
from bullpen.git.repository import (
    Repository,
    Worktree,
    branch_exists,
    branch_tip,
    branches_in_use,
    create_branch,
    delete_branch,
    head_branch,
    is_ancestor,
    move_branch,
    operation_under_way,
    repository_of,
    resolve,
    tree_of,
    unmerged_commits,
    version,
    worktrees,
)
from bullpen.git.saving import commit_all, rescues, save_rescue
from bullpen.git.snapshot import Snapshot, diff, snapshot
from bullpen.git.worktree import add_worktree, remove_worktree, restore_worktree

__all__ = [
    "Changes",
    "Conflicted",
    "Merged",
    "Numbers",
    "Repository",
    "Signature",
    "Snapshot",
    "Worktree",
    "add_worktree",
    "branch_exists",
    "branch_tip",
    "branches_in_use",
    "commit_all",
    "commit_tree",
    "create_branch",
    "delete_branch",
    "diff",
    "fast_forward",
    "files_changed",
    "head_branch",
    "ignored_files",
    "is_ancestor",
    "merge_tree",
    "move_branch",
    "numbers",
    "operation_under_way",
    "printable",
    "remove_worktree",
    "repository_lock",
    "repository_of",
    "rescues",
    "resolve",
    "restore_worktree",
    "save_rescue",
    "snapshot",
    "status",
    "tree_of",
    "unmerged_commits",
    "untracked_matching",
    "version",
    "worktrees",
]
