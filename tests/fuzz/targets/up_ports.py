"""The ports of the last `kubeprobe up`, in its data directory."""

from kubeprobe.up.ports import USUAL, parse_ports

SEEDS = (b'{"broker":6379,"flower":5555,"cluster":6443,"web":8080}', b'{"web":0}', b'{"web":', b"[]")


def fuzz(data: bytes) -> None:
    """Only ports of known processes are kept."""
    found = parse_ports(data)
    assert found.keys() <= USUAL.keys()
    assert all(0 < port < 2**16 for port in found.values())
