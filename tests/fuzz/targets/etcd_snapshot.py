"""A backup of etcd: a database, compressed, or in an archive."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from probes.etcd_backup.formats import SnapshotError
from probes.etcd_backup.names import is_backup, time_in
from probes.etcd_backup.snapshot import read_snapshot

PAGE = 512
CHANGED = (
    datetime(2026, 11, 25, 16, 0, 5, tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
)
"""When the file was changed."""
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


def _meta(number: int, root: int, pages: int) -> bytes:
    fields = struct.pack("<IIIIQQQQQ", 0xED0CDAED, 2, PAGE, 0, root, 0, 2, pages, number)
    checksum = _FNV_OFFSET
    for byte in fields:
        checksum = (checksum ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return (struct.pack("<QHHI", number, 4, 1, 0) + fields + struct.pack("<Q", checksum)).ljust(PAGE, b"\0")


def database() -> bytes:
    """The smallest one with the bucket `key`: two meta pages, a free list, and a leaf with an inline bucket."""
    inner = struct.pack("<QQ", 0, 0) + struct.pack("<QHHI", 0, 2, 1, 0) + struct.pack("<IIII", 0, 16, 17, 1)
    bucket = inner + struct.pack(">Q", 7) + b"_" + bytes(8) + b"v"
    leaf = struct.pack("<QHHI", 3, 2, 1, 0) + struct.pack("<IIII", 1, 16, 3, len(bucket)) + b"key" + bucket
    free = struct.pack("<QHHI", 2, 0x10, 0, 0).ljust(PAGE, b"\0")
    return _meta(0, 3, 4) + _meta(1, 3, 4) + free + leaf.ljust(PAGE, b"\0")


def _zip(content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("snapshot", content)
    return target.getvalue()


def _tar(content: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        entry = tarfile.TarInfo("snapshot.db")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


_DATABASE = database()
SEEDS = (
    _DATABASE,
    *(pack(_DATABASE) for pack in (gzip.compress, bz2.compress, lzma.compress, zlib.compress, _zip)),
    gzip.compress(_tar(_DATABASE)),
    b"etcd-2026-11-25T17-00-05+0100.db",
    b"etcd-2026-11-25_17-00-00_CST.db",
)


def fuzz(data: bytes) -> None:
    """Neither a file's content nor its name raises anything else, and a valid one has entries."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with suppress(SnapshotError):
            assert read_snapshot(Path(file.name)).entries >= 0
    name = data[:255].decode(errors="replace").replace("\0", "")
    is_backup(name)
    for changed in CHANGED:
        time_in(name, changed)
