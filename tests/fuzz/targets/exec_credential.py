"""The output of exec plugins."""

from kubeprobe.fleet.execplugin import PluginError, read_credentials

_VERSION = "client.authentication.k8s.io/v1"
SEEDS = (
    (
        b'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t", '
        b'"expirationTimestamp": "2026-11-30T12:00:00Z"}}'
    ),
    (
        b'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": '
        b'{"clientCertificateData": "c", "clientKeyData": "k"}}'
    ),
    b"apiVersion: client.authentication.k8s.io/v1\nstatus: {token: t, expirationTimestamp: 2026-11-30T12:00:00Z}\n",
)


def fuzz(data: bytes) -> None:
    """The documented error, or credentials that can be sent."""
    try:
        found = read_credentials(data, "p", _VERSION)
    except PluginError:
        return
    assert found.token or (found.certificate and found.key)
    assert found.expires_at is None or found.expires_at.tzinfo
    assert "\n" not in (found.token or "")
