"""The lines of a watch."""

from kubeprobe.fleet.api import object_problem, parse_event
from kubeprobe.fleet.errors import ClusterError

SEEDS = (
    b'{"type": "ADDED", "object": {"kind": "Pod", "metadata": {"name": "p", "uid": "u", "resourceVersion": "1"}}}',
    b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "2"}}}',
    b'{"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}',
)


def fuzz(data: bytes) -> None:
    """The documented error, or an object and what is wrong with it."""
    try:
        kind, found = parse_event(data)
    except ClusterError:
        return
    assert isinstance(kind, str)
    assert object_problem(found) or found["metadata"]["uid"]
