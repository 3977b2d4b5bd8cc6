"""The words that KubeProbe shares with its users, its probes and Kubernetes: one meaning each, everywhere.

Plain values without any library, for pure modules (judging, folding, the catalog's model) that import no tables.
"""

from dataclasses import dataclass
from enum import StrEnum

API_VERSION = "kubeprobe.io/v1"
"""Of catalog documents."""


class Verdict(StrEnum):
    """The result of a run. `unknown`: neither pass nor fail could be established; it never counts as either."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNKNOWN = "unknown"


class Trigger(StrEnum):
    """Why a run exists."""

    PERIODIC = "periodic"
    CHANGE = "change"
    MANUAL = "manual"


class RunState(StrEnum):
    """The state of a run; its order is that of the members."""

    PENDING = "pending"
    """Opened; no launcher has claimed it."""
    LAUNCHING = "launching"
    """A launcher has claimed it and is creating its pod."""
    RUNNING = "running"
    """Its pod exists."""
    DONE = "done"
    """Its outcome is committed."""


class Concurrency(StrEnum):
    """For a slot that is due while an earlier run of its schedule is still open; as CronJob's `concurrencyPolicy`."""

    FORBID = "forbid"
    ALLOW = "allow"
    REPLACE = "replace"


DEFAULT_MAX_IN_FLIGHT = 30
"""Probe pods at a time on a cluster without a limit of its own."""


class CaseKind(StrEnum):
    """A probe that does what a user does, or an inspection of a known risk."""

    BLACKBOX = "blackbox"
    INSPECTION = "inspection"


class Severity(StrEnum):
    """The severity of a fail."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertKind(StrEnum):
    """Alerts for fails and for unknowns are separate (promise 6)."""

    FAIL = "fail"
    UNKNOWN = "unknown"


class NotificationState(StrEnum):
    """The delivery state of a message to one target."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"
    """Not sent: a newer message replaced it, or the target never received the failure whose end it reports."""


class Reason(StrEnum):
    """The reason of a verdict: a closed list, grouped by where the reason is observed. No other can be stored."""

    # The probe itself
    PASSED = "Passed"
    REPORTED_FAILURE = "ReportedFailure"
    EXITED_NONZERO = "ExitedNonzero"
    """Template says `verdictFrom: exitCode`."""
    PROBE_GAVE_UP = "ProbeGaveUp"
    """The probe reports that it could not reach a verdict, e.g. for lack of a permission."""
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
    """The node that it is pinned to has left the cluster."""
    IMAGE_NOT_PULLED = "ImageNotPulled"
    CONFIG_INVALID = "ConfigInvalid"
    CONTAINER_NOT_STARTED = "ContainerNotStarted"
    INIT_FAILED = "InitFailed"
    UNSCHEDULABLE = "Unschedulable"
    START_DEADLINE = "StartDeadline"
    RUN_DEADLINE = "RunDeadline"
    POD_DELETED = "PodDeleted"

    # The API server, on creating the pod
    ADMISSION_DENIED = "AdmissionDenied"
    QUOTA_EXCEEDED = "QuotaExceeded"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    NAMESPACE_MISSING = "NamespaceMissing"
    PERMISSION_MISSING = "PermissionMissing"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    POD_REFUSED = "PodRefused"
    NAME_TAKEN = "NameTaken"
    """A pod of that name exists and is not KubeProbe's."""
    CLUSTER_THROTTLED = "ClusterThrottled"
    CLUSTER_ERROR = "ClusterError"
    CLUSTER_UNREACHABLE = "ClusterUnreachable"

    # KubeProbe
    MISSED = "Missed"
    """Slots that passed while no beat could open them."""
    STILL_RUNNING = "StillRunning"
    """Concurrency policy `forbid`: an earlier run was still open."""
    REPLACED = "Replaced"
    """Concurrency policy `replace`: a newer slot replaced it."""
    CORDONED = "Cordoned"
    NO_NODES = "NoNodes"
    """No node that it could run on is known."""
    CASE_REMOVED = "CaseRemoved"
    CLUSTER_REMOVED = "ClusterRemoved"
    CREDENTIALS_UNAVAILABLE = "CredentialsUnavailable"
    """The cluster's credentials could not be loaded: a file, an exec plugin, the secret key."""
    NOT_LAUNCHED = "NotLaunched"
    LOST = "Lost"


LABEL_INSTALLATION = "kubeprobe.io/installation"
LABEL_RUN = "kubeprobe.io/run"
LABEL_CASE = "kubeprobe.io/case"
LABEL_ATTEMPT = "kubeprobe.io/attempt"
LABEL_CHECK = "kubeprobe.io/check"
"""Of the pod by which `cluster check` tries an image."""
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "kubeprobe"
OWN_LABELS = (LABEL_INSTALLATION, LABEL_RUN, LABEL_CASE, LABEL_ATTEMPT, LABEL_MANAGED_BY)
"""These identify a pod of KubeProbe; templates may not set them, nor any other key of its domain."""
OWN_DOMAIN = "kubeprobe.io"

ANNOTATION_POLICY = "kubeprobe.io/policy"
"""JSON `{"verdictFrom": "report", "startS": 60, "runS": 90, "retries": 1}`: all that is needed to judge a pod."""
ANNOTATION_CLUSTER = "kubeprobe.io/cluster"
ANNOTATION_TRIGGER = "kubeprobe.io/trigger"
ANNOTATION_BINDING = "kubeprobe.io/binding"
ANNOTATION_NODE = "kubeprobe.io/node"
"""The node that the pod is pinned to. Not a label: names of nodes may be longer than a label's value."""

PROBE_CONTAINER = "probe"
REPORT_FILE = "/dev/termination-log"

ENV_PREFIX = "KUBEPROBE_"
"""Environment variables with this prefix are set by KubeProbe only."""
ENV_RUN_ID = "KUBEPROBE_RUN_ID"
ENV_INSTALLATION = "KUBEPROBE_INSTALLATION"
ENV_CASE = "KUBEPROBE_CASE"
ENV_CLUSTER = "KUBEPROBE_CLUSTER"
ENV_TRIGGER = "KUBEPROBE_TRIGGER"
ENV_RUN_TIMEOUT = "KUBEPROBE_RUN_TIMEOUT"
ENV_REPORT_FILE = "KUBEPROBE_REPORT_FILE"
ENV_RULES = "KUBEPROBE_RULES"
"""A case's rules as JSON; not set for a case without rules."""
ENV_PARAMETERS = "KUBEPROBE_PARAMETERS"
"""Names of the variables that people set (template, case, render config, by hand), separated by commas.

Only the names: a value may contain `$(OTHER)`, which the kubelet resolves, and may be too long to be sent twice.
"""
ENV_POD_NAME = "KUBEPROBE_POD_NAME"
ENV_POD_UID = "KUBEPROBE_POD_UID"
ENV_NAMESPACE = "KUBEPROBE_NAMESPACE"
ENV_NODE = "KUBEPROBE_NODE"
"""The node that the pod runs on, pinned or not."""

SOME_NODE = "*"
"""Stands for the nodes of a cluster as a whole where a column or JSON names a node. A node cannot have this name."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a verdict is about: a cluster, one of its nodes, or its nodes as a whole.

    The nodes as a whole are meant where a case should have run on nodes and none could be chosen.
    `str()` is what people read: `prod-1`, `prod-1/node-7`, `the nodes of prod-1`.
    """

    cluster: str
    node_key: str = ""
    """As standings, alerts and messages hold it: empty for the cluster, a node's name, or `SOME_NODE`."""

    @classmethod
    def of_nodes(cls, cluster: str) -> "Subject":
        """The nodes of a cluster as a whole."""
        return cls(cluster, SOME_NODE)

    @property
    def node(self) -> str | None:
        """The name of the node; None for a cluster and for its nodes as a whole."""
        return self.node_key if self.node_key not in {"", SOME_NODE} else None

    @property
    def is_node_level(self) -> bool:
        """Whether it is a node, or the nodes as a whole."""
        return bool(self.node_key)

    def __str__(self) -> str:
        if self.node_key == SOME_NODE:
            return f"the nodes of {self.cluster}"
        return f"{self.cluster}/{self.node_key}" if self.node_key else self.cluster
