"""Clusters in the store: added, replaced, listed, cordoned, removed; invalid input changes nothing."""

from datetime import datetime, timedelta

import pytest
from cryptography.fernet import Fernet
from sqlmodel import select

from kubeprobe.errors import InvalidInputError, NotFoundError
from kubeprobe.fleet import breaker, clusters
from kubeprobe.fleet.clusters import ClusterRegistration
from kubeprobe.fleet.credentials import Cipher, Connection, ConnectionKind, in_cluster
from kubeprobe.fleet.selectors import parse_selector
from kubeprobe.store import Cluster, Schedule, Store

CIPHER = Cipher(Fernet.generate_key().decode())
SECRET = Connection(ConnectionKind.KUBECONFIG, {"token": "s3cret"})


def add(store: Store, now: datetime, *specs: ClusterRegistration) -> None:
    with store.writing() as session:
        for spec in specs:
            clusters.add(session, spec, in_cluster(), CIPHER, now)


def names(store: Store, selector: str = "") -> list[str]:
    with store.reading() as session:
        return [cluster.name for cluster in clusters.find(session, parse_selector(selector))]


def read(store: Store, name: str) -> Cluster:
    with store.reading() as session:
        return clusters.get(session, name)


def test_a_cluster_is_added_with_its_values_and_encrypted_credentials(store: Store, now: datetime) -> None:
    spec = ClusterRegistration("prod-1", {"region": "eu"}, pool="edge", namespace="probes", max_in_flight=3)
    with store.writing() as session:
        clusters.add(session, spec, SECRET, CIPHER, now)
    found = read(store, "prod-1")
    assert (found.labels, found.pool, found.namespace, found.max_in_flight) == ({"region": "eu"}, "edge", "probes", 3)
    assert (found.connection_kind, found.connection_version, found.created_at) == ("kubeconfig", 1, now)
    assert b"s3cret" not in found.connection
    assert CIPHER.open(found.connection) == SECRET


def test_adding_a_name_again_says_how_to_replace_it_and_changes_nothing(store: Store, now: datetime) -> None:
    add(store, now, ClusterRegistration("prod-1", {"region": "eu"}))
    with pytest.raises(InvalidInputError, match=r"'prod-1' already exists; .* --replace"):
        add(store, now, ClusterRegistration("prod-1", {"region": "us"}))
    assert read(store, "prod-1").labels == {"region": "eu"}


def test_replacing_increments_the_version_and_keeps_the_maintenance_state(store: Store, now: datetime) -> None:
    add(store, now, ClusterRegistration("prod-1", {"region": "eu"}))
    with store.writing() as session:
        found = clusters.cordon(session, "prod-1", "upgrade", now)
        breaker.trip(session, found, now)
    with store.writing() as session:
        spec = ClusterRegistration("prod-1", {"region": "us"})
        clusters.add(session, spec, SECRET, CIPHER, now + timedelta(days=1), replace=True)
    found = read(store, "prod-1")
    assert (found.connection_version, found.connection_kind, found.labels) == (2, "kubeconfig", {"region": "us"})
    assert (found.cordon_reason, found.created_at) == ("upgrade", now)
    assert (found.failures, found.open_until) == (0, None), "what failed was the old connection"


def test_all_problems_are_one_error_and_nothing_is_added(store: Store, now: datetime) -> None:
    spec = ClusterRegistration("Prod_1", {"region": "e u", "-a": "b"}, pool="", namespace="Probes", max_in_flight=0)
    with pytest.raises(InvalidInputError) as caught:
        add(store, now, spec)
    for part in ("name: 'Prod_1'", "pool: ''", "namespace: 'Probes'", "max_in_flight: 0", "'e u'", "label key '-a'"):
        assert part in str(caught.value)
    assert names(store) == []


def test_clusters_are_listed_by_label_in_the_order_of_their_names(store: Store, now: datetime) -> None:
    specs = [("b", "eu", "1"), ("a", "eu", "2"), ("c", "us", "1")]
    add(store, now, *(ClusterRegistration(name, {"region": region, "wave": wave}) for name, region, wave in specs))
    assert names(store) == ["a", "b", "c"]
    assert names(store, "region=eu") == ["a", "b"]
    assert names(store, "region=eu,wave in (1)") == ["b"]
    assert names(store, "!region") == []


def test_the_error_of_an_unknown_name_suggests_the_nearest(store: Store, now: datetime) -> None:
    add(store, now, ClusterRegistration("prod-1"), ClusterRegistration("staging"))
    with pytest.raises(NotFoundError, match=r"no cluster 'prod1'\. Did you mean 'prod-1'\?"):
        read(store, "prod1")


def test_a_repeated_cordon_keeps_the_first_time_and_sets_the_reason(store: Store, now: datetime) -> None:
    add(store, now, ClusterRegistration("prod-1"))
    with store.writing() as session:
        found = clusters.cordon(session, "prod-1", "upgrade", now)
        clusters.cordon(session, "prod-1", "upgrade, second try", now + timedelta(hours=1))
    found = read(store, "prod-1")
    assert (found.cordoned_at, found.cordon_reason) == (now, "upgrade, second try")
    with store.writing() as session:
        clusters.uncordon(session, "prod-1")
    found = read(store, "prod-1")
    assert (found.cordoned_at, found.cordon_reason) == (None, "")


def test_labels_are_replaced_completely_or_not_at_all(store: Store, now: datetime) -> None:
    add(store, now, ClusterRegistration("prod-1", {"region": "eu", "wave": "1"}))
    with store.writing() as session:
        clusters.set_labels(session, "prod-1", {"region": "us"})
    with pytest.raises(InvalidInputError, match="label value 'u s'"), store.writing() as session:
        clusters.set_labels(session, "prod-1", {"region": "u s"})
    assert read(store, "prod-1").labels == {"region": "us"}


def test_removing_a_cluster_removes_its_schedules_and_no_other(store: Store, now: datetime) -> None:
    add(store, now, ClusterRegistration("a"), ClusterRegistration("b"))
    with store.writing() as session:
        for name in ("a", "b"):
            session.add(Schedule(binding="x", case="y", cluster=name, pool="default", every_s=60, next_due=now))
    with store.writing() as session:
        clusters.remove(session, "a")
    assert names(store) == ["b"]
    with store.reading() as session:
        assert list(session.exec(select(Schedule.cluster)).all()) == ["b"]
    with pytest.raises(NotFoundError), store.writing() as session:
        clusters.remove(session, "a")
