from typing import Any

from probes.namespace_lifecycle.stuck import conditions, held, remaining, unavailable, why_not_processed


def namespace(*entries: tuple[str, str, str], **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "team-a", **metadata},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"conditions": [{"type": kind, "status": is_so, "message": text} for kind, is_so, text in entries]},
    }


def test_bad_conditions_are_reported_causes_first_and_good_ones_left_out() -> None:
    found = conditions(
        namespace(
            ("NamespaceFinalizersRemaining", "True", "example.com/hold in 1 resource instances"),
            ("NamespaceDeletionContentFailure", "False", "All content successfully deleted"),
            ("NamespaceContentRemaining", "True", "configmaps. has 1 resource instances"),
            ("SomethingElse", "True", "irrelevant"),
        )
    )
    assert list(found) == ["NamespaceContentRemaining", "NamespaceFinalizersRemaining"]


def test_remaining_kinds_are_parsed_with_their_group() -> None:
    message = (
        "Some resources are remaining: configmaps. has 1 resource instances, x-ys.example.com has 2 resource instances"
    )
    assert remaining(message) == [("configmaps", ""), ("x-ys", "example.com")]


def test_only_objects_held_by_finalizers_are_named() -> None:
    objects = [{"metadata": {"name": "unheld"}}, {"metadata": {"name": "held", "finalizers": ["a.com/x", "b.com/y"]}}]
    assert held("configmaps", "", objects) == ["configmaps held is held by the finalizer a.com/x, b.com/y"]
    assert held("foos", "example.com", objects)[0].startswith("foos.example.com held ")


def test_unavailable_api_services_are_named() -> None:
    def service(name: str, status: str) -> dict[str, Any]:
        condition = {"type": "Available", "status": status, "reason": "ServiceNotFound", "message": "no such service"}
        return {"metadata": {"name": name}, "status": {"conditions": [condition]}}

    services = [service("v1.good.example.com", "True"), service("v1.bad.example.com", "False"), {"metadata": {}}]
    assert unavailable(services) == ["APIService v1.bad.example.com is not available: ServiceNotFound: no such service"]


def test_without_conditions_the_controller_has_not_processed_it() -> None:
    assert why_not_processed(namespace()) == (
        "the namespace controller (kube-controller-manager) has set no condition; finalizers in its spec: kubernetes"
    )


def test_a_finalizer_of_the_namespace_itself_is_named() -> None:
    assert why_not_processed(namespace(finalizers=["example.com/tenant"])) == (
        "it is held by its own finalizers: example.com/tenant"
    )
