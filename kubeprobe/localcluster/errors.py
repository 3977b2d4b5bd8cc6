"""Errors as the real API server answers them: a `Status` object with code, reason, message and details.

Every module raises `ApiError`; only `http` turns it into a response.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kubeprobe.localcluster.objects import Object
from kubeprobe.localcluster.resources import Resource


class Cause(NamedTuple):
    """One cause of an `Invalid` or `Forbidden` error, bound to a field of the object."""

    reason: str
    message: str
    field: str


class ApiError(Exception):
    """A request was refused; `status()` is the body of the response."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def status(self) -> Object:
        """The error as a `Status` object."""
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        return {**status, "code": self.code}


def success(resource: Resource, obj: Object) -> Object:
    """The response to a deletion, for kinds whose last state is not returned."""
    details = _details(resource, obj["metadata"]["name"])
    details["uid"] = obj["metadata"]["uid"]
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def not_found(resource: Resource, name: str) -> ApiError:
    """404 for an object that does not exist."""
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_resource() -> ApiError:
    """404 for a path that names no resource."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def method_not_allowed() -> ApiError:
    """405 for a verb that the resource does not support."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message)


def already_exists(resource: Resource, name: str) -> ApiError:
    """409 for a name that is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str, why: str) -> ApiError:
    """409 for an object that is not (or no longer) the one that the request describes."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name))


def stale(resource: Resource, name: str) -> ApiError:
    """409 for an update based on an older resourceVersion."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why)


def forbidden(resource: Resource, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    """403 by admission."""
    details = _details(resource, name)
    if causes:
        details["causes"] = [cause._asdict() for cause in causes]
    return ApiError(403, "Forbidden", f'{resource.qualified} "{name}" is forbidden: {why}', details)


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 with every fault of the object."""
    faults = [f"{cause.field}: {cause.message}" for cause in causes]
    listed = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details: Object = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.kind
    details["causes"] = [cause._asdict() for cause in causes]
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {listed}', details)


def invalid_options(kind: str, cause: Cause) -> ApiError:
    """422 for an option of the request itself."""
    group = "meta.k8s.io"
    details = {"group": group, "kind": kind, "causes": [cause._asdict()]}
    return ApiError(422, "Invalid", f'{kind}.{group} "" is invalid: {cause.field}: {cause.message}', details)


def internal(error: Exception) -> ApiError:
    """500 for a bug of the local cluster."""
    return ApiError(500, "InternalError", f"Internal error occurred: {type(error).__name__}: {error}")


def bad_request(message: str) -> ApiError:
    """400 for a malformed request."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """401 for a token that is missing or unknown."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def unsupported_media_type(supported: Sequence[str]) -> ApiError:
    """415 for a body of a type that is not accepted."""
    accepted = ", ".join(supported)
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return ApiError(415, "UnsupportedMediaType", message)


def expired(wanted: int, oldest: int) -> ApiError:
    """410 for a resourceVersion whose history has been dropped."""
    return ApiError(410, "Expired", f"too old resource version: {wanted} ({oldest})")


def continue_expired() -> ApiError:
    """410 for a list whose next page is no longer available."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. "
        "You must start a new list without the continue parameter."
    )
    return ApiError(410, "Expired", message)


def _details(resource: Resource, name: str) -> Object:
    details: Object = {"name": name}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details
