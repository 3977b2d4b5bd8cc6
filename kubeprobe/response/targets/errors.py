"""How a target can fail, as two types: try again, or somebody must act."""

from kubeprobe.errors import KubeProbeError


class TargetError(KubeProbeError):
    """A target did not take a message. The text holds no address and no secret."""


class TemporaryTargetError(TargetError):
    """The same message may get through later."""


class PermanentTargetError(TargetError):
    """The same message will be refused again until somebody changes the route or the receiver."""
