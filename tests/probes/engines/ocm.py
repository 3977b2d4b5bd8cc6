"""Open Cluster Management for the tests: a hub, its members, and OCM's own work agent for each, for fault injection.

Members are not registered: an agent gets the kubeconfigs that registration would create.
"""

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from probes._api import Api, ApiError
from testbed import binaries, cgroups
from testbed.extra import ControlPlane
from tests.harness.wait import until
from tests.probes.engines.apis import Json, api_of, run_idempotently
from tests.probes.paths import NAMESPACE

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_NAMESPACES = "/api/v1/namespaces"
_GROUP = "work.open-cluster-management.io/v1"
_FIRST_PORT = 19443
"""The port of the first agent's health check."""


class Federation:
    """A hub and its members, and an agent for each. A member's objects are in NAMESPACE."""

    def __init__(self, hub: Api, hub_kubeconfig: Path, members: Mapping[str, ControlPlane], folder: Path) -> None:
        self._hub = hub
        self._hub_kubeconfig = hub_kubeconfig
        self._members = members
        self._folder = folder
        self._agents: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self) -> None:
        """Start everything, and wait until objects propagate. Definitions and namespaces stay at the end."""
        self._folder.mkdir(exist_ok=True)
        _define(self._hub, "manifestworks")
        for member, plane in self._members.items():
            _create_namespace(self._hub, member)
            with api_of(plane.kubeconfig) as api:
                _define(api, "appliedmanifestworks")
                _create_namespace(api, NAMESPACE)
            self._launch(member)
        for member in self._members:
            self._wait_until_propagating(member)

    def end(self) -> None:
        """Delete all remaining objects, then stop the agents."""
        try:
            for member in self._members:
                self._delete_works(member)
        finally:
            for member in self._members:
                self.kill(member)

    def start(self, member: str) -> None:
        """Start a member's agent, and wait until it propagates."""
        self._launch(member)
        self._wait_until_propagating(member)

    def kill(self, member: str) -> None:
        """Kill a member's agent."""
        agent = self._agents.pop(member, None)
        if agent is not None:
            agent.kill()
            agent.wait(10)

    def pause(self) -> None:
        """Suspend all agents: they keep their connections and do nothing."""
        for agent in self._agents.values():
            agent.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume all agents."""
        for agent in self._agents.values():
            agent.send_signal(signal.SIGCONT)

    def _launch(self, member: str) -> None:
        with (self._folder / f"{member}.log").open("ab") as log:
            # It stores the certificate of its health endpoint in the temporary folder.
            env = {**os.environ, "TMPDIR": str(self._folder)}
            self._agents[member] = subprocess.Popen(
                cgroups.within(self._members[member].instance, self._command(member)), env=env, stdout=log, stderr=log
            )

    def _command(self, member: str) -> list[str]:
        return [
            *(str(binaries.OCM.folder() / "work"), "agent"),
            f"--spoke-cluster-name={member}",
            f"--agent-id={member}",
            f"--workload-source-config={self._hub_kubeconfig}",
            f"--kubeconfig={self._loopback_kubeconfig(member)}",
            f"--listen=127.0.0.1:{_FIRST_PORT + list(self._members).index(member)}",
            # Otherwise, objects that a resumed member receives after their work was deleted stay for an hour.
            "--appliedmanifestwork-eviction-grace-period=30s",
            "--namespace=default",
            "--disable-leader-election",
        ]

    def _loopback_kubeconfig(self, member: str) -> Path:
        """The agent's own kubeconfig, so that its link can be cut while the probe still reaches the member."""
        plane = self._members[member]
        config = json.loads(plane.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{plane.instance.port('kube-apiserver')}"
        own = self._folder / f"{member}.kubeconfig"
        own.write_text(json.dumps(config))
        return own

    def _wait_until_propagating(self, member: str) -> None:
        """Wait until a work is applied in a member, and deleted again."""
        work = f"trial-{secrets.token_hex(4)}"
        self._hub.create(_works_of(member), _trial(work))
        log = self._folder / f"{member}.log"

        def log_tail() -> str:
            return log.read_text()[-1500:]

        until(f"{member} has applied the work", lambda: self._is_applied(member, work), 60, 0.2, log_tail)
        self._hub.delete(_path(member, work))
        until(f"{member} has removed the work", lambda: work not in self._works(member), 60, 0.2, log_tail)

    def _delete_works(self, member: str) -> None:
        """Delete all works of a member, and wait until its agent has removed their finalizers."""
        for work in self._works(member):
            path = _path(member, work)
            run_idempotently(lambda path=path: self._hub.delete(path))  # type: ignore[misc]
        until(f"the works of {member} to be gone", lambda: not self._works(member), 60, 0.2)

    def _is_applied(self, member: str, work: str) -> bool:
        status = self._hub.get(_path(member, work)).get("status", {})
        return any(one["type"] == "Applied" and one["status"] == "True" for one in status.get("conditions", ()))

    def _works(self, member: str) -> list[str]:
        return [work["metadata"]["name"] for work in self._hub.get(_works_of(member))["items"]]


def _works_of(member: str) -> str:
    return f"/apis/{_GROUP}/namespaces/{member}/manifestworks"


def _path(member: str, work: str) -> str:
    return f"{_works_of(member)}/{work}"


def _trial(work: str) -> Json:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": work, "namespace": NAMESPACE}}
    return {
        "apiVersion": _GROUP,
        "kind": "ManifestWork",
        "metadata": {"name": work},
        "spec": {"workload": {"manifests": [manifest]}},
    }


def _define(api: Api, kind: str) -> None:
    """Define a kind of OCM, and wait until the API serves it."""
    definition = yaml.safe_load((binaries.OCM.folder() / f"{kind}.yaml").read_text())
    run_idempotently(lambda: api.create(_DEFINITIONS, definition))
    until(f"{kind} to be served", lambda: _serves(api, f"/apis/{_GROUP}/{kind}"))


def _serves(api: Api, path: str) -> bool:
    try:
        return bool(api.get(path, limit="1"))
    except ApiError:
        return False


def _create_namespace(api: Api, name: str) -> None:
    run_idempotently(lambda: api.create(_NAMESPACES, {"metadata": {"name": name}}))
