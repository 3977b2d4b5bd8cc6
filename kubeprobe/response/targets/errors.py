"""The two errors of a target: temporary and permanent."""

from datetime import timedelta

from kubeprobe.errors import KubeProbeError


class TargetError(KubeProbeError):
    """A target did not accept a message. The text contains no address and no secret.

    `may_have_arrived`: the target did not refuse it, so it may have accepted it. `retry_after`: the pause it requested.
    """

    def __init__(self, text: str, *, may_have_arrived: bool = False, retry_after: timedelta | None = None) -> None:
        super().__init__(text)
        self.may_have_arrived = may_have_arrived
        self.retry_after = retry_after


class TemporaryTargetError(TargetError):
    """Another attempt may succeed."""


class PermanentTargetError(TargetError):
    """Another attempt fails too, until the route or the receiver is changed."""
