"""The official client, opened with a cluster's stored connection."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography.fernet import Fernet
from kubernetes.client import CoreV1Api

from kubeprobe.fleet.credentials import Cipher, from_kubeconfig
from kubeprobe.fleet.official import official_client
from kubeprobe.store import Cluster


def test_it_reads_a_real_cluster_with_the_stored_connection(kubeconfig: Path) -> None:
    cipher = Cipher(Fernet.generate_key().decode())
    sealed = cipher.seal(from_kubeconfig(kubeconfig))
    row = Cluster(name="real", connection_kind="kubeconfig", connection=sealed, created_at=datetime.now(UTC))
    with official_client(row, cipher) as client:
        assert [node.metadata.name for node in CoreV1Api(client).list_node().items if node.metadata.name == "node"]
