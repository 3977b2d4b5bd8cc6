"""The closed list of reasons that an outcome may carry. What is not on it cannot be stored."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a verdict is what it is. Grouped by who knows it first."""

    # The probe itself
    PASSED = "Passed"
    REPORTED_FAILURE = "ReportedFailure"
    EXITED_NONZERO = "ExitedNonzero"
    """Template says `verdictFrom: exitCode`."""
    PROBE_GAVE_UP = "ProbeGaveUp"
    """The probe says that it could not find out, e.g. for lack of a permission."""
    REPORT_MISSING = "ReportMissing"
    REPORT_DISAGREES = "ReportDisagrees"
    REPORT_GARBLED = "ReportGarbled"
    REPORT_TOO_LONG = "ReportTooLong"

    # Its pod
    OOM_KILLED = "OOMKilled"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"
    NODE_GONE = "NodeGone"
    """The node that it was to run on has left the cluster."""
    IMAGE_NOT_PULLED = "ImageNotPulled"
    CONFIG_INVALID = "ConfigInvalid"
    CONTAINER_NOT_STARTED = "ContainerNotStarted"
    INIT_FAILED = "InitFailed"
    UNSCHEDULABLE = "Unschedulable"
    START_DEADLINE = "StartDeadline"
    RUN_DEADLINE = "RunDeadline"
    POD_DELETED = "PodDeleted"

    # The cluster, when asked to create the pod
    ADMISSION_DENIED = "AdmissionDenied"
    QUOTA_EXCEEDED = "QuotaExceeded"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    NAMESPACE_MISSING = "NamespaceMissing"
    PERMISSION_MISSING = "PermissionMissing"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    POD_REFUSED = "PodRefused"
    NAME_TAKEN = "NameTaken"
    """A pod of that name exists and is not ours."""
    CLUSTER_THROTTLED = "ClusterThrottled"
    CLUSTER_ERROR = "ClusterError"
    CLUSTER_UNREACHABLE = "ClusterUnreachable"

    # KubeProbe
    MISSED = "Missed"
    """Slots that passed while nobody could open them."""
    STILL_RUNNING = "StillRunning"
    """Concurrency policy `forbid`: the run before it had not ended."""
    REPLACED = "Replaced"
    """Concurrency policy `replace`: a newer slot took its place."""
    CORDONED = "Cordoned"
    NO_NODES = "NoNodes"
    """No node that it could run on is known."""
    CASE_REMOVED = "CaseRemoved"
    CLUSTER_REMOVED = "ClusterRemoved"
    NOT_LAUNCHED = "NotLaunched"
    LOST = "Lost"
