"""Sources: a catalog from Git. A folder of a branch is fetched at an interval, and applied when it has changed.

`address`, `secret` and `spec` validate what a person enters, `git` runs the git program, `mirror` caches what was
fetched, `listing` resolves links, `tree` exports the files of a commit, `grants` says what a source may declare,
`revision` parses it, `sync` applies it in one transaction or records the error, `drift` finds manual changes since,
`manage` adds and removes sources. Below: `catalog`, which knows owners and commits, but not Git. Next stage: `trigger`
opens runs, each with the commit that its case came from.
"""

from kubeprobe.sources.address import Address, check_branch, check_path, parse_address
from kubeprobe.sources.drift import Drift, find_drift
from kubeprobe.sources.git import GitError
from kubeprobe.sources.grants import Grant, parse_grants
from kubeprobe.sources.manage import AddResult, add_source, get_source, remove_source, request_sync, set_paused
from kubeprobe.sources.revision import SyncContext
from kubeprobe.sources.secret import Secret, check_secret
from kubeprobe.sources.spec import SourceSpec
from kubeprobe.sources.sync import SyncResult, plan_source, sync_due, sync_now

__all__ = [
    "AddResult",
    "Address",
    "Drift",
    "GitError",
    "Grant",
    "Secret",
    "SourceSpec",
    "SyncContext",
    "SyncResult",
    "add_source",
    "check_branch",
    "check_path",
    "check_secret",
    "find_drift",
    "get_source",
    "parse_address",
    "parse_grants",
    "plan_source",
    "remove_source",
    "request_sync",
    "set_paused",
    "sync_due",
    "sync_now",
]
