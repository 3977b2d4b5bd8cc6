"""Sources: a catalog from Git. A folder of a branch is looked at from time to time, and applied when it has changed.

`address`, `secret` and `spec` check what a person gives, `git` runs the program, `mirror` keeps what was fetched,
`tree` takes the files out, `reading` makes a declaration of them, `sync` applies it in one transaction or notes why
not, `drift` tells what people changed since, `manage` adds and removes. Below: `catalog`, which knows owners and
commits but nothing of Git. Next stage: `trigger` opens runs, each with the commit that its case came from.
"""

from kubeprobe.sources.address import Address, check_branch, check_path, parse_address
from kubeprobe.sources.drift import Drift, find_drift
from kubeprobe.sources.git import GitError
from kubeprobe.sources.manage import Added, add_source, get_source, remove_source, request_sync, set_paused
from kubeprobe.sources.reading import SyncContext
from kubeprobe.sources.secret import Secret, check_secret
from kubeprobe.sources.spec import SourceSpec
from kubeprobe.sources.sync import Synced, plan_source, sync_due, sync_now

__all__ = [
    "Added",
    "Address",
    "Drift",
    "GitError",
    "Secret",
    "SourceSpec",
    "SyncContext",
    "Synced",
    "add_source",
    "check_branch",
    "check_path",
    "check_secret",
    "find_drift",
    "get_source",
    "parse_address",
    "plan_source",
    "remove_source",
    "request_sync",
    "set_paused",
    "sync_due",
    "sync_now",
]
