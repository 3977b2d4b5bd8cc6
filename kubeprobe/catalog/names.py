"""Names that other rooms and people's dashboards rely on: labels, annotations, environment, reserved words."""

API_VERSION = "kubeprobe.io/v1"

LABEL_INSTALLATION = "kubeprobe.io/installation"
LABEL_RUN = "kubeprobe.io/run"
LABEL_CASE = "kubeprobe.io/case"
LABEL_ATTEMPT = "kubeprobe.io/attempt"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "kubeprobe"

ANNOTATION_POLICY = "kubeprobe.io/policy"
"""JSON `{"verdictFrom": "report", "startS": 60, "runS": 90, "retries": 1}`: all that judging a pod needs."""
ANNOTATION_CLUSTER = "kubeprobe.io/cluster"
ANNOTATION_TRIGGER = "kubeprobe.io/trigger"
ANNOTATION_BINDING = "kubeprobe.io/binding"
ANNOTATION_NODE = "kubeprobe.io/node"
"""The node that the pod is pinned to; a label could not hold every node's name."""

PROBE_CONTAINER = "probe"
REPORT_FILE = "/dev/termination-log"

ENV_PREFIX = "KUBEPROBE_"
"""Environment variables that begin so are set by KubeProbe; nobody else may."""
ENV_RUN_ID = "KUBEPROBE_RUN_ID"
ENV_INSTALLATION = "KUBEPROBE_INSTALLATION"
ENV_CASE = "KUBEPROBE_CASE"
ENV_CLUSTER = "KUBEPROBE_CLUSTER"
ENV_TRIGGER = "KUBEPROBE_TRIGGER"
ENV_RUN_TIMEOUT = "KUBEPROBE_RUN_TIMEOUT"
ENV_REPORT_FILE = "KUBEPROBE_REPORT_FILE"
ENV_RULES = "KUBEPROBE_RULES"
"""A case's rules as JSON; not set where it has none."""
ENV_PARAMETERS = "KUBEPROBE_PARAMETERS"
"""Names of the variables that people set (template, case, render config, by hand), with commas between them.

Only the names: a value may hold `$(OTHER)`, which the kubelet resolves, and may be too long to be told twice.
"""
ENV_POD_NAME = "KUBEPROBE_POD_NAME"
ENV_POD_UID = "KUBEPROBE_POD_UID"
ENV_NAMESPACE = "KUBEPROBE_NAMESPACE"
ENV_NODE = "KUBEPROBE_NODE"
"""The node that the pod runs on, pinned or not."""
