"""When the API server gave no answer or an error of its own: which of its parts it says is unwell."""

import re

from probes._api import Api, ApiError

_FAILED_CHECK = re.compile(r"^\[-\](\S+) failed", re.MULTILINE)


def why_unwell(api: Api, error: ApiError) -> str:
    """`the API server says: not ready: etcd`; empty if the error is not of its own making or it does not say."""
    if 0 < error.status < 500:
        return ""
    try:
        api.text("/readyz", verbose="true")
    except ApiError as unwell:
        failed = failed_checks(str(unwell))
        return f"the API server says of itself: not ready: {', '.join(failed)}" if failed else ""
    return ""


def failed_checks(answer: str) -> list[str]:
    """The checks that failed, by their names, in an answer of `/readyz?verbose`."""
    return _FAILED_CHECK.findall(answer)
