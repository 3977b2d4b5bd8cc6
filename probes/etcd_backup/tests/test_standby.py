"""Standbys that keep up, in real etcd clusters; lagging ones are faults of the scenario."""

import threading

import pytest

from probes._etcd import Endpoint
from probes.etcd_backup import standby
from probes.etcd_backup.standby import OpenEndpoint, Rules, Standby
from tests.probes.etcds import etcd_cluster, own_tls
from tests.probes.scenario import Bed

pytestmark = pytest.mark.real

RULES = Rules(lag=0, seconds=10, mirror_key="heartbeat")


@pytest.fixture
def open_endpoint(bed: Bed) -> OpenEndpoint:
    tls = own_tls(bed.testbed.instance)
    return lambda url: Endpoint(url, tls, 10)


def test_a_learner_that_keeps_up_is_not_a_problem(bed: Bed, open_endpoint: OpenEndpoint) -> None:
    with etcd_cluster(bed.testbed.instance, bed.tmp, 1) as cluster:
        cluster.add_learner()
        cluster.put("heartbeat", "1")
        assert standby.check(Standby("main", cluster.members[0].url), RULES, open_endpoint) == ([], 0)


def test_a_mirror_that_follows_a_little_later_is_not_a_problem(bed: Bed, open_endpoint: OpenEndpoint) -> None:
    with (
        etcd_cluster(bed.testbed.instance, bed.tmp, 1) as first,
        etcd_cluster(bed.testbed.instance, bed.tmp, 1, first_port=23890) as second,
    ):
        second.put("heartbeat", "1")
        first.put("heartbeat", "2")
        later = threading.Timer(1, second.put, ("heartbeat", "2"))
        later.start()
        pair = Standby("main", first.members[0].url, second.members[0].url)
        assert standby.check(pair, RULES, open_endpoint) == ([], 0)
        later.join(10)


def test_a_missing_mirror_key_is_reported(bed: Bed, open_endpoint: OpenEndpoint) -> None:
    with etcd_cluster(bed.testbed.instance, bed.tmp, 1) as cluster:
        url = cluster.members[0].url
        [problem], _ = standby.check(Standby("main", url, url), RULES, open_endpoint)
    assert problem == "etcd main: the key heartbeat (MIRROR_KEY) does not exist, so nothing can be compared"
