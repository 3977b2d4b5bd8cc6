"""Reads the test vectors in clients/vectors, which every client library must pass (see the README there)."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from kubeprobe_client import Run
from kubeprobe_client._report import LIMIT, Report, Step, encode_unknown

VECTORS = Path(__file__).parents[3] / "clients" / "vectors"
OTHER_NAMESPACE = "some-other-namespace"
Vector = dict[str, Any]


def read(name: str) -> list[Vector]:
    """The vectors of one file."""
    found: list[Vector] = json.loads((VECTORS / name).read_text())
    return found


def encode(vector: Vector) -> bytes:
    """The Python client's encoding of a test vector."""
    limit = vector.get("limit", LIMIT)
    if "unknown" in vector:
        return encode_unknown(_text(vector["unknown"]), limit)
    report = vector["report"]
    return Report(
        report["ok"],
        tuple(_text(error) for error in report["errors"]),
        tuple(Step(_text(name), ms, ok) for name, ms, ok in report["steps"]),
        {_text(name): value for name, value in report["metrics"]},
    ).encode(limit)


def run_as_json(environment: dict[str, str], started: str, nows: list[str]) -> Vector:
    """The Python client's run of a test vector, as in the vector."""
    run = Run.from_environment(environment, datetime.fromisoformat(started))
    endless = run.deadline is None
    return {
        "id": run.id,
        "installation": run.installation,
        "case": run.case,
        "cluster": run.cluster,
        "trigger": run.trigger,
        "namespace": run.namespace,
        "podName": run.pod_name,
        "podUid": run.pod_uid,
        "node": run.node,
        "parameters": run.parameters,
        "timeout": None if endless else run.timeout,
        "margin": run.margin,
        "deadline": run.deadline and run.deadline.isoformat().replace("+00:00", "Z"),
        "labels": run.labels,
        "owner": run.owner_reference(run.namespace),
        "ownerElsewhere": run.owner_reference(OTHER_NAMESPACE),
        "remaining": {now: None if endless else run.remaining(datetime.fromisoformat(now)) for now in nows},
    }


def _text(value: Any) -> str:
    """A text: plain, repeated, or bytes, decoded with lone surrogates (PEP 383)."""
    if isinstance(value, str):
        return value
    if "hex" in value:
        return bytes.fromhex(value["hex"]).decode("utf-8", "surrogateescape")
    return str(value["repeat"]) * int(value["times"])
