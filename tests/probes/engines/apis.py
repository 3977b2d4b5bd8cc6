"""Shared by engines: the API of a kubeconfig, and idempotent creation and deletion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from probes._access import find_access
from probes._api import Api, ApiError

Json = dict[str, Any]


def api_of(kubeconfig: Path) -> Api:
    """The API of a kubeconfig."""
    return Api(find_access({"KUBECONFIG": str(kubeconfig)}))


def run_idempotently(action: Callable[[], Any]) -> None:
    """Run an action; ignore that the object is missing or already exists."""
    try:
        action()
    except ApiError as error:
        if error.status not in {404, 409}:
            raise
