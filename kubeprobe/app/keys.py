"""Rotate the secret key while everything runs: a new key first, later without the old ones."""

from dataclasses import dataclass

from kubeprobe.app.installation import Installation
from kubeprobe.app.permission import Permission
from kubeprobe.app.usecase import use_case
from kubeprobe.errors import InvalidInputError, KubeProbeError
from kubeprobe.fleet.sealed import Sealed, renew_sealed


class OldKeyInUseError(KubeProbeError):
    """Something can be decrypted with an older key only; no key was removed."""


@dataclass(frozen=True)
class Rotation:
    """What `rotate_key` did."""

    where: str
    """The file or the setting that holds the keys."""
    keys: int
    sealed: Sealed


@use_case(Permission.CLUSTERS)
def rotate_key(installation: Installation) -> Rotation:
    """Put a new key before the others, and encrypt every stored credential with it.

    The old keys go on decrypting: another process may be about to store what it encrypted with one. Where this process
    may not write the keys, the operator has put the new one there; raises InvalidInputError if there is only one.
    """
    keys = installation.cipher.keys
    if not keys.add() and len(keys.read()) < 2:
        raise InvalidInputError(f"{keys.where} has one key. {keys.how_to_add} Nothing was changed.")
    sealed = renew_sealed(installation.store, keys.read)
    return Rotation(keys.where, len(keys.read()), sealed)


@use_case(Permission.CLUSTERS)
def retire_keys(installation: Installation) -> Rotation:
    """Remove all keys but the first. Raises OldKeyInUseError if a credential cannot be decrypted at all.

    A key that a rotation adds meanwhile stays, too.
    """
    keys = installation.cipher.keys
    before = keys.read()
    sealed = renew_sealed(installation.store, keys.read)
    if sealed.unreadable:
        raise OldKeyInUseError(
            f"No key decrypts the credentials of {', '.join(sealed.unreadable[:5])}: add their key to {keys.where}, "
            "or add them again with --replace. No key was removed."
        )
    keys.retire(before.first)
    # What another process had encrypted before, and stored since, is decrypted with the keys that are in memory here.
    renew_sealed(installation.store, lambda: keys.read().with_older(before))
    return Rotation(keys.where, len(keys.read()), sealed)
