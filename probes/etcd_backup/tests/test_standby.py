"""Standbys that keep up, in real etcd clusters; those that do not are faults of the scenario."""

import threading

import pytest

from probes._etcd import Endpoint
from probes.etcd_backup import standby
from probes.etcd_backup.standby import Rules, Standby
from tests.probes.etcds import etcd_cluster, own_tls
from tests.probes.scenario import Bed

pytestmark = pytest.mark.real

RULES = Rules(lag=0, seconds=10, mirror_key="heartbeat")


def test_a_learner_that_keeps_up_is_no_problem(bed: Bed) -> None:
    instance = bed.testbed.instance

    def ask(url: str) -> Endpoint:
        return Endpoint(url, own_tls(instance), 10)

    with etcd_cluster(instance, bed.tmp, 1) as cluster:
        cluster.add_learner()
        cluster.put("heartbeat", "1")
        url = cluster.members[0].url
        with ask(url) as primary:
            assert standby.check_learners(Standby("main", url), primary, RULES, ask) == ([], 0)


def test_a_mirror_that_follows_a_little_later_is_no_problem(bed: Bed) -> None:
    instance, tls = bed.testbed.instance, own_tls(bed.testbed.instance)
    with (
        etcd_cluster(instance, bed.tmp, 1) as first,
        etcd_cluster(instance, bed.tmp, 1, first_port=23890) as second,
    ):
        second.put("heartbeat", "1")
        first.put("heartbeat", "2")
        later = threading.Timer(1, second.put, ("heartbeat", "2"))
        later.start()
        pair = Standby("main", first.members[0].url, second.members[0].url)
        with Endpoint(pair.primary, tls, 10) as primary, Endpoint(pair.mirror, tls, 10) as mirror:
            assert standby.check_mirror(pair, primary, mirror, RULES) == []
        later.join(10)


def test_a_key_that_is_not_there_compares_nothing_and_says_so(bed: Bed) -> None:
    instance, tls = bed.testbed.instance, own_tls(bed.testbed.instance)
    with etcd_cluster(instance, bed.tmp, 1) as cluster:
        url = cluster.members[0].url
        with Endpoint(url, tls, 10) as primary, Endpoint(url, tls, 10) as mirror:
            [problem] = standby.check_mirror(Standby("main", url, url), primary, mirror, RULES)
    assert problem == "etcd main: the key heartbeat (MIRROR_KEY) is not there, so nothing can be compared"
