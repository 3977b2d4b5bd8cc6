"""Lists: selection of objects, and pages.

A page starts after the last key of the previous one and shows the current state. A real server instead
lists all pages as of the first.
"""

import base64

import orjson

from kubeprobe.localcluster import errors
from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.registry import Target
from kubeprobe.localcluster.requests import ListOptions
from kubeprobe.localcluster.store import Store, Stored


def chosen(store: Store, target: Target, options: ListOptions) -> list[Stored]:
    """The objects of a collection that a list or watch selects."""
    items = store.items(target.resource, target.namespace)
    selects = options.selects
    return [stored for stored in items if selects(stored.object)] if selects else items


def page_of(chosen: list[Stored], options: ListOptions, version: str) -> tuple[list[Stored], Object]:
    """The requested page of a list, and the list's metadata with the `continue` token of the next page."""
    if options.next_page:
        version, after = _read_token(options.next_page)
        chosen = [stored for stored in chosen if _key(stored) > after]
    metadata: Object = {"resourceVersion": version}
    if not options.limit or len(chosen) <= options.limit:
        return chosen, metadata
    page = chosen[: options.limit]
    metadata["continue"] = base64.urlsafe_b64encode(orjson.dumps([version, *_key(page[-1])])).decode()
    if options.selects is None:
        metadata["remainingItemCount"] = len(chosen) - len(page)
    return page, metadata


def _key(stored: Stored) -> tuple[str, str]:
    metadata = stored.object["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _read_token(token: str) -> tuple[str, tuple[str, str]]:
    try:
        version, namespace, name = orjson.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise errors.bad_request(
            "invalid continue token: continue key is not valid: it is not from a list of this server"
        ) from error
    return version, (namespace, name)


def check_version(wanted: str, current: int) -> None:
    """Refuse a resourceVersion that is malformed (400) or in the future (504). Raises `ApiError`."""
    if not wanted.isdigit():
        reason = f'resourceVersion: Invalid value: "{wanted}": strconv.ParseUint: parsing "{wanted}": invalid syntax'
        raise errors.bad_request(f"invalid resource version: {reason}")
    if int(wanted) > current:
        message = f"Too large resource version: {wanted}, current: {current}"
        cause = errors.Cause("ResourceVersionTooLarge", "Too large resource version", "")
        raise errors.ApiError(504, "Timeout", message, {"causes": [cause._asdict()], "retryAfterSeconds": 1})
