"""The API server's failed readiness checks, for a request without an answer or with a server error."""

import re

from probes._api import Api, ApiError

_FAILED_CHECK = re.compile(r"^\[-\](\S+) failed", re.MULTILINE)


def why_not_ready(api: Api, error: ApiError) -> str:
    """`the API server is not ready: failed checks of /readyz: etcd`.

    Empty for other errors, or if the checks are unavailable.
    """
    if 0 < error.status < 500:
        return ""
    try:
        api.text("/readyz", verbose="true")
    except ApiError as response:
        failed = failed_checks(str(response))
        return f"the API server is not ready: failed checks of /readyz: {', '.join(failed)}" if failed else ""
    return ""


def failed_checks(answer: str) -> list[str]:
    """The names of the failed checks in an answer of `/readyz?verbose`."""
    return _FAILED_CHECK.findall(answer)
