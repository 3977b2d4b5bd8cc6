"""Scalars of the catalog and of command lines: names, durations, cron expressions, selectors, labels, addresses."""

from pydantic import TypeAdapter

from kubeprobe.catalog.model.base import Name, parse_duration
from kubeprobe.catalog.times import check_cron, check_time_zone
from kubeprobe.errors import KubeProbeError
from kubeprobe.fleet.labels import key_problem, name_problem, node_problem, value_problem
from kubeprobe.fleet.selectors import parse_selector
from kubeprobe.sources.address import check_branch, check_path, parse_address

SEEDS = (
    b"pod-lifecycle",
    b"1d2h3m4s",
    b"*/15 8-18 * * mon-fri",
    b"Europe/Berlin",
    b"region in (eu, us), tier notin (test), !old, env=prod",
    b"example.com/name",
    b"git@git.example.com:team/repo.git",
    b"https://git.example.com/team/repo.git",
    b"feature/x",
)
READERS = (
    TypeAdapter(Name).validate_python,
    parse_duration,
    check_cron,
    check_time_zone,
    parse_selector,
    parse_address,
    check_branch,
    check_path,
    key_problem,
    name_problem,
    node_problem,
    value_problem,
)


def fuzz(data: bytes) -> None:
    """Each refuses it with its documented error, or reads it."""
    text = data.decode(errors="replace")
    for read in READERS:
        try:
            read(text)
        except (ValueError, KubeProbeError):
            continue
