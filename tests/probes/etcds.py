"""Etcd clusters besides the test bed's own, whose members can be killed, paused, cut off and filled.

They are processes of the test bed's `etcd`, in its network namespace, with its certificates.
"""

import base64
import json
import secrets
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probes._etcd import Endpoint, EtcdError, encoded
from testbed import Instance, binaries, cgroups, pki
from testbed.instance import NODE_ADDRESS
from tests.harness.wait import until
from tests.probes.paths import NAMESPACE
from tests.probes.scenario import Bed

Json = dict[str, Any]
CLIENT_SECRET = "kubeprobe-etcd-client"
FIRST_PORT = 23790
_GROUP = 70_000  # the group id of member 0, by which a partition identifies a member; the next member's is one more
_TABLE = "kubeprobe-test-partition"


@dataclass
class Member:
    """One member's process and address."""

    name: str
    port: int
    group: int
    arguments: list[str]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"https://{NODE_ADDRESS}:{self.port}"

    @property
    def peer_port(self) -> int:
        return self.port + 1


class EtcdCluster:
    """A running etcd cluster."""

    def __init__(self, instance: Instance, folder: Path, options: tuple[str, ...] = (), first_port: int = FIRST_PORT):
        self._instance = instance
        self._folder = folder
        self._options = options
        self._first_port = first_port
        self._tls = own_tls(instance)
        self.members: list[Member] = []

    @property
    def endpoints(self) -> str:
        """The value of the parameter ENDPOINTS."""
        return ",".join(member.url for member in self.members)

    def begin(self, size: int) -> None:
        """Start a new cluster of `size` members and wait until it has a leader."""
        keys, token = pki.directory(self._instance), secrets.token_hex(4)
        ports = [self._first_port + 2 * number for number in range(size)]
        names = [f"etcd-{number + 1}" for number in range(size)]
        peers = [f"http://{NODE_ADDRESS}:{port + 1}" for port in ports]
        initial_cluster = ",".join(f"{name}={peer}" for name, peer in zip(names, peers, strict=True))
        for number, (name, port, peer) in enumerate(zip(names, ports, peers, strict=True)):
            arguments = [
                f"--initial-cluster={initial_cluster}",
                f"--initial-cluster-token={token}",
                *self._arguments(keys, name, port, peer),
            ]
            self.members.append(Member(name, port, _GROUP + number, arguments))
        for member in self.members:
            self.start(member)
        for member in self.members:
            until(f"{member.name} to have a leader", lambda member=member: self.status(member).get("leader"), 90)

    def add_learner(self) -> Member:
        """Add a learner, start it, and wait until it has caught up."""
        port = self._first_port + 2 * len(self.members)
        name, peer = f"etcd-{len(self.members) + 1}", f"http://{NODE_ADDRESS}:{port + 1}"
        self.post(self.members[0], "cluster/member/add", {"peerURLs": [peer], "isLearner": True})
        known = [f"{member.name}=http://{NODE_ADDRESS}:{member.peer_port}" for member in self.members]
        arguments = [
            f"--initial-cluster={','.join([*known, f'{name}={peer}'])}",
            "--initial-cluster-state=existing",
            *self._arguments(pki.directory(self._instance), name, port, peer),
        ]
        learner = Member(name, port, _GROUP + len(self.members), arguments)
        self.members.append(learner)
        self.start(learner)
        until(f"{name} to have a leader", lambda: self.status(learner).get("leader"), 90)
        return learner

    def _arguments(self, keys: Path, name: str, port: int, peer: str) -> list[str]:
        url = f"https://{NODE_ADDRESS}:{port}"
        return [
            f"--name={name}",
            f"--data-dir={self._folder / name}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            "--client-cert-auth",
            f"--trusted-ca-file={keys / 'ca.crt'}",
            f"--cert-file={keys / 'etcd.crt'}",
            f"--key-file={keys / 'etcd.key'}",
            "--log-level=warn",
            "--unsafe-no-fsync",
            *self._options,
        ]

    def start(self, member: Member) -> None:
        """Start a member's process."""
        program = [str(binaries.kubernetes() / "etcd"), *member.arguments]
        with (self._folder / f"{member.name}.log").open("ab") as log:
            member.process = subprocess.Popen(
                cgroups.within(self._instance, self._instance.in_namespace(program)),
                stdout=log,
                stderr=log,
                group=member.group,
            )

    def kill(self, member: Member) -> None:
        """Kill a member."""
        if member.process is not None:
            member.process.kill()
            member.process.wait(10)
            member.process = None

    def pause(self, member: Member) -> None:
        """Suspend a member: it keeps its connections and answers nothing."""
        assert member.process is not None
        member.process.send_signal(signal.SIGSTOP)

    def cut_off(self, member: Member) -> None:
        """Drop all packets between a member and the others; clients still reach it."""
        others = ", ".join(str(other.peer_port) for other in self.members if other is not member)
        rules = f"""table inet {_TABLE} {{
            chain out {{
                type filter hook output priority 0;
                meta skgid {member.group} tcp dport {{ {others} }} drop
                tcp dport {member.peer_port} drop
            }}
        }}"""
        command = self._instance.in_namespace(["nft", "-f", "-"])
        subprocess.run(command, input=rules, text=True, check=True, capture_output=True)

    def reconnect(self) -> None:
        """End the partition."""
        command = self._instance.in_namespace(["nft", "delete", "table", "inet", _TABLE])
        subprocess.run(command, check=False, capture_output=True)

    def close(self) -> None:
        """Stop all members."""
        self.reconnect()
        for member in self.members:
            self.kill(member)

    def post(self, member: Member, path: str, body: Json | None = None) -> Json:
        """Send a request to a member's gateway."""
        with Endpoint(member.url, self._tls, 10) as endpoint:
            return endpoint.post(path, body)

    def status(self, member: Member) -> Json:
        """A member's status; empty while it does not respond."""
        with suppress(EtcdError):
            return self.post(member, "maintenance/status")
        return {}

    def put(self, key: str, value: str | bytes) -> None:
        """Write through the first member."""
        self.post(self.members[0], "kv/put", {"key": encoded(key), "value": encoded(value)})

    def snapshot(self, file: Path) -> None:
        """Save a snapshot of the first member."""
        save_snapshot(self._instance, self.members[0].url, file)


def save_snapshot(instance: Instance, url: str, file: Path) -> None:
    """Save a snapshot of an etcd as `etcdctl snapshot save` does: the stream, followed by its SHA-256."""
    with (
        file.open("wb") as saved,
        Endpoint(url, own_tls(instance), 30) as endpoint,
        endpoint.stream("maintenance/snapshot", {}) as chunks,
    ):
        for chunk in chunks:
            saved.write(base64.b64decode(chunk.get("blob", "")))


def apply_client_secret(bed: Bed) -> None:
    """Create the Secret with a client certificate for etcd. It is kept: both etcd probes mount it."""
    keys = pki.directory(bed.testbed.instance)
    files = [(keys / name).read_bytes() for name in ("ca.crt", "etcd.crt", "etcd.key")]
    bed.kubectl("apply", "-f", "-", stdin=client_secret(*files))


def own_tls(instance: Instance) -> ssl.SSLContext:
    """TLS with etcd's own certificate."""
    keys = pki.directory(instance)
    tls = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    tls.load_cert_chain(keys / "etcd.crt", keys / "etcd.key")
    return tls


def client_secret(authority: bytes, certificate: bytes, key: bytes) -> str:
    """A Secret with an etcd client's certificate, for `kubectl apply`."""
    data = {"ca.crt": authority, "tls.crt": certificate, "tls.key": key}
    encoded_data = {file: base64.b64encode(content).decode() for file, content in data.items()}
    metadata = {"name": CLIENT_SECRET, "namespace": NAMESPACE}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded_data})


@contextmanager
def etcd_cluster(
    instance: Instance, folder: Path, size: int = 3, *options: str, first_port: int = FIRST_PORT
) -> Iterator[EtcdCluster]:
    """A running cluster of `size` members, with its data in its own directory in `folder`."""
    own = folder / f"etcd-{secrets.token_hex(4)}"
    own.mkdir(parents=True)
    cluster = EtcdCluster(instance, own, options, first_port)
    try:
        cluster.begin(size)
        yield cluster
    finally:
        cluster.close()
