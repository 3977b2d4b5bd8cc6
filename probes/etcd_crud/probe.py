"""Writes to etcd as the API server does, and checks the status of every member.

Parameters: ENDPOINTS, CERT_DIR, REQUEST_TIMEOUT, MEMBER_TIMEOUT, CATCH_UP_TIMEOUT, REVISION_LAG, DB_WARN_PERCENT,
KEY_PREFIX (README.md).
"""

import secrets
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubeprobe_client import CheckFailed, give_up, main, measure, report_failure, run, step

from probes._etcd import CERTIFICATE, Endpoint, EtcdError, client_tls, give_up_if_denied, revision, wait_for_revision
from probes._parameters import number, text, words
from probes.etcd_crud.crud import Crud
from probes.etcd_crud.members import Member, lagging, problems, read_status

Json = dict[str, Any]
LEASE_SECONDS = 60


@dataclass(frozen=True)
class Settings:
    """The case's parameters; times in seconds."""

    endpoints: list[str]
    tls: ssl.SSLContext | None
    certificates: Path
    request_timeout: float
    member_timeout: float
    catch_up: float
    lag: float
    warn_percent: float
    prefix: str

    @classmethod
    def from_environment(cls, run_id: str) -> "Settings":
        """The parameters; an invalid one ends the run as unknown."""
        endpoints = [word.rstrip("/") for word in words("ENDPOINTS")]
        for endpoint in endpoints:
            if not endpoint.startswith(("https://", "http://")):
                give_up(f"parameter ENDPOINTS: {endpoint!r}: expected a URL such as https://10.0.0.1:2379")
        if not endpoints:
            give_up("parameter ENDPOINTS is missing: expected etcd's client URLs, such as https://10.0.0.1:2379")
        certificates = Path(text("CERT_DIR", "/etc/kubeprobe/etcd"))
        secure = any(endpoint.startswith("https:") for endpoint in endpoints)
        return cls(
            endpoints=endpoints,
            tls=client_tls(certificates) if secure else None,
            certificates=certificates,
            request_timeout=number("REQUEST_TIMEOUT", 10),
            member_timeout=number("MEMBER_TIMEOUT", 3),
            catch_up=number("CATCH_UP_TIMEOUT", 5),
            lag=number("REVISION_LAG", 0),
            warn_percent=number("DB_WARN_PERCENT", 80),
            prefix=f"{text('KEY_PREFIX', '/kubeprobe').rstrip('/')}/{run_id or secrets.token_hex(8)}/",
        )

    def open_endpoint(self, url: str) -> Endpoint:
        """A member's gateway, for requests about that member."""
        return Endpoint(url, self.tls, self.member_timeout)


class Cluster:
    """The members of one etcd cluster and their status."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._statuses: dict[int, tuple[str, Json]] = {}
        self._errors: dict[str, str] = {}
        self.names: dict[int, str] = {}
        self.members: list[Member] = []

    def load(self) -> None:
        """Get the list of members from the endpoints, and the status of each. Raises CheckFailed if none answers."""
        for url in self._settings.endpoints:
            self._fetch_status(url)
        if not self._statuses:
            raise CheckFailed(*self._errors.values(), *client_certificate_trouble(self._settings))
        if len({status["header"].get("cluster_id") for _url, status in self._statuses.values()}) > 1:
            give_up("parameter ENDPOINTS: expected members of one etcd cluster, got several: create a case for each")
        listed = self._list()
        self.names = {int(member["ID"]): member.get("name") or f"{int(member['ID']):x}" for member in listed}
        self.members = [self._member(int(member["ID"]), member.get("clientURLs") or []) for member in listed]

    def answering(self) -> list[Member]:
        """The members whose status is known."""
        return [member for member in self.members if not member.problem]

    def _fetch_status(self, url: str) -> None:
        try:
            with self._settings.open_endpoint(url) as endpoint:
                status = endpoint.post("maintenance/status")
                if "dbSizeQuota" not in status:
                    status["dbSizeQuota"] = endpoint.metric("etcd_server_quota_backend_bytes") or 0
        except EtcdError as error:
            give_up_if_denied(error, "maintenance/status")
            self._errors[url] = str(error)
            return
        self._statuses[int(status["header"]["member_id"])] = (url, status)

    def _list(self) -> list[Json]:
        url = next(iter(self._statuses.values()))[0]
        with self._settings.open_endpoint(url) as endpoint:
            # Not linearizable, so that it also works without a quorum.
            found: list[Json] = endpoint.post("cluster/member/list", {"linearizable": False})["members"]
        return found

    def _member(self, member: int, urls: list[str]) -> Member:
        for url in urls:
            if member not in self._statuses and url not in self._errors:
                self._fetch_status(url)
        if member in self._statuses:
            url, status = self._statuses[member]
            return read_status(self.names[member], url, status, None)
        problem = next((self._errors[url] for url in urls if url in self._errors), "")
        if not urls:
            problem = "has never started: the member list has no client URL of it"
        return Member(
            self.names[member], urls[0] if urls else "no URL", problem or "another member answers at its address"
        )


def client_certificate_trouble(settings: Settings) -> list[str]:
    """Why etcd may refuse the client certificate: its validity dates."""
    if settings.tls is None:
        return []
    from cryptography import x509  # noqa: PLC0415 (takes 60 ms, and only a failure needs it)

    certificate = x509.load_pem_x509_certificate((settings.certificates / CERTIFICATE).read_bytes())
    now = datetime.now(UTC)
    name = f"client certificate {settings.certificates / CERTIFICATE} ({certificate.subject.rfc4514_string()})"
    if certificate.not_valid_after_utc < now:
        return [f"{name} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M UTC}"]
    if certificate.not_valid_before_utc > now:
        return [f"{name} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M UTC}"]
    return []


def write(settings: Settings, url: str) -> int:
    """Run the operations of a client; returns the last write's revision, 0 without one. Steps report errors."""
    with Endpoint(url, settings.tls, settings.request_timeout) as endpoint:
        crud = Crud(endpoint, settings.prefix, LEASE_SECONDS)
        try:
            crud.run()
        except EtcdError as error:
            give_up_if_denied(error, f"put {settings.prefix}")
            return 0
        except CheckFailed:
            return 0
        finally:
            crud.clean_up()
    return crud.written


def compare_revisions(settings: Settings, members: list[Member], written: int) -> list[str]:
    """Members that do not receive the write in time."""
    reached = []
    for member in members:
        try:
            with settings.open_endpoint(member.url) as endpoint:
                reached.append((member, wait_for_revision(endpoint, written - int(settings.lag), settings.catch_up)))
        except EtcdError as error:
            return [f"{member.label}: {error}"]
    measure("revision_lag", max((written - revision_of_member for _member, revision_of_member in reached), default=0))
    return lagging(reached, written, int(settings.lag), settings.catch_up)


def highest_revision(settings: Settings, members: list[Member]) -> int:
    """The highest revision of all members, if nothing could be written."""
    found = [0]
    for member in members:
        with settings.open_endpoint(member.url) as endpoint:
            found.append(revision(endpoint.post("maintenance/status")))
    return max(found)


@main
def probe() -> None:
    """Check the members, write, wait for the write on every member; then report all problems."""
    settings = Settings.from_environment(run().id)
    cluster = Cluster(settings)
    with step("members"):
        cluster.load()
    answering = cluster.answering()
    wrong = problems(cluster.members, cluster.names, settings.warn_percent)
    measure("members", len(cluster.members))
    measure("members_answering", len(answering))
    measure("db_use_percent", round(max(member.use for member in answering), 1))
    measure("db_size_bytes", max(member.db_size for member in answering))
    # A voter with a leader, as a client with a list of endpoints would use.
    voters = sorted((m for m in answering if not m.learner), key=lambda member: not member.leader)
    target = (voters or answering)[0].url
    written = write(settings, target)
    with step("revisions"):
        wrong += compare_revisions(settings, answering, written or highest_revision(settings, answering))
    if wrong:
        report_failure(wrong)
