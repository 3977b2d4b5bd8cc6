"""Checks that every etcd has a restorable backup and, if required, a standby.

Parameters: ETCDS, ETCD_SELECTORS, BACKUP_DIR, PATTERN, MAX_AGE_HOURS, SHRINK_PERCENT, STANDBYS, REQUIRE_STANDBY,
CERT_DIR, STANDBY_LAG, CATCH_UP_TIMEOUT, MIRROR_KEY (README.md).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kubeprobe_client import give_up, main, measure, report_failure, step

from probes._api import Api, PermissionMissing, connect
from probes._etcd import Endpoint, EtcdError, read_client_tls
from probes._parameters import number, text, words
from probes.etcd_backup import standby
from probes.etcd_backup.backups import Rules, find, judge
from probes.etcd_backup.snapshot import read_snapshot
from probes.etcd_backup.standby import Standby

Json = dict[str, Any]

NAME_LABEL = "kubeprobe.io/etcd"
"""The label of a pod with the name of its etcd, if that is not its namespace."""
PAGE_SIZE = 200


def etcds_in(api: Api, selectors: list[str]) -> set[str]:
    """The etcds whose pods run in the cluster, by their label or namespace; raises ApiError."""
    found = set()
    for selector in selectors:
        for page in api.pages("/api/v1/pods", PAGE_SIZE, labelSelector=selector):
            found |= {name_of(pod) for pod in page}
    return found


def name_of(pod: Json) -> str:
    """The name of a pod's etcd: its label, else its namespace."""
    metadata = pod["metadata"]
    name: str = metadata.get("labels", {}).get(NAME_LABEL) or metadata["namespace"]
    return name


@dataclass
class Findings:
    """The findings for all etcds."""

    problems: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """What could not be checked, and why."""


def expected(findings: Findings) -> list[str]:
    """The names of all etcds that must have a backup: those in ETCDS, and those found. Raises ApiError."""
    names = set(words("ETCDS"))
    selectors = [selector.strip() for selector in text("ETCD_SELECTORS", "component=etcd").split(";")]
    if selectors != ["none"]:
        with connect() as api:
            try:
                names |= etcds_in(api, selectors)
            except PermissionMissing as error:
                findings.unchecked.append(str(error))
    if not names and not findings.unchecked:
        give_up(f"no etcd found: parameter ETCDS is empty and no pod matches ETCD_SELECTORS ({'; '.join(selectors)})")
    return sorted(names)


def check_backups(etcds: list[str], findings: Findings) -> None:
    """Check each etcd's backups; also measures valid ones."""
    directory = Path(text("BACKUP_DIR", "/backups"))
    pattern = text("PATTERN", "{etcd}/*")
    rules = Rules(timedelta(hours=number("MAX_AGE_HOURS", 25)), number("SHRINK_PERCENT", 50))
    if "{etcd}" not in pattern or pattern.startswith("/"):
        give_up(f"parameter PATTERN={pattern!r}: expected a path below BACKUP_DIR with {{etcd}} in it")
    if not directory.is_dir():
        give_up(f"parameter BACKUP_DIR={str(directory)!r}: expected a directory: is the volume mounted?")
    now = datetime.now(UTC)
    try:
        backups = find(directory, pattern, etcds)
    except OSError as error:
        findings.unchecked.append(f"backups cannot be listed: {error}")
        return
    ages, covered = [], 0
    for etcd in etcds:
        verdict = judge(etcd, backups[etcd], rules, now, read_snapshot)
        findings.problems += verdict.problems
        findings.unchecked += verdict.unchecked
        covered += not verdict.problems and not verdict.unchecked
        if verdict.newest:
            ages.append((now - verdict.newest) / timedelta(hours=1))
    measure("etcds", len(etcds))
    measure("etcds_covered", covered)
    if ages:
        measure("oldest_backup_hours", round(max(ages), 2))


def check_standbys(standbys: list[Standby], findings: Findings) -> None:
    """Check the standby of each etcd that must have one."""
    rules = standby.Rules(
        int(number("STANDBY_LAG", 100)),
        number("CATCH_UP_TIMEOUT", 5),
        text("MIRROR_KEY", "/registry/leases/kube-system/kube-controller-manager"),
    )
    secure = any(url.startswith("https:") for one in standbys for url in (one.primary, one.mirror))
    try:
        tls = read_client_tls(Path(text("CERT_DIR", "/etc/kubeprobe/etcd"))) if secure else None
    except ValueError as error:
        findings.unchecked.append(str(error))
        return

    def open_endpoint(url: str) -> Endpoint:
        return Endpoint(url, tls, rules.seconds)

    worst = 0
    for one in standbys:
        try:
            problems, lag = standby.check(one, rules, open_endpoint)
            findings.problems += problems
            worst = max(worst, lag)
        except EtcdError as error:
            if error.is_denied:
                findings.unchecked.append(f"permission missing: range {rules.mirror_key} in etcd ({error})")
            else:
                findings.problems.append(f"etcd {one.etcd}: {error}")
    measure("standbys", len(standbys))
    measure("standby_lag", worst)


def check_coverage(etcds: list[str], standbys: list[Standby]) -> list[str]:
    """The etcds without a known standby."""
    problems = standby.uncovered(etcds, standbys)
    measure("etcds_without_standby", len(problems))
    return problems


def standby_required() -> bool:
    """Whether REQUIRE_STANDBY requires a standby of every etcd."""
    given = text("REQUIRE_STANDBY", "false").lower()
    if given not in ("true", "false"):
        give_up(f"parameter REQUIRE_STANDBY={given!r}: expected true or false")
    return given == "true"


@main
def probe() -> None:
    """Check all backups and standbys, then report every finding."""
    try:
        standbys = [standby.parse(word) for word in words("STANDBYS")]
    except ValueError as error:
        give_up(f"parameter STANDBYS: {error}")
    required = standby_required()
    findings = Findings()
    with step("etcds"):
        etcds = expected(findings)
    with step("backups"):
        check_backups(etcds, findings)
    if required:
        findings.problems += check_coverage(etcds, standbys)
    if standbys:
        with step("standbys"):
            check_standbys(standbys, findings)
    if findings.problems:
        report_failure([*findings.problems, *(f"not checked: {why}" for why in findings.unchecked)])
    elif findings.unchecked:
        give_up("; ".join(findings.unchecked))
