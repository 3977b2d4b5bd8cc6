"""What can go wrong with a cluster, as a closed list: temporary (try again later) or permanent (somebody must act).

Everything above the door (`fleet.api`) meets these types only; `fleet.translation` makes them.
"""

from enum import StrEnum

from kubeprobe.errors import KubeProbeError


class Cause(StrEnum):
    """Why a cluster did not do what it was asked. Closed: a new cause is a new line here."""

    CLUSTER_UNREACHABLE = "ClusterUnreachable"
    """No answer from its API: connection, TLS, DNS, time-out, no credentials to be had."""
    UNAUTHORIZED = "Unauthorized"
    """401, also with freshly loaded credentials."""
    FORBIDDEN = "Forbidden"
    """403 by RBAC."""
    ADMISSION_DENIED = "AdmissionDenied"
    """A webhook, a policy, Pod Security or a limit range refused the object."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    """Permanent for a run: a namespace being deleted comes back only when somebody makes it anew."""
    NAMESPACE_MISSING = "NamespaceMissing"
    INVALID = "Invalid"
    """400 or 422: the object itself is wrong."""
    ALREADY_EXISTS = "AlreadyExists"
    CONFLICT = "Conflict"
    NOT_FOUND = "NotFound"
    GONE = "Gone"
    """410: the resource version is too old; list again."""
    THROTTLED = "Throttled"
    """429; `retry_after_s` says how long to wait, where the cluster told."""
    SERVER_ERROR = "ServerError"
    """5xx, also when a webhook could not be called."""


_TEMPORARY = frozenset(
    {
        Cause.CLUSTER_UNREACHABLE,
        Cause.QUOTA_EXCEEDED,
        Cause.CONFLICT,
        Cause.GONE,
        Cause.THROTTLED,
        Cause.SERVER_ERROR,
    }
)


class ClusterError(KubeProbeError):
    """A cluster did not do what it was asked.

    `message` is the explanation alone, `where` the request and the cluster; `str()` is both. `status` is the
    HTTP status, None if there was no answer.
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
    """The same request will fail again until somebody changes the request, the cluster or the credentials."""


def cluster_error(
    cause: Cause, message: str, *, where: str = "", status: int | None = None, retry_after_s: float | None = None
) -> ClusterError:
    """The error of a cause, of the type that the cause has."""
    kind = TemporaryError if cause in _TEMPORARY else PermanentError
    return kind(cause, message, where=where, status=status, retry_after_s=retry_after_s)
