"""The last observed state of a probe's pod, and its labels and annotations."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from kubeprobe.execution.judge import Policy, deadline, has_started
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
    """By the cluster's clock."""
    running_since: datetime | None = None
    """When its probe was first observed as running, by the cluster's clock."""

    @classmethod
    def read(
        cls, pod: dict[str, Any], now: datetime | None = None, before: "PodObservation | None" = None
    ) -> "PodObservation | None":
        """None if the pod names no run that can be judged (created by hand with our labels, or changed since).

        `now`: by the cluster's clock. `before`: its previous observation.
        """
        try:
            metadata = pod["metadata"]
            labels = metadata.get("labels") or {}
            policy = _policy(metadata["annotations"][ANNOTATION_POLICY])
            since = before.running_since if before is not None else None
            if since is None and has_started(pod):
                since = now
            until = deadline(pod, policy, since)
            return cls(pod, str(labels[LABEL_RUN]), int(labels[LABEL_ATTEMPT]), policy, until, since)
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError):
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

    def ending(self, judgement: Judgement, clock_offset: timedelta = timedelta(0)) -> Ending:
        """The ending to record for this pod. `clock_offset`: of the cluster's clock."""
        return Ending(
            run_id=self.run_id,
            judgement=judgement,
            attempt=self.attempt,
            retries=self.policy.retries,
            pod=self.name,
            pod_uid=self.uid,
            created_at=datetime.fromisoformat(self.pod["metadata"]["creationTimestamp"]) - clock_offset,
            clock_offset=clock_offset,
        )


def _policy(text: str) -> Policy:
    policy = orjson.loads(text)
    return Policy(
        verdict_from=policy["verdictFrom"],
        start=timedelta(seconds=policy["startS"]),
        run=timedelta(seconds=policy["runS"]),
        retries=int(policy["retries"]),
    )
