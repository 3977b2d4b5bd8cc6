"""The two errors of a target: temporary and permanent."""

from kubeprobe.errors import KubeProbeError


class TargetError(KubeProbeError):
    """A target did not accept a message. The text contains no address and no secret."""


class TemporaryTargetError(TargetError):
    """Another attempt may succeed."""


class PermanentTargetError(TargetError):
    """Another attempt fails too, until the route or the receiver is changed."""
