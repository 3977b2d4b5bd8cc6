"""Exec plugins: programs that return a cluster's credentials.

Protocol: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins.
Not taken from `kubernetes.aio`, whose loader hides a plugin's failure, has no time-out and leaves keys in temporary
files. A plugin's output is a secret: it is never part of a message.
"""

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from kubeprobe.errors import KubeProbeError

PLUGIN_TIMEOUT_S = 10.0
_STDERR_LIMIT = 300


class PluginError(KubeProbeError):
    """An exec plugin returned no credentials."""


@dataclass(frozen=True)
class PluginCredentials:
    """A token, or a client certificate and its key (PEM), or both."""

    token: str | None = field(repr=False)
    certificate: str | None = field(repr=False)
    key: str | None = field(repr=False)
    expires_at: datetime | None


async def run_plugin(plugin: dict[str, Any], cluster: dict[str, Any]) -> PluginCredentials:
    """Run the plugin of a kubeconfig's user; it gets `cluster` if it has `provideClusterInfo`.

    Raises PluginError: not installed, failed, timed out, or its output is not an ExecCredential.
    """
    command = plugin["command"]
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *plugin.get("args") or (),
            env=_environment(plugin, cluster),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        hint = f"; {plugin['installHint'].strip()}" if plugin.get("installHint") else ""
        raise PluginError(f"exec plugin {command!r} cannot be started: {error.strerror}{hint}") from error
    try:
        async with asyncio.timeout(PLUGIN_TIMEOUT_S):
            stdout, stderr = await process.communicate()
    except TimeoutError as error:
        raise PluginError(f"exec plugin {command!r} timed out after {PLUGIN_TIMEOUT_S:g} s") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        error_text = stderr.decode(errors="replace").strip()[-_STDERR_LIMIT:]
        raise PluginError(f"exec plugin {command!r} exited with code {process.returncode}: {error_text}")
    return _read_credentials(command, plugin["apiVersion"], stdout)


def _environment(plugin: dict[str, Any], cluster: dict[str, Any]) -> dict[str, str]:
    """KubeProbe's environment without KUBEPROBE_* (secrets), the plugin's, and the request."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo"):
        info = {key: value for key, value in cluster.items() if key != "extensions"}
        for extension in cluster.get("extensions") or ():
            if extension.get("name") == "client.authentication.k8s.io/exec":
                info["config"] = extension.get("extension")
        spec["cluster"] = info
    request = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": spec}
    env = {name: value for name, value in os.environ.items() if not name.startswith("KUBEPROBE_")}
    env |= {entry["name"]: entry["value"] for entry in plugin.get("env") or ()}
    return env | {"KUBERNETES_EXEC_INFO": orjson.dumps(request).decode()}


def _read_credentials(command: str, api_version: str, stdout: bytes) -> PluginCredentials:
    try:
        found = orjson.loads(stdout)
        status = found["status"]
        expiry = status.get("expirationTimestamp")
        credentials = PluginCredentials(
            token=status.get("token"),
            certificate=status.get("clientCertificateData"),
            key=status.get("clientKeyData"),
            expires_at=datetime.fromisoformat(expiry) if expiry else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PluginError(f"exec plugin {command!r} wrote no valid ExecCredential; expected a status") from None
    if found.get("apiVersion") != api_version:
        raise PluginError(f"exec plugin {command!r} returned another apiVersion; expected {api_version}")
    if not credentials.token and not (credentials.certificate and credentials.key):
        raise PluginError(f"exec plugin {command!r} returned neither a token nor a certificate with its key")
    return credentials
