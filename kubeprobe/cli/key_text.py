"""What the commands of the secret key print."""

from kubeprobe.app import Rotation
from kubeprobe.cli.frame import echo


def print_rotation(rotation: Rotation) -> None:
    """After `key rotate`."""
    sealed = rotation.sealed
    echo(f"{_credentials(sealed.renewed)} encrypted with the first key of {rotation.where}.")
    if sealed.current:
        echo(f"{_credentials(sealed.current)} already encrypted with it.")
    _print_unreadable(rotation)
    echo("The old keys still decrypt. Remove them in some minutes: kubeprobe key retire")


def print_retirement(rotation: Rotation) -> None:
    """After `key retire`."""
    if rotation.keys > 1:
        echo(f"Nothing needs the old keys any more: set {rotation.where} to its first key only.")
    else:
        echo(f"One key is left in {rotation.where}.")


def _print_unreadable(rotation: Rotation) -> None:
    for name in rotation.sealed.unreadable:
        echo(f"No key decrypts the credentials of {name}: add them again with --replace.", error=True)


def _credentials(count: int) -> str:
    return "1 credential is" if count == 1 else f"{count:,} credentials are"
