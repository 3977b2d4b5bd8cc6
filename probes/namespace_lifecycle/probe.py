"""Creates a namespace as a user would, waits for its default objects, deletes it, and waits until it is deleted.

Parameters: READY_TIMEOUT, DELETE_TIMEOUT (README.md).
"""

import time
from dataclasses import dataclass
from typing import Any

from kubeprobe_client import CheckFailed, Run, main, measure, run, step

from probes._api import Api, ApiError, connect, give_up_if_forbidden
from probes._objects import Cleanup, fresh_name, metadata
from probes._parameters import number
from probes._watching import ObjectWatch
from probes.namespace_lifecycle.stuck import why_stuck

Json = dict[str, Any]

NAMESPACES = "/api/v1/namespaces"
PAUSE = 0.25
"""Seconds between two checks whether an object exists: a watch would need another permission in all namespaces."""


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds."""

    ready_timeout: float
    delete_timeout: float

    @classmethod
    def from_environment(cls) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        return cls(ready_timeout=number("READY_TIMEOUT", 15), delete_timeout=number("DELETE_TIMEOUT", 45))


class NamespaceLifecycle:
    """The lifecycle of one namespace. Raises CheckFailed with the observed state."""

    def __init__(self, api: Api, cleanup: Cleanup, settings: Settings, this_run: Run) -> None:
        self.api = api
        self.cleanup = cleanup
        self.settings = settings
        self.run = this_run
        self.name = fresh_name("namespace-lifecycle")
        self.path = f"{NAMESPACES}/{self.name}"
        self.watch = ObjectWatch(api, self.path, {})

    def run_steps(self) -> None:
        """Run all steps in order."""
        with step("create"):
            self.create()
        with step("service account"):
            # https://kubernetes.io/docs/concepts/security/service-accounts/#default-service-accounts
            self.wait_for("serviceaccounts", "default", "serviceaccount-controller")
        with step("root CA"):
            self.wait_for("configmaps", "kube-root-ca.crt", "root-ca-certificate-publisher-controller")
        with step("delete"):
            self.delete()
        with step("gone"):
            self.wait_gone()

    def create(self) -> None:
        """Create the namespace."""
        labels = {
            "app.kubernetes.io/name": "kubeprobe-namespace-lifecycle",
            "pod-security.kubernetes.io/enforce": "restricted",
        }
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(self.run, self.name, **labels)}
        self.watch.object = self.cleanup.create(NAMESPACES, body)

    def wait_for(self, resource: str, name: str, controller: str) -> None:
        """Wait for an object that a controller creates in every namespace, and that pods need."""
        seconds = self._at_most(self.settings.ready_timeout)
        began = time.monotonic()
        while not self._exists(f"{self.path}/{resource}/{name}"):
            if time.monotonic() - began > seconds:
                raise CheckFailed(
                    f"{resource}/{name} does not exist in the new namespace {self.name} after {seconds:g} s: "
                    f"kube-controller-manager's {controller} has not created it, so no pod can start there"
                )
            time.sleep(PAUSE)
        measure(f"{resource}_after_ms", round((time.monotonic() - began) * 1000, 1))

    def delete(self) -> None:
        """Delete the namespace by its UID."""
        self.api.delete(self.path, preconditions={"uid": self.watch.object["metadata"]["uid"]})

    def wait_gone(self) -> None:
        """Wait until it is deleted with its content."""
        began = time.monotonic()
        seconds = self._at_most(self.settings.delete_timeout)
        if self.watch.until(lambda _namespace: False, seconds):
            self.cleanup.forget(self.path)
            measure("gone_after_ms", round((time.monotonic() - began) * 1000, 1))
            return
        problem = [self.watch.problem] if self.watch.problem else []
        first, *more = why_stuck(self.api, self.watch.object)
        raise CheckFailed(
            f"namespace {self.name} still exists {seconds:g} s after its deletion: {first}", *more, *problem
        )

    def _exists(self, path: str) -> bool:
        try:
            self.api.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _at_most(self, seconds: float) -> float:
        """The given seconds, or less if the run has less time left."""
        return min(seconds, round(max(self.run.remaining() - 2, 0), 1))


@main
def probe() -> None:
    """Run the lifecycle of the namespace, and clean up in any case."""
    with connect() as api, Cleanup(api) as cleanup:
        try:
            NamespaceLifecycle(api, cleanup, Settings.from_environment(), run()).run_steps()
        except ApiError as error:
            give_up_if_forbidden(error)
            raise
