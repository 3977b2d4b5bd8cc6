"""Reads clients/vectors, which hold every client library to the same bytes (see the README there)."""

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
    """What the Python client makes of a report's vector."""
    limit = vector.get("limit", LIMIT)
    if "unknown" in vector:
        return encode_unknown(_text(vector["unknown"]), limit)
    told = vector["report"]
    return Report(
        told["ok"],
        tuple(_text(error) for error in told["errors"]),
        tuple(Step(_text(name), ms, ok) for name, ms, ok in told["steps"]),
        {_text(name): value for name, value in told["metrics"]},
    ).encode(limit)


def run_as_json(environment: dict[str, str], started: str, nows: list[str]) -> Vector:
    """All that the Python client knows of a run."""
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


def _text(told: Any) -> str:
    """A text: plain, repeated, or bytes, whose like Python holds with lone surrogates (PEP 383)."""
    if isinstance(told, str):
        return told
    if "hex" in told:
        return bytes.fromhex(told["hex"]).decode("utf-8", "surrogateescape")
    return str(told["repeat"]) * int(told["times"])
