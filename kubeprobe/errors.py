"""The base classes of KubeProbe's own errors; each package derives its own from them."""

from collections.abc import Iterator
from contextlib import contextmanager

from kubeprobe.masking import mask_secrets


class KubeProbeError(Exception):
    """Base of all errors that KubeProbe raises itself. The message says what is wrong, where, and what to do next.

    Its text has no credentials, whatever it was made of.
    """

    def __str__(self) -> str:
        """The message, credentials masked."""
        return mask_secrets(super().__str__())


class NotFoundError(KubeProbeError):
    """The store has no row of this name. The message suggests the nearest name that exists."""


class InvalidInputError(KubeProbeError):
    """Input that fails validation; nothing was changed."""


class MissingExtraError(KubeProbeError):
    """A command needs packages that a plain installation does not have."""


@contextmanager
def extra(name: str, command: str) -> Iterator[None]:
    """Import packages of the extra `name`; if they are missing, say that `command` needs them and how to get them.

    Raises MissingExtraError instead of ModuleNotFoundError, except for KubeProbe's own modules.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("kubeprobe"):
            raise
        needed = f"`{command}` needs {error.name}, which is not installed."
        raise MissingExtraError(f"{needed} Install it with: pip install 'kubeprobe[{name}]'") from error
