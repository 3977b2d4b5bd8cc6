"""The settings of a source that a person enters, and their merge with the stored ones when it is replaced."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.credentials import Cipher, SecretKeyError
from kubeprobe.fleet.labels import name_problem
from kubeprobe.sources.address import Address, check_branch, check_path, parse_address
from kubeprobe.sources.grants import Grant
from kubeprobe.sources.secret import Secret, check_secret
from kubeprobe.store import Source

MIN_INTERVAL = timedelta(seconds=10)
SPEC_COLUMNS = {
    "url": "address",
    "branch": "branch",
    "path": "path",
    "every_s": "interval",
    "prune": "prune",
    "allow": "allowed",
}
"""The columns that a person sets, with their names in messages; without the secrets."""
_SECRET_NAMES = {
    "deploy_key": "deploy key",
    "token": "token",
    "known_hosts": "known hosts",
    "webhook": "webhook secret",
}


@dataclass(frozen=True)
class SourceSpec:
    """What a person enters. None, or an empty secret: the stored value, or for a new source the default."""

    name: str
    address: Address
    branch: str | None = None
    path: str | None = None
    every: timedelta | None = None
    prune: bool | None = None
    secret: Secret = field(default_factory=Secret)
    allow: tuple[Grant, ...] | None = None


@dataclass(frozen=True)
class DesiredSource:
    """A source as it will be stored."""

    row: Source
    secret: Secret
    changes: tuple[str, ...] = ()
    """Descriptions of the changes to a replaced source; for secrets, only which ones."""


def desired_source(spec: SourceSpec, before: Source | None, cipher: Cipher, now: datetime) -> DesiredSource:
    """Merge the spec with the stored source (`before`). Raises InvalidInputError."""
    _check(spec)
    old, is_unreadable = _stored_secret(before, cipher)
    is_same_server = before is not None and _is_same_server(before, spec.address)
    secret = spec.secret.or_stored(old if is_same_server else Secret(webhook=old.webhook))
    check_secret(spec.address, secret)
    row = Source(name=spec.name, url=spec.address.url, branch="main", every_s=60, next_sync=now, created_at=now)
    if before is not None:
        row.branch, row.path, row.every_s, row.prune = before.branch, before.path, before.every_s, before.prune
        row.paused_at = before.paused_at
        row.allow = before.allow if before.url == row.url else []  # given to those who can push there
    row.branch = row.branch if spec.branch is None else spec.branch
    row.path = row.path if spec.path is None else check_path(spec.path)
    row.every_s = row.every_s if spec.every is None else int(spec.every.total_seconds())
    row.prune = row.prune if spec.prune is None else spec.prune
    row.allow = row.allow if spec.allow is None else [str(grant) for grant in spec.allow]
    row.next_sync = now + timedelta(seconds=row.every_s)
    # Encrypting the same secrets again would look like a change of the row.
    row.secret = before.secret if before and secret == old and not is_unreadable else secret.seal(cipher)
    lost = ("secrets: removed, as they were encrypted with another key",) if is_unreadable else ()
    changes = () if before is None else (*_changes(before, row), *_secret_changes(old, secret), *lost)
    return DesiredSource(row, secret, changes)


def _check(spec: SourceSpec) -> None:
    if problem := name_problem(spec.name):
        raise InvalidInputError(f"the source's name: {problem}")
    if spec.every is not None and spec.every < MIN_INTERVAL:
        raise InvalidInputError(f"--every: expected at least {MIN_INTERVAL.seconds}s; for faster syncs use a webhook")
    if spec.branch is not None:
        check_branch(spec.branch)
    if spec.path is not None:
        check_path(spec.path)


def _stored_secret(before: Source | None, cipher: Cipher) -> tuple[Secret, bool]:
    """The stored secrets, and whether they cannot be decrypted; the remedy is to replace the source."""
    try:
        return Secret.open(cipher, before.secret if before else None), False
    except SecretKeyError:
        return Secret(), True


def _is_same_server(before: Source, address: Address) -> bool:
    """Whether the stored credentials may be sent to this address too."""
    return parse_address(before.url).server == address.server


def _changes(before: Source, row: Source) -> Iterator[str]:
    for column, name in SPEC_COLUMNS.items():
        old, new = getattr(before, column), getattr(row, column)
        if old != new:
            yield f"{name}: {_format(column, old)} -> {_format(column, new)}"


def _format(column: str, value: Any) -> str:
    if column == "every_s":
        return f"{value} s"
    if column == "prune":
        return "yes" if value else "no"
    if column == "allow":
        return ", ".join(value) or "nothing"
    return parse_address(value).shown if column == "url" else value or "repository root"


def _secret_changes(old: Secret, new: Secret) -> Iterator[str]:
    for each in fields(Secret):
        before, after = getattr(old, each.name), getattr(new, each.name)
        if before != after:
            change = "replaced" if before and after else "added" if after else "removed, as the server changed"
            yield f"{_SECRET_NAMES[each.name]}: {change}"
