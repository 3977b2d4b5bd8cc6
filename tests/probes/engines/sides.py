"""What engines share: the API of each side, and deleting or creating without regard to what is there. Next: `ocm`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from probes._access import find_access
from probes._api import Api, ApiError

Json = dict[str, Any]


def api_of(kubeconfig: Path) -> Api:
    """The API that a kubeconfig tells."""
    return Api(find_access({"KUBECONFIG": str(kubeconfig)}))


def unless_missing(action: Callable[[], Any]) -> None:
    """Do it; that there is nothing (or already something) of the name is fine."""
    try:
        action()
    except ApiError as error:
        if error.status not in {404, 409}:
            raise
