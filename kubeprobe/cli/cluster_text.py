"""Clusters and findings about them as text."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from kubeprobe.catalog import ScheduleChanges
from kubeprobe.cli.output import Columns, console, styled
from kubeprobe.fleet.check import Finding
from kubeprobe.views import ClusterView


def print_clusters(clusters: Sequence[ClusterView]) -> None:
    """A line for each cluster."""
    Columns("NAME", "STATE", "LABELS", "POOL", "PODS", "CONNECTION", "NOTE").print(
        (
            cluster.name,
            styled(cluster.state),
            labels_text(cluster.labels) or "-",
            cluster.pool,
            f"{cluster.in_flight}/{cluster.max_in_flight}",
            cluster.connection,
            cluster.cordon_reason if cluster.cordoned_at else "",
        )
        for cluster in clusters
    )


def labels_text(labels: Mapping[str, str]) -> str:
    """`region=eu,wave=1`."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def schedules_text(changes: ScheduleChanges) -> str:
    """How the schedules followed a change."""
    return f"schedules: {changes.added} added, {changes.changed} changed, {changes.removed} removed"


def print_findings(findings: Sequence[Finding]) -> None:
    """A line for each finding, and what to do about a problem."""
    lines = Columns("", "", "").lines(
        [
            (Text("ok", "green") if finding.ok else Text("problem", "bold red"), finding.check, finding.found)
            for finding in findings
        ],
        title=False,
    )
    out = console()
    for line, finding in zip(lines, findings, strict=True):
        out.print(line)
        if not finding.ok and finding.remedy:
            out.print(f"         -> {finding.remedy}", style="yellow")
