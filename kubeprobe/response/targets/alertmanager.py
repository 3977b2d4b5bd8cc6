"""Prometheus Alertmanager, API version 2 (`POST /api/v2/alerts`).

Alertmanager takes states, not messages: an alert fires until its `endsAt` and must be sent again before that
(`housekeeping.repeat_alerts`). If KubeProbe stops, the alert resolves by itself after HOLD.
"""

from datetime import timedelta
from typing import Any

import orjson

from kubeprobe.catalog.model.route import AlertmanagerTarget
from kubeprobe.response.message import Message
from kubeprobe.response.targets.delivery import Delivery
from kubeprobe.response.targets.kind import TargetKind
from kubeprobe.response.targets.posting import post_json
from kubeprobe.vocabulary import AlertKind

HOLD = timedelta(minutes=5)
"""How long a firing alert lasts without a repeat: Alertmanager's default `resolve_timeout`."""

_NAMES = {AlertKind.FAIL: "KubeProbeFailing", AlertKind.UNKNOWN: "KubeProbeUnknown"}


def send(target: AlertmanagerTarget, message: Message, delivery: Delivery) -> None:
    """Fire the alert, or resolve it."""
    body = orjson.dumps([alert(message, delivery)])
    post_json(f"{target.url.rstrip('/')}/api/v2/alerts", body, delivery.now)


def alert(message: Message, delivery: Delivery) -> dict[str, Any]:
    """The alert as JSON. Its labels identify it: they are the same at opening, at every repeat and at closing."""
    labels = {
        "alertname": _NAMES[message.alert_kind],
        "case": message.case,
        "cluster": message.cluster,
        "node": message.node,
        "severity": message.severity,
        "owner": message.owner,
    }
    annotations = {
        "summary": message.title,
        "description": message.text,
        "runbook_url": message.runbook,
        "alert": message.alert,
        "run": message.run,
    }
    ends_at = message.until or delivery.now + HOLD
    return {
        # Alertmanager rejects empty labels.
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {name: value for name, value in annotations.items() if value},
        "startsAt": message.since.isoformat(),
        "endsAt": ends_at.isoformat(),
        # Must be a URI; KubeProbe has no page for alerts yet.
        "generatorURL": f"urn:kubeprobe:alert:{message.alert}",
    }


KIND = TargetKind(AlertmanagerTarget, send, needs_repeats=True)
