"""Error responses of clusters: the code, the header Retry-After and the body."""

from kubeprobe.fleet.translation import RETRY_AFTER_LIMIT_S, from_response

SEEDS = (
    (
        b'\x017\n{"kind": "Status", "code": 403, "reason": "Forbidden", "message": "User \\"u\\" cannot '
        b'create resource \\"pods\\" in API group \\"\\" in the namespace \\"n\\"", "details": {"kind": "pods"}}'
    ),
    b'\x02\n{"kind": "Status", "code": 403, "message": "no", "details": {"causes": [{"reason": "Name"}]}}',
    b'\x031000000000000\n{"kind": "Status", "code": 429, "reason": "TooManyRequests"}',
    b"\x04\n<html>gateway time-out</html>",
)


def fuzz(data: bytes) -> None:
    """First byte: the code; first line: Retry-After; the rest: the body. Nothing is raised."""
    head, _, body = data.partition(b"\n")
    code, header = 300 + (head[0] if head else 0) % 300, head[1:].decode(errors="replace")
    error = from_response(code, body, retry_after=header)
    assert len(error.message) <= 2000
    assert error.retry_after_s is None or 0 <= error.retry_after_s <= RETRY_AFTER_LIMIT_S
