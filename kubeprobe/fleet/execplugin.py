"""Exec plugins: programs that return a cluster's credentials.

Protocol: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins.
Not taken from `kubernetes.aio`, whose loader hides a plugin's failure, has no time-out and leaves keys in temporary
files. A plugin's output is a secret: it is never part of a message. Callers use `fleet.plugincache`.
"""

import atexit
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from kubeprobe.errors import InvalidInputError, KubeProbeError
from kubeprobe.fleet.kubeconfig import CLUSTER_INFO_EXTENSION, header_problem, is_kept_from_plugins
from kubeprobe.fleet.kubeconfig_model import ClusterFields, ExecFields
from kubeprobe.fleet.kubernetes_yaml import parse_yaml

PLUGIN_TIMEOUT_S = 10.0
OUTPUT_LIMIT = 1 << 20
"""Bytes of a plugin's output."""
_STDERR_LIMIT = 300
_running: set[int] = set()
"""The process groups of the plugins that run now."""


class PluginError(KubeProbeError):
    """An exec plugin returned no credentials."""


@dataclass(frozen=True)
class PluginCredentials:
    """A token, or a client certificate and its key (PEM), or both."""

    token: str | None = field(repr=False)
    certificate: str | None = field(repr=False)
    key: str | None = field(repr=False)
    expires_at: datetime | None


def run_plugin(plugin: ExecFields, cluster: ClusterFields) -> PluginCredentials:
    """Run the plugin of a kubeconfig's user; it gets `cluster` if it has `provideClusterInfo`. Blocks.

    Raises PluginError: not installed, failed, timed out, wrote too much, or its output is not an ExecCredential.
    """
    program = shutil.which(plugin.command)  # by our PATH, as kubectl, and not by that of the plugin
    try:
        process = subprocess.Popen(
            [program or plugin.command, *plugin.args],
            env=plugin_environment(plugin, cluster),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a group of its own, which is killed as a whole
        )
    except (OSError, ValueError) as error:
        hint = f"; {plugin.install_hint.strip()}" if plugin.install_hint else ""
        reason = getattr(error, "strerror", None) or error
        raise PluginError(f"exec plugin {plugin.command!r} cannot be started: {reason}{hint}") from error
    _running.add(process.pid)
    try:
        stdout, stderr = _collect(process, plugin.command)
    except BaseException:
        _kill_group(process.pid)
        raise
    finally:
        process.wait()
        _running.discard(process.pid)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
    if process.returncode:
        error_text = stderr.decode(errors="replace").strip()
        raise PluginError(f"exec plugin {plugin.command!r} exited with code {process.returncode}: {error_text}")
    return read_credentials(stdout, plugin.command, plugin.api_version)


def plugin_environment(plugin: ExecFields, cluster: ClusterFields) -> dict[str, str]:
    """KubeProbe's environment, the plugin's, and the request.

    Without KUBEPROBE_* (secrets), and without what loads code into a program: it is meant for KubeProbe.
    """
    spec: dict[str, Any] = {"interactive": False}
    if plugin.provide_cluster_info:
        info = cluster.model_dump(by_alias=True, exclude_defaults=True, exclude={"extensions"}, mode="json")
        configurations = (each.extension for each in cluster.extensions if each.name == CLUSTER_INFO_EXTENSION)
        info["config"] = next(configurations, None)
        spec["cluster"] = info
    request = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    env = {name: value for name, value in os.environ.items() if not name.startswith("KUBEPROBE_")}
    env |= {variable.name: variable.value for variable in plugin.env}
    env = {name: value for name, value in env.items() if not is_kept_from_plugins(name)}
    return env | {"KUBERNETES_EXEC_INFO": orjson.dumps(request).decode()}


def read_credentials(stdout: bytes, command: str, api_version: str) -> PluginCredentials:
    """The credentials in a plugin's output: an ExecCredential in JSON or YAML. Raises PluginError."""
    try:
        found = parse_yaml(stdout.decode())
        status = found["status"]
        token, certificate, key, expiry = (
            _text(status, name) for name in ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
        )
        expires_at = _read_time(expiry) if expiry else None
        is_valid = found.get("kind") in {None, "", "ExecCredential"} and not header_problem(token or "")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, InvalidInputError):
        is_valid = False
    if not is_valid:
        raise PluginError(f"exec plugin {command!r} wrote no valid ExecCredential; expected a status")
    if found.get("apiVersion") != api_version:
        raise PluginError(f"exec plugin {command!r} returned another apiVersion; expected {api_version}")
    if bool(certificate) != bool(key) or not (token or certificate):
        raise PluginError(f"exec plugin {command!r} returned neither a token nor a certificate with its key")
    return PluginCredentials(token, certificate, key, expires_at)


def _text(status: dict[str, Any], name: str) -> str | None:
    value = status.get(name)
    if value is not None and not isinstance(value, str):
        raise TypeError(name)
    return value or None


def _read_time(text: str) -> datetime:
    """RFC 3339, as in Kubernetes. Raises ValueError."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found.astimezone(UTC)


def _collect(process: subprocess.Popen[bytes], command: str) -> tuple[bytes, bytes]:
    """What a process writes until it ends: its output, and the end of its errors. Raises PluginError."""
    assert process.stdout
    assert process.stderr
    deadline = time.monotonic() + PLUGIN_TIMEOUT_S
    timed_out = PluginError(f"exec plugin {command!r} timed out after {PLUGIN_TIMEOUT_S:g} s")
    stdout, stderr = bytearray(), deque[int](maxlen=_STDERR_LIMIT)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, stdout)
        selector.register(process.stderr, selectors.EVENT_READ, stderr)
        while selector.get_map():
            ready = selector.select(max(0, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                raise timed_out
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
            if len(stdout) > OUTPUT_LIMIT:
                raise PluginError(f"exec plugin {command!r} wrote more than {OUTPUT_LIMIT} bytes")
    try:
        process.wait(max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise timed_out from None
    return bytes(stdout), bytes(stderr)


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


@atexit.register
def _kill_running() -> None:
    """At the end of KubeProbe's process, plugins end too."""
    for group in tuple(_running):
        _kill_group(group)
