"""Other clusters' APIs, by kubeconfigs in a Secret of the cluster that the probe runs in.

Used by the probes of several clusters.
"""

import base64
import binascii
import tempfile
from dataclasses import replace
from typing import Any

from kubeprobe_client import give_up

from probes._access import Access, AccessError, find_access
from probes._api import Api, ApiError, give_up_if_forbidden


def kubeconfigs_in(api: Api, namespace: str, secret: str) -> dict[str, bytes]:
    """The content of a Secret, by key. If it is missing or may not be read, the run ends as unknown."""
    try:
        found: dict[str, Any] = api.get(f"/api/v1/namespaces/{namespace}/secrets/{secret}")
    except ApiError as error:
        give_up_if_forbidden(error)
        if error.status == 404:
            give_up(f"Secret {namespace}/{secret} does not exist: expected kubeconfigs in it")
        raise
    try:
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    except binascii.Error as error:
        give_up(f"Secret {namespace}/{secret}: {error}")


def access_from_kubeconfig(kubeconfig: bytes, source: str, server: str = "") -> Access:
    """The access of a kubeconfig, with `server` as its address if given. An invalid one ends the run as unknown."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(kubeconfig)
        file.flush()
        try:
            access = find_access({"KUBECONFIG": file.name})
        except AccessError as error:
            give_up(f"{source}: {str(error).replace(file.name, '').replace('kubeconfig :', 'kubeconfig:')}")
    return replace(access, server=server.rstrip("/")) if server else access
