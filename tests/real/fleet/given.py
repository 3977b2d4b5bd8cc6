"""Accounts, kubeconfigs and pods in the real cluster, for the tests of the API client."""

import asyncio
import copy
import json
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from kubeprobe.fleet.api import ClusterApi
from kubeprobe.fleet.errors import ClusterError
from kubeprobe.fleet.kubeconfig import read_kubeconfig

BUSYBOX = "docker.io/kubeprobe/busybox:dev"
PAUSE = "docker.io/kubeprobe/pause:dev"
Json = dict[str, Any]
_PATIENCE_S = 60


def pod(name: str, script: str = "true", **spec: Any) -> Json:
    """A pod that runs a shell script."""
    container = {"name": "probe", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]}
    base = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": base | spec}


def kubeconfig_with(path: Path, admin: Path, user: Json, **cluster: Any) -> Path:
    """The administrator's kubeconfig with another user, and other settings of the cluster (None: without it)."""
    config = copy.deepcopy(read_kubeconfig(admin))
    config["users"][0]["user"] = user
    merged = config["clusters"][0]["cluster"] | {key.replace("_", "-"): value for key, value in cluster.items()}
    config["clusters"][0]["cluster"] = {key: value for key, value in merged.items() if value is not None}
    path.write_text(json.dumps(config))
    return path


async def refused_in_time(admin: ClusterApi, namespace: str, saying: str) -> ClusterError:
    """The refusal of a pod with this text, once admission has loaded its new rules.

    Until then there may be others: a quota, for example, refuses everything before its status is known.
    """
    last: ClusterError | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            for attempt in count():
                try:
                    await admin.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", body=pod(f"p{attempt}"))
                except ClusterError as error:
                    if saying in error.message:
                        return error
                    last = error
    raise AssertionError(f"admission never refused the pod with {saying!r}; its last refusal: {last}")


class Accounts:
    """Creates service accounts in a namespace, with roles and tokens."""

    def __init__(self, admin: ClusterApi, namespace: str) -> None:
        self._admin = admin
        self._core = f"/api/v1/namespaces/{namespace}"
        self._rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        self._namespace = namespace

    async def make(self, name: str, rules: list[Json]) -> None:
        """Create a service account with these RBAC rules in its namespace."""
        meta = {"metadata": {"name": name}}
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self._namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        await self._admin.call("POST", f"{self._core}/serviceaccounts", body=meta)
        await self._admin.call("POST", f"{self._rbac}/roles", body=meta | {"rules": rules})
        binding = meta | {"subjects": [subject], "roleRef": role}
        await self._admin.call("POST", f"{self._rbac}/rolebindings", body=binding)
        for rule in rules:
            await self._await(name, rule)

    async def _await(self, name: str, rule: Json) -> None:
        """Wait until the API server has loaded the rules."""
        async with asyncio.timeout(_PATIENCE_S):
            for _ in count():
                if await self._may(name, rule):
                    return

    async def _may(self, name: str, rule: Json) -> bool:
        resource, _, subresource = rule["resources"][-1].partition("/")
        attributes = {
            "namespace": self._namespace,
            "verb": rule["verbs"][-1],
            "group": rule["apiGroups"][-1],
            "resource": resource,
            "subresource": subresource,
        }
        spec = {"user": f"system:serviceaccount:{self._namespace}:{name}", "resourceAttributes": attributes}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        found = await self._admin.call("POST", path, body={"spec": spec})
        return bool(found["status"]["allowed"])

    async def token(self, name: str, bound_to: str | None = None) -> str:
        """A token of an account; with `bound_to`, it is bound to a new Secret of that name."""
        spec: Json = {"expirationSeconds": 3600}
        if bound_to:
            made = await self._admin.call("POST", f"{self._core}/secrets", body={"metadata": {"name": bound_to}})
            uid = made["metadata"]["uid"]
            spec["boundObjectRef"] = {"kind": "Secret", "apiVersion": "v1", "name": bound_to, "uid": uid}
        path = f"{self._core}/serviceaccounts/{name}/token"
        made = await self._admin.call("POST", path, body={"spec": spec})
        return str(made["status"]["token"])

    async def revoke(self, bound_to: str) -> None:
        """Delete the Secret that a token is bound to."""
        await self._admin.call("DELETE", f"{self._core}/secrets/{bound_to}")
