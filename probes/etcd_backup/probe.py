"""Checks that every etcd has a restorable backup and, if required, a standby.

Parameters: ETCDS, ETCD_SELECTORS, BACKUP_DIR, PATTERN, MAX_AGE_HOURS, SHRINK_PERCENT, STANDBYS, REQUIRE_STANDBY,
CERT_DIR, STANDBY_LAG, CATCH_UP_TIMEOUT, MIRROR_KEY (README.md).
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kubeprobe_client import give_up, main, measure, report_failure, step

from probes._api import Api, ApiError, connect, give_up_if_forbidden
from probes._etcd import Endpoint, EtcdError, client_tls, give_up_if_denied
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


def expected() -> list[str]:
    """The names of all etcds that must have a backup: those in ETCDS, and those found."""
    found = set(words("ETCDS"))
    selectors = [selector.strip() for selector in text("ETCD_SELECTORS", "component=etcd").split(";")]
    if selectors != ["none"]:
        with connect() as api:
            try:
                found |= etcds_in(api, selectors)
            except ApiError as error:
                give_up_if_forbidden(error)
                raise
    if not found:
        give_up(
            f"no etcd to look at: parameter ETCDS is empty and no pod matches ETCD_SELECTORS ({'; '.join(selectors)})"
        )
    return sorted(found)


def check_backups(etcds: list[str]) -> list[str]:
    """Problems of each etcd's backups; also measures valid ones."""
    directory = Path(text("BACKUP_DIR", "/backups"))
    pattern = text("PATTERN", "{etcd}/*")
    rules = Rules(timedelta(hours=number("MAX_AGE_HOURS", 25)), number("SHRINK_PERCENT", 50))
    if "{etcd}" not in pattern or pattern.startswith("/"):
        give_up(f"parameter PATTERN={pattern!r}: expected a path below BACKUP_DIR with {{etcd}} in it")
    if not directory.is_dir():
        give_up(f"parameter BACKUP_DIR={str(directory)!r}: there is no such directory: is the volume mounted?")
    now = datetime.now(UTC)
    wrong, ages, covered = [], [], 0
    for etcd in etcds:
        try:
            verdict = judge(etcd, find(directory, pattern, etcd), rules, now, read_snapshot)
        except OSError as error:
            give_up(f"backups of etcd {etcd} cannot be listed: {error}")
        wrong += verdict.problems
        covered += not verdict.problems
        if verdict.newest:
            ages.append((now - verdict.newest) / timedelta(hours=1))
    measure("etcds", len(etcds))
    measure("etcds_covered", covered)
    if ages:
        measure("oldest_backup_hours", round(max(ages), 2))
    return wrong


def check_standbys(standbys: list[Standby]) -> list[str]:
    """Problems of the standby of each etcd that must have one."""
    rules = standby.Rules(
        int(number("STANDBY_LAG", 100)),
        number("CATCH_UP_TIMEOUT", 5),
        text("MIRROR_KEY", "/registry/leases/kube-system/kube-controller-manager"),
    )
    secure = any(url.startswith("https:") for one in standbys for url in (one.primary, one.mirror))
    tls = client_tls(Path(text("CERT_DIR", "/etc/kubeprobe/etcd"))) if secure else None

    def open_endpoint(url: str) -> Endpoint:
        return Endpoint(url, tls, rules.seconds)

    wrong, worst = [], 0
    for one in standbys:
        try:
            found, lag = standby.check(one, rules, open_endpoint)
        except EtcdError as error:
            give_up_if_denied(error, f"range {rules.mirror_key}")
            found, lag = [f"etcd {one.etcd}: {error}"], 0
        wrong += found
        worst = max(worst, lag)
    measure("standbys", len(standbys))
    measure("standby_lag", worst)
    return wrong


def check_coverage(etcds: list[str], standbys: list[Standby]) -> list[str]:
    """The etcds without a known standby."""
    wrong = standby.uncovered(etcds, standbys)
    measure("etcds_without_standby", len(wrong))
    return wrong


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
    with step("etcds"):
        etcds = expected()
    with step("backups"):
        wrong = check_backups(etcds)
    if required:
        wrong += check_coverage(etcds, standbys)
    if standbys:
        with step("standbys"):
            wrong += check_standbys(standbys)
    if wrong:
        report_failure(wrong)
