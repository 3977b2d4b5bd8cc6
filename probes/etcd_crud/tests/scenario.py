"""etcd-crud on a real cluster: the test bed's own etcd is healthy; faults are injected into separate clusters."""

from collections.abc import Iterator
from contextlib import contextmanager

from probes._etcd import EtcdError
from testbed import pki
from testbed.instance import NODE_ADDRESS
from tests.harness.wait import until
from tests.probes.certificates import Authority, expiring_certificate
from tests.probes.etcds import apply_client_secret, client_secret, etcd_cluster
from tests.probes.scenario import Bed, Fault

SMALL_QUOTA = "--quota-backend-bytes=20000000"
RESOURCE_EXHAUSTED = 8
"""gRPC's code, here for `database space exceeded`."""


@contextmanager
def healthy(bed: Bed) -> Iterator[dict[str, str]]:
    apply_client_secret(bed)
    yield {"ENDPOINTS": f"https://{NODE_ADDRESS}:2379"}


@contextmanager
def member_killed(bed: Bed) -> Iterator[dict[str, str]]:
    with etcd_cluster(bed.testbed.instance, bed.tmp) as cluster:
        cluster.kill(cluster.members[1])
        yield {"ENDPOINTS": cluster.endpoints}


@contextmanager
def member_paused(bed: Bed) -> Iterator[dict[str, str]]:
    with etcd_cluster(bed.testbed.instance, bed.tmp) as cluster:
        cluster.pause(cluster.members[1])
        # Only the first is given: the probe must find the others in the member list.
        yield {"ENDPOINTS": cluster.members[0].url}


@contextmanager
def member_cut_off(bed: Bed) -> Iterator[dict[str, str]]:
    with etcd_cluster(bed.testbed.instance, bed.tmp) as cluster:
        isolated = cluster.members[2]
        cluster.cut_off(isolated)
        until("the isolated member to lose its leader", lambda: not cluster.status(isolated).get("leader"), 20)
        until("the others to have a leader", lambda: cluster.status(cluster.members[0]).get("leader"), 20)
        yield {"ENDPOINTS": cluster.endpoints}


@contextmanager
def quorum_lost(bed: Bed) -> Iterator[dict[str, str]]:
    with etcd_cluster(bed.testbed.instance, bed.tmp) as cluster:
        for member in cluster.members[1:]:
            cluster.kill(member)
        until("the last member to lose its leader", lambda: not cluster.status(cluster.members[0]).get("leader"), 20)
        yield {"ENDPOINTS": cluster.endpoints}


@contextmanager
def quota_used_up(bed: Bed) -> Iterator[dict[str, str]]:
    with etcd_cluster(bed.testbed.instance, bed.tmp, 1, SMALL_QUOTA) as cluster:

        def full() -> bool:
            try:
                cluster.put("fill", b"x" * 1_000_000)
            except EtcdError as error:
                return error.code == RESOURCE_EXHAUSTED
            return False

        until("the quota to be used up", full, 30)
        yield {"ENDPOINTS": cluster.endpoints}


@contextmanager
def quota_nearly_used_up(bed: Bed) -> Iterator[dict[str, str]]:
    with etcd_cluster(bed.testbed.instance, bed.tmp, 1, SMALL_QUOTA) as cluster:

        def nearly_full() -> bool:
            cluster.put("fill", b"x" * 200_000)
            return int(cluster.status(cluster.members[0]).get("dbSize", 0)) > 13_000_000

        until("the quota to be nearly used up", nearly_full, 30)
        yield {"ENDPOINTS": cluster.endpoints}


@contextmanager
def data_corrupt(bed: Bed) -> Iterator[dict[str, str]]:
    with etcd_cluster(bed.testbed.instance, bed.tmp, 1) as cluster:
        member = cluster.status(cluster.members[0])["header"]["member_id"]
        alarm = {"action": "ACTIVATE", "memberID": member, "alarm": "CORRUPT"}
        cluster.post(cluster.members[0], "maintenance/alarm", alarm)
        yield {"ENDPOINTS": cluster.endpoints}


@contextmanager
def client_certificate_expired(bed: Bed) -> Iterator[dict[str, str]]:
    keys = pki.directory(bed.testbed.instance)
    authority = Authority.read(keys / "ca.crt", keys / "ca.key")
    expired = authority.issue(("etcd-client",), -1, "etcd-client")
    bed.kubectl("apply", "-f", "-", stdin=client_secret(authority.pem, *expired))
    try:
        yield {}
    finally:
        apply_client_secret(bed)


@contextmanager
def wrong_authority(bed: Bed) -> Iterator[dict[str, str]]:
    keys = pki.directory(bed.testbed.instance)
    other_authority, _ = expiring_certificate(30, "another authority")
    certificate, key = (keys / "etcd.crt").read_bytes(), (keys / "etcd.key").read_bytes()
    bed.kubectl("apply", "-f", "-", stdin=client_secret(other_authority, certificate, key))
    try:
        yield {}
    finally:
        apply_client_secret(bed)


FAULTS = [
    Fault(
        "a member of etcd is killed",
        member_killed,
        says=r"member etcd-2 \(https://\S+\): no answer from .*refused",
    ),
    Fault(
        "a member of etcd is paused",
        member_paused,
        says=r"member etcd-2 \(https://\S+\): no answer from \S+ within 1 s",
        parameters={"MEMBER_TIMEOUT": "1"},
    ),
    Fault(
        "a member of etcd is cut off from the others",
        member_cut_off,
        says=r"member etcd-3 \(https://\S+\): (has no leader|is at revision \d+, \d+ revisions behind)",
        parameters={"CATCH_UP_TIMEOUT": "1"},
    ),
    Fault("etcd has lost its quorum", quorum_lost, says=r"member etcd-1 \(https://\S+\): has no leader"),
    Fault("etcd's quota is used up", quota_used_up, says=r"alarm NOSPACE of member etcd-1"),
    Fault(
        "etcd's quota is nearly used up",
        quota_nearly_used_up,
        says=r"^member etcd-1 \(\S+\): database is \S+ MB, \d\d % of its quota of 19\.1 MB",
        parameters={"DB_WARN_PERCENT": "60"},
    ),
    Fault("etcd's data is corrupt", data_corrupt, says=r"alarm CORRUPT of member etcd-1"),
    Fault(
        "etcd's client certificate has expired",
        client_certificate_expired,
        says=r"client certificate \S+ \(CN=etcd-client\) expired on",
    ),
    Fault("etcd's certificate is not trusted", wrong_authority, says=r"the server's certificate is not trusted"),
]
