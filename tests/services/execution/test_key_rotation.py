"""A rotation of the secret key reaches the connections that execution keeps: of locations, of clients, of leases."""

from datetime import datetime

import pytest
from cryptography.fernet import Fernet
from sqlmodel import select

from kubeprobe.execution.collect.leases import Leases
from kubeprobe.execution.launch import Launcher
from kubeprobe.fleet.api import ClusterClients
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.fleet.sealed import renew_sealed
from kubeprobe.settings import Settings
from kubeprobe.store import PodLocation
from tests.services.execution.apiserver import OddApi
from tests.services.execution.given import ExecutionWorld

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture
def cipher() -> Cipher:
    return Cipher(OLD)


def rotate(world: ExecutionWorld) -> None:
    with world.store.writing() as session:
        session.delete(session.merge(world.find_cluster("prod-1")))  # it has no connection
    renew_sealed(world.store, Cipher(f"{NEW},{OLD}").keys.read)


def test_the_connection_of_a_location_is_encrypted_with_the_new_key(
    world: ExecutionWorld, launcher: Launcher, api: OddApi
) -> None:
    world.reach("there", api.url)
    world.run("r1", cluster="there")
    launcher.launch("there", ["r1"])
    rotate(world)
    with world.store.reading() as session:
        [location] = session.exec(select(PodLocation)).all()
    assert Cipher(NEW).open(location.connection).config["clusters"][0]["cluster"]["server"] == api.url


async def test_a_collector_that_runs_on_uses_the_connection_with_the_new_key(
    world: ExecutionWorld, settings: Settings, now: datetime
) -> None:
    world.reach("there", "http://there")
    leases, clients = Leases(world.store, "a", settings), ClusterClients(Cipher(NEW))
    [before] = [cluster for cluster in leases.renew(now) if cluster.name == "there"]
    api = await clients.get(before)
    rotate(world)
    [after] = [cluster for cluster in leases.renew(now) if cluster.name == "there"]
    assert after.connection != before.connection
    assert await clients.get(after) is api, "its watches go on"
    access = await api._transport._source.current()
    assert access.server == "http://there"
    await clients.close()
