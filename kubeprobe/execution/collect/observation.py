"""The last observed state of a probe's pod, and its labels and annotations."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from kubeprobe.execution.judge import Policy, deadline
from kubeprobe.runs import Ending, Judgement
from kubeprobe.vocabulary import ANNOTATION_NODE, ANNOTATION_POLICY, LABEL_ATTEMPT, LABEL_RUN


@dataclass(frozen=True)
class PodObservation:
    """One pod. It holds everything needed to judge it, so that no query is needed."""

    pod: dict[str, Any]
    run_id: str
    attempt: int
    policy: Policy
    deadline: datetime

    @classmethod
    def read(cls, pod: dict[str, Any]) -> "PodObservation | None":
        """None if the pod names no run (created by hand with our labels)."""
        metadata = pod["metadata"]
        labels = metadata.get("labels") or {}
        try:
            policy = _policy(metadata["annotations"][ANNOTATION_POLICY])
            return cls(pod, labels[LABEL_RUN], int(labels[LABEL_ATTEMPT]), policy, deadline(pod, policy))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.pod["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The pod's UID: names can be reused."""
        return str(self.pod["metadata"]["uid"])

    @property
    def node(self) -> str | None:
        """The node that it is pinned to; None: the scheduler chose."""
        found: str | None = self.pod["metadata"]["annotations"].get(ANNOTATION_NODE)
        return found

    def ending(self, judgement: Judgement) -> Ending:
        """The ending to record for this pod."""
        return Ending(
            run_id=self.run_id,
            judgement=judgement,
            attempt=self.attempt,
            retries=self.policy.retries,
            pod=self.name,
            pod_uid=self.uid,
            created_at=datetime.fromisoformat(self.pod["metadata"]["creationTimestamp"]),
        )


def _policy(text: str) -> Policy:
    policy = orjson.loads(text)
    return Policy(
        verdict_from=policy["verdictFrom"],
        start=timedelta(seconds=policy["startS"]),
        run=timedelta(seconds=policy["runS"]),
        retries=int(policy["retries"]),
    )
