"""What engines share: both sides' APIs, and a loop that outlives an API server. Next: `pods`, `ocm`."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from probes._access import find_access
from probes._api import Api, ApiError

Json = dict[str, Any]
PERIOD = 0.2
"""Seconds between two looks."""


def api_of(kubeconfig: Path) -> Api:
    """The API that a kubeconfig tells."""
    return Api(find_access({"KUBECONFIG": str(kubeconfig)}))


def again_and_again(what: Callable[[], None]) -> None:
    """Until the process is ended. What fails is told and tried again."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        try:
            what()
        except ApiError as error:
            sys.stderr.write(f"{error}\n")
        time.sleep(PERIOD)


def unless_missing(action: Callable[[], Any]) -> None:
    """Do it; that there is nothing (or already something) of the name is fine."""
    try:
        action()
    except ApiError as error:
        if error.status not in {404, 409}:
            raise
