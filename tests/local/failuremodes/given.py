"""Cases of these tests' own, beside those that the env have."""

from typing import Any

from kubeprobe.catalog.version import increment_version
from kubeprobe.clock import utc_now
from kubeprobe.store import ProbeCase, ProbeTemplate
from tests.local.execution.environment import SHELL, Environment

BUSYBOX = "docker.io/kubeprobe/busybox:dev"
BRIEF = {"start": "1s", "run": "1s"}
NEVER_ENDS = "trap 'exit 0' TERM; while :; do sleep 0.2; done"
SIDECAR = {"name": "sidecar", "image": BUSYBOX, "command": ["sh", "-c", NEVER_ENDS]}


def add_case(env: Environment, name: str, pod: dict[str, Any] | None = None, **case: Any) -> None:
    """A case whose probe is a shell script; `pod` is merged over its template's."""
    common: dict[str, Any] = {"name": name, "digest": "", "applied_at": utc_now()}
    template = {"image": BUSYBOX, "command": SHELL, **({"pod": pod} if pod else {})}
    with env.store.writing() as session:
        session.add(ProbeTemplate(spec=template, **common))
        session.add(ProbeCase(spec={"template": name, "kind": "blackbox", **case}, **common))
        increment_version(session)


def phase(env: Environment, run_id: str) -> tuple[str, str]:
    """Phase and reason of a run's only pod, empty where there is none."""
    for pod in env.pods():
        if pod["metadata"]["labels"]["kubeprobe.io/run"] == run_id:
            return pod["status"].get("phase", ""), pod["status"].get("reason", "")
    return "", ""
