"""The official Kubernetes client for a cluster, for people in a Python shell: typed, blocking, complete.

KubeProbe itself uses `fleet.api`: its hot paths need raw JSON and one event loop, and its promises need time limits
and named errors, which the official loader lacks (exec plugins have neither there).
"""

from typing import Any

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.access import impersonation_headers
from kubeprobe.fleet.credentials import Cipher, Connection, ConnectionKind
from kubeprobe.fleet.kubeconfig import read_user
from kubeprobe.store import Cluster


def official_client(cluster: Cluster, cipher: Cipher) -> Any:
    """A `kubernetes.client.ApiClient` of the cluster, with a configuration of its own (failure mode 19)."""
    # It takes a second to import, and only this needs it.
    from kubernetes import client, config  # noqa: PLC0415

    connection: Connection = cipher.open(cluster.connection)
    if connection.kind is ConnectionKind.IN_CLUSTER:
        configuration = client.Configuration()
        config.load_incluster_config(client_configuration=configuration)
        return client.ApiClient(configuration)
    if connection.kind is ConnectionKind.LOCAL:
        return config.new_client_from_config(connection.config["path"], persist_config=False)
    made = config.new_client_from_config_dict(connection.config, persist_config=False)
    headers = impersonation_headers(read_user(connection.config))
    if len(dict(headers)) < len(headers):
        raise InvalidInputError(
            f"cluster {cluster.name!r}: the official client cannot impersonate several groups or extras of one name; "
            "use a connection without them"
        )
    for name, value in headers:
        made.set_default_header(name, value)
    return made
