"""The root of KubeProbe's own errors. Beneath everything; each room derives its own from it."""


class KubeProbeError(Exception):
    """Something went wrong that KubeProbe can name. The message says what, where, and what to do next."""


class NotFoundError(KubeProbeError):
    """A name that the store does not hold. The message offers the nearest one that it does."""


class InvalidInputError(KubeProbeError):
    """Input that is refused at the door; nothing was changed."""
