"""The root of KubeProbe's own errors. Beneath everything; each package derives its own from it."""

from collections.abc import Iterator
from contextlib import contextmanager


class KubeProbeError(Exception):
    """Something went wrong that KubeProbe can name. The message says what, where, and what to do next."""


class NotFoundError(KubeProbeError):
    """A name that the store does not hold. The message offers the nearest one that it does."""


class InvalidInputError(KubeProbeError):
    """Input that is refused at the door; nothing was changed."""


class MissingExtraError(KubeProbeError):
    """A command needs packages that a plain installation does not have."""


@contextmanager
def extra(name: str, command: str) -> Iterator[None]:
    """Import what only the extra `name` installs; without it, say which `command` needs it and how to get it.

    Raises MissingExtraError in place of ModuleNotFoundError, unless it is KubeProbe's own module that is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("kubeprobe"):
            raise
        needed = f"`{command}` needs {error.name}, which is not installed."
        raise MissingExtraError(f"{needed} Install it with: pip install 'kubeprobe[{name}]'") from error
