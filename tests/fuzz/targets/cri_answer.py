"""An answer of a container runtime: protobuf, with JSON inside."""

from contextlib import suppress

from probes._cri import parse_conditions, parse_network_namespace, parse_sandboxes

_CONDITION = b"\x0a\x0cRuntimeReady\x10\x01"
_INFO = b'{"runtimeSpec": {"linux": {"namespaces": [{"type": "network", "path": "/run/netns/a"}]}}}'
_ENTRY = b"\x0a\x04info\x12" + bytes([len(_INFO)]) + _INFO
SEEDS = (
    b"\x0a\x12\x0a\x10" + _CONDITION,
    b"\x0a\x0c\x0a\x01a\x12\x03\x0a\x01b\x18\x01\x20\x07",
    b"\x12" + bytes([len(_ENTRY)]) + _ENTRY,
)


def fuzz(data: bytes) -> None:
    for parse in (parse_conditions, parse_sandboxes, parse_network_namespace):
        with suppress(ValueError):
            parse(data)
