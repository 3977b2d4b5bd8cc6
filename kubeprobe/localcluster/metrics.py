"""Request counts under the metric name and labels of the real API server."""

from collections import Counter

from kubeprobe.localcluster.registry import Target


class RequestCounter:
    """`apiserver_request_total` of one server, summed over all its clusters."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Target, int, bool]] = Counter()

    def count(self, verb: str, target: Target, code: int, *, dry_run: bool = False) -> None:
        """Count one answered request."""
        counted = Target(target.resource, "", _scope(verb, target), target.subresource)
        self._counts[(verb, counted, code, dry_run)] += 1

    def text(self) -> str:
        """The counts in Prometheus' text format."""
        lines = [
            "# HELP apiserver_request_total Counter of apiserver requests by verb, resource and HTTP code.",
            "# TYPE apiserver_request_total counter",
        ]
        for (verb, counted, code, dry_run), count in sorted(self._counts.items(), key=str):
            labels = {
                "code": str(code),
                "component": "apiserver",
                "dry_run": "All" if dry_run else "",
                "group": counted.resource.group,
                "resource": counted.resource.plural,
                "scope": counted.name,
                "subresource": counted.subresource,
                "verb": verb,
                "version": counted.resource.version,
            }
            text = ",".join(f'{name}="{value}"' for name, value in labels.items())
            lines.append(f"apiserver_request_total{{{text}}} {count}")
        return "\n".join(lines) + "\n"


def _scope(verb: str, target: Target) -> str:
    if target.name or verb == "POST":
        return "resource"
    return "namespace" if target.namespace else "cluster"
