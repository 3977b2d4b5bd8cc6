"""SelfSubjectAccessReview and SelfSubjectRulesReview: everything is allowed, there is no authorization here."""

from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.resources import RULES_REVIEWS, Resource


def answer(resource: Resource, body: Object) -> Object:
    """The review with its status."""
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    status: Object = {"allowed": True, "reason": "the local cluster does not limit access"}
    if resource is RULES_REVIEWS:
        paths = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
        status = {"resourceRules": [everything], "nonResourceRules": paths, "incomplete": False}
    return {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {},
        "spec": body.get("spec") or {},
        "status": status,
    }
