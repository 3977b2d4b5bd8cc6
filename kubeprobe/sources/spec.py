"""What a person says of a source, and what becomes of it with what is stored of one that is replaced."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.credentials import Cipher, SecretKeyError
from kubeprobe.fleet.labels import name_problem
from kubeprobe.sources.address import Address, check_branch, check_path, parse_address
from kubeprobe.sources.secret import Secret, check_secret
from kubeprobe.store import Source

SHORTEST = timedelta(seconds=10)
SAID = {"url": "address", "branch": "branch", "path": "path", "every_s": "looked at every", "prune": "prune"}
"""What a person says of a source, by its columns; beside its secrets."""
_SECRETS = {"deploy_key": "deploy key", "token": "token", "known_hosts": "known hosts", "webhook": "webhook's secret"}


@dataclass(frozen=True)
class SourceSpec:
    """What a person says of a source. What is None, or a secret that is empty, stays as stored, else as by default."""

    name: str
    address: Address
    branch: str | None = None
    path: str | None = None
    every: timedelta | None = None
    prune: bool | None = None
    secret: Secret = field(default_factory=Secret)


@dataclass(frozen=True)
class Wanted:
    """A source as it is to be."""

    row: Source
    secret: Secret
    changes: tuple[str, ...] = ()
    """In words, of one that is replaced; of its secrets, which ones."""


def wanted(spec: SourceSpec, before: Source | None, cipher: Cipher, now: datetime) -> Wanted:
    """What is said, over what is stored of the source (`before`). Raises InvalidInputError for what cannot be."""
    _check(spec)
    old, is_lost = _stored(before, cipher)
    secret = spec.secret.over(old if before and _is_same_server(before, spec.address) else Secret(webhook=old.webhook))
    check_secret(spec.address, secret)
    row = Source(name=spec.name, url=spec.address.url, branch="main", every_s=60, next_sync=now, created_at=now)
    if before is not None:
        row.branch, row.path, row.every_s, row.prune = before.branch, before.path, before.every_s, before.prune
        row.paused_at = before.paused_at
    row.branch = row.branch if spec.branch is None else spec.branch
    row.path = row.path if spec.path is None else check_path(spec.path)
    row.every_s = row.every_s if spec.every is None else int(spec.every.total_seconds())
    row.prune = row.prune if spec.prune is None else spec.prune
    row.next_sync = now + timedelta(seconds=row.every_s)
    # A new seal of the same would look like a change to who compares rows.
    row.secret = before.secret if before and secret == old and not is_lost else secret.seal(cipher)
    lost = ("secrets: what was stored was encrypted with another key, and is gone",) if is_lost else ()
    changes = () if before is None else (*_changes(before, row), *_secret_changes(old, secret), *lost)
    return Wanted(row, secret, changes)


def _check(spec: SourceSpec) -> None:
    if problem := name_problem(spec.name):
        raise InvalidInputError(f"the source's name: {problem}")
    if spec.every is not None and spec.every < SHORTEST:
        raise InvalidInputError(f"--every: at least {SHORTEST.seconds}s; a webhook is faster")
    if spec.branch is not None:
        check_branch(spec.branch)
    if spec.path is not None:
        check_path(spec.path)


def _stored(before: Source | None, cipher: Cipher) -> tuple[Secret, bool]:
    """The stored secrets, and whether they are lost: to replace the source is what is advised then."""
    try:
        return Secret.open(cipher, before.secret if before else None), False
    except SecretKeyError:
        return Secret(), True


def _is_same_server(before: Source, address: Address) -> bool:
    """Whether what opened the stored address may be shown to this one, too."""
    return parse_address(before.url).server == address.server


def _changes(before: Source, row: Source) -> Iterator[str]:
    for column, said in SAID.items():
        old, new = getattr(before, column), getattr(row, column)
        if old != new:
            yield f"{said}: {_shown(column, old)} -> {_shown(column, new)}"


def _shown(column: str, value: Any) -> str:
    if column == "every_s":
        return f"{value} s"
    if column == "prune":
        return "yes" if value else "no"
    return parse_address(value).shown if column == "url" else value or "all of it"


def _secret_changes(old: Secret, new: Secret) -> Iterator[str]:
    for each in fields(Secret):
        before, after = getattr(old, each.name), getattr(new, each.name)
        if before != after:
            told = "another one" if before and after else "given" if after else "forgotten, for it was another server's"
            yield f"{_SECRETS[each.name]}: {told}"
