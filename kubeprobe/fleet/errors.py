"""Errors of a cluster, as a closed list: temporary (try again later) or permanent (a person must act).

`fleet.api` raises these types only; `fleet.translation` makes them.
"""

from enum import StrEnum

from kubeprobe.errors import KubeProbeError


class Cause(StrEnum):
    """Why a request to a cluster failed. A closed list."""

    CLUSTER_UNREACHABLE = "ClusterUnreachable"
    """No response from its API: connection, TLS, DNS, time-out."""
    CREDENTIALS_UNAVAILABLE = "CredentialsUnavailable"
    """No request was sent: KubeProbe could not load the credentials (files, exec plugin, secret key)."""
    NOT_SENT = "NotSent"
    """No request was sent: KubeProbe had no descriptor, thread or slot for it, or the stored address is invalid."""
    UNAUTHORIZED = "Unauthorized"
    """401, also with newly loaded credentials."""
    FORBIDDEN = "Forbidden"
    """403 by RBAC."""
    ADMISSION_DENIED = "AdmissionDenied"
    """A webhook, a policy, Pod Security or a limit range rejected the object."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    """Permanent for a run: the namespace must be created again."""
    NAMESPACE_MISSING = "NamespaceMissing"
    INVALID = "Invalid"
    """400 or 422: the object is invalid."""
    ALREADY_EXISTS = "AlreadyExists"
    CONFLICT = "Conflict"
    NOT_FOUND = "NotFound"
    GONE = "Gone"
    """410: the resource version is too old; list again."""
    THROTTLED = "Throttled"
    """429; `retry_after_s` is how long to wait, if the cluster sent it: 0 to 300 (`fleet.translation`)."""
    SERVER_ERROR = "ServerError"
    """5xx, also when a webhook could not be called."""


UNANSWERED = frozenset({Cause.CREDENTIALS_UNAVAILABLE, Cause.NOT_SENT, Cause.CLUSTER_UNREACHABLE})
"""Causes for which the next request would fail in the same manner: a batch of requests ends."""
_TEMPORARY = frozenset(
    {
        Cause.CLUSTER_UNREACHABLE,
        Cause.CREDENTIALS_UNAVAILABLE,
        Cause.NOT_SENT,
        Cause.QUOTA_EXCEEDED,
        Cause.CONFLICT,
        Cause.GONE,
        Cause.THROTTLED,
        Cause.SERVER_ERROR,
    }
)


class LocalResourceError(OSError):
    """The process, or its machine, has no thread, file descriptor or port left for a request."""


class QueueTimeoutError(LocalResourceError, TimeoutError):
    """Other calls took all threads until the time limit: this one has not begun."""


class ClusterError(KubeProbeError):
    """A request to a cluster failed.

    `message` is the explanation alone, `where` the request and the cluster; `str()` is both. `status` is the
    HTTP status, None if there was no response.
    """

    def __init__(
        self,
        cause: Cause,
        message: str,
        *,
        where: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.cause = cause
        self.message = message
        self.where = where
        self.status = status
        self.retry_after_s = retry_after_s


class TemporaryError(ClusterError):
    """The same request may succeed later."""


class PermanentError(ClusterError):
    """The same request will fail again until the request, the cluster or the credentials change."""


def cluster_error(
    cause: Cause, message: str, *, where: str = "", status: int | None = None, retry_after_s: float | None = None
) -> ClusterError:
    """The error of a cause: a TemporaryError or a PermanentError."""
    kind = TemporaryError if cause in _TEMPORARY else PermanentError
    return kind(cause, message, where=where, status=status, retry_after_s=retry_after_s)
