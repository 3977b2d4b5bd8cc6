"""Does what every client of the API does, with one ConfigMap: create, get, list, watch, update, delete.

Each verb is a timed step and a measurement. Parameters: TARGET_NAMESPACE, MAX_LATENCY_MS, REQUEST_TIMEOUT,
WATCH_TIMEOUT, DELETE_TIMEOUT (README.md).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kubeprobe_client import CheckFailed, Run, main, measure, run, step

from probes._api import REQUEST_TIMEOUT, Api, ApiError, connect, give_up_if_forbidden
from probes._objects import Cleanup, fresh_name, metadata
from probes._parameters import number, text
from probes.api_crud.events import EventRecorder, out_of_order
from probes.api_crud.readiness import why_not_ready

Json = dict[str, Any]

UPDATE_TRIES = 5
"""Attempts of an update, as another client (a policy, a backup tool) may change the object meanwhile."""


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds unless the name says otherwise."""

    namespace: str
    max_latency_ms: float
    """0: no limit."""
    watch_timeout: float
    delete_timeout: float

    @classmethod
    def from_environment(cls, own_namespace: str) -> "Settings":
        """The parameters; a missing one has its default, an invalid one ends the run as unknown."""
        return cls(
            namespace=text("TARGET_NAMESPACE", own_namespace),
            max_latency_ms=number("MAX_LATENCY_MS", 5000),
            watch_timeout=number("WATCH_TIMEOUT", 10),
            delete_timeout=number("DELETE_TIMEOUT", 10),
        )


class ApiCrud:
    """The lifecycle of one ConfigMap. Raises CheckFailed with the observed state."""

    def __init__(self, api: Api, cleanup: Cleanup, settings: Settings, this_run: Run) -> None:
        self.api = api
        self.cleanup = cleanup
        self.settings = settings
        self.run = this_run
        self.name = fresh_name("api-crud")
        self.collection = f"/api/v1/namespaces/{settings.namespace}/configmaps"
        self.path = f"{self.collection}/{self.name}"
        self.known: Json = {}
        self.stale: Json = {}
        self.written_at: dict[str, float] = {}
        self.slow: list[str] = []

    @contextmanager
    def verb(self, name: str) -> Iterator[None]:
        """A step whose latency is measured and compared with the limit."""
        with step(name):
            started = time.perf_counter()
            yield
            ms = (time.perf_counter() - started) * 1000
        measure(f"{name.replace(' ', '_')}_ms", round(ms, 1))
        if 0 < self.settings.max_latency_ms < ms:
            limit = self.settings.max_latency_ms
            self.slow.append(f"{name} took {ms:.0f} ms, more than {limit:.0f} (MAX_LATENCY_MS)")

    def run_steps(self) -> None:
        """Run all steps; slow verbs are reported at the end, when all latencies are known."""
        recorder = self.start_watch()
        for name, action in {
            "create": self.create,
            "get": self.get,
            "list": self.list,
            "update": self.update,
        }.items():
            with self.verb(name):
                action()
        with step("conflict"):
            self.update_stale()
        with self.verb("delete"):
            self.delete()
        with step("gone"):
            self.wait_gone()
        with step("watch"):
            self.check_events(recorder)
        if self.slow:
            raise CheckFailed(*self.slow)

    def start_watch(self) -> EventRecorder:
        """Start the watch before the object exists, so that no event is missed."""
        with self.verb("open watch"):
            version = self.api.get(self.collection, limit="1")["metadata"]["resourceVersion"]
            recorder = EventRecorder(self.api.access, self.path, version, min(self.run.remaining(), 3600))
            recorder.start()
        return recorder

    def create(self) -> None:
        """Create the ConfigMap."""
        labels = {"app.kubernetes.io/name": "kubeprobe-api-crud"}
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(self.run, self.name, self.settings.namespace, **labels),
            "data": {"value": "created"},
        }
        self.known = self.cleanup.create(self.collection, body)
        self.written_at["ADDED"] = time.monotonic()

    def get(self) -> None:
        """Read the object, and check its content."""
        self._expect(self.api.get(self.path), "created")

    def list(self) -> None:
        """Find the object in a list."""
        found = self.api.get(self.collection, fieldSelector=f"metadata.name={self.name}")["items"]
        if [one["metadata"]["uid"] for one in found] != [self.known["metadata"]["uid"]]:
            raise CheckFailed(
                f"the list of configmaps in {self.settings.namespace} does not contain {self.name}, "
                "which was just created"
            )

    def update(self) -> None:
        """Replace the object, and check the content in the response."""
        self.stale = self.known
        for last in [False] * (UPDATE_TRIES - 1) + [True]:
            try:
                self.known = self.api.replace(self.path, {**self.known, "data": {"value": "updated"}})
                break
            except ApiError as error:
                if error.status != 409 or last:
                    raise
                self.known = self.api.get(self.path)
        self.written_at["MODIFIED"] = time.monotonic()
        self._expect(self.known, "updated")

    def update_stale(self) -> None:
        """An update based on an old version must be refused, or concurrent writers overwrite each other's changes."""
        old = self.stale["metadata"]["resourceVersion"]
        try:
            self.api.replace(self.path, {**self.stale, "data": {"value": "stale"}})
        except ApiError as error:
            if error.status == 409:
                return
            raise
        raise CheckFailed(
            f"an update with the outdated resourceVersion {old} was accepted: expected 409 Conflict; "
            "concurrent writers can overwrite each other's changes"
        )

    def delete(self) -> None:
        """Delete the object by its UID."""
        self.api.delete(self.path, preconditions={"uid": self.known["metadata"]["uid"]})
        self.written_at["DELETED"] = time.monotonic()

    def wait_gone(self) -> None:
        """Check that it is deleted: at once, unless a finalizer holds it."""
        deadline = time.monotonic() + self.settings.delete_timeout
        while True:
            try:
                held = ", ".join(self.api.get(self.path)["metadata"].get("finalizers") or []) or "none"
            except ApiError as error:
                if error.status != 404:
                    raise
                self.cleanup.forget(self.path)
                return
            if time.monotonic() > deadline:
                raise CheckFailed(
                    f"configmap {self.settings.namespace}/{self.name} still exists {self.settings.delete_timeout:g} s "
                    f"after its deletion; finalizers: {held}"
                )
            time.sleep(0.2)

    def check_events(self, recorder: EventRecorder) -> None:
        """Check that the watch delivered all events in order and in time."""
        lag = 0.0
        for kind, data in (("ADDED", None), ("MODIFIED", {"value": "updated"}), ("DELETED", None)):
            event = recorder.wait_for(kind, data, self.settings.watch_timeout)
            if recorder.permission_error is not None:
                raise recorder.permission_error
            if event is None:
                last_error = [recorder.last_error] if recorder.last_error else []
                raise CheckFailed(
                    f"the watch did not deliver {kind} within {self.settings.watch_timeout:g} s; "
                    f"received events: {recorder.received_types()}",
                    *last_error,
                )
            lag = max(lag, event.received_at - self.written_at[kind])
        measure("watch_lag_ms", round(lag * 1000, 1))
        if wrong := out_of_order(recorder.events, ["created", "updated"]):
            raise CheckFailed(wrong)

    def _expect(self, found: Json, value: str) -> None:
        actual = (found.get("data") or {}).get("value")
        if actual != value:
            raise CheckFailed(f"configmap {self.name}: read value={actual!r} right after {value!r} was written")


@main
def probe() -> None:
    """Run the lifecycle of the ConfigMap; a failure is reported with the API server's own failed checks."""
    this_run = run()
    with connect(max(number("REQUEST_TIMEOUT", REQUEST_TIMEOUT), 0.1)) as api, Cleanup(api) as cleanup:
        settings = Settings.from_environment(this_run.namespace or api.access.namespace)
        try:
            ApiCrud(api, cleanup, settings, this_run).run_steps()
        except ApiError as error:
            give_up_if_forbidden(error)
            if not_ready := why_not_ready(api, error):
                raise CheckFailed(not_ready) from error
            raise
