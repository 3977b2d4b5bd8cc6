"""Leftovers of a killed etcd-crud expire with its lease, in a real etcd."""

import pytest

from probes._etcd import Endpoint, encoded, prefix_end
from probes.etcd_crud.crud import Crud
from tests.harness.wait import until
from tests.probes.etcds import EtcdCluster, etcd_cluster, own_tls
from tests.probes.scenario import Bed

pytestmark = pytest.mark.real

PREFIX = "/kubeprobe/01killed/"


class Killed(BaseException):
    """The probe ends here, without cleanup."""


class KilledCrud(Crud):
    """A probe that is killed after its write."""

    def clean_up(self) -> None:
        """Never called."""

    def _expect(self, value: str) -> dict[str, str]:
        raise Killed(value)


def keys(cluster: EtcdCluster) -> int:
    request = {"key": encoded(PREFIX), "range_end": encoded(prefix_end(PREFIX)), "count_only": True}
    return int(cluster.post(cluster.members[0], "kv/range", request).get("count", 0))


def test_a_key_expires_with_its_lease_when_the_probe_is_killed(bed: Bed) -> None:
    with (
        etcd_cluster(bed.testbed.instance, bed.tmp, 1) as cluster,
        Endpoint(cluster.endpoints, own_tls(bed.testbed.instance), 10) as endpoint,
    ):
        with pytest.raises(Killed):
            KilledCrud(endpoint, PREFIX, 5).run()
        assert keys(cluster) == 1
        until("etcd to delete the key", lambda: keys(cluster) == 0, 60)


def test_a_complete_run_leaves_no_key(bed: Bed) -> None:
    with (
        etcd_cluster(bed.testbed.instance, bed.tmp, 1) as cluster,
        Endpoint(cluster.endpoints, own_tls(bed.testbed.instance), 10) as endpoint,
    ):
        Crud(endpoint, PREFIX, 60).run()
        assert keys(cluster) == 0
        leases = cluster.post(cluster.members[0], "lease/leases")
    assert leases.get("leases", []) == []
