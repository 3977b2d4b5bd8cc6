"""Finds the database in a backup's file: as it is, compressed, or in an archive. The content decides, not the name."""

import bz2
import errno
import gzip
import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")

UNPACKED_LIMIT = 32 << 30
"""Bytes; etcd warns beyond a quota of 8 GiB."""
_HEAD = 512
_DEEPEST = 4  # formats inside each other: a database in a tar in a gzip
_DATABASE = struct.pack("<I", 0xED0CDAED)  # the magic number of bbolt's first meta page, behind the page's header
_DATABASE_AT = 16
_ENTRIES = 100_000  # of an archive

_MAGIC = (  # https://www.rfc-editor.org/rfc/rfc1952, RFC 8878, APPNOTE.TXT of PKWARE, the formats' own specifications
    (0, b"\x1f\x8b", "gzip"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),  # an empty one
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"BZh", "bzip2"),
    *((0, bytes((0x78, level)), "zlib") for level in (0x01, 0x5E, 0x9C, 0xDA)),  # RFC 1950, section 2.2: four levels
    (257, b"ustar", "tar"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (0, b"age-encryption.org/", "age-encrypted"),
    (0, b"Salted__", "OpenSSL-encrypted"),
    (0, b"-----BEGIN PGP MESSAGE-----", "PGP-encrypted"),
)
KNOWN = "a database of etcd, alone or in gzip, zip, tar, zstd, xz, bzip2, zlib"

_DAMAGED = (
    OSError,
    EOFError,
    MemoryError,
    ValueError,
    OverflowError,
    IndexError,
    NotImplementedError,  # compression methods of zip
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)


class SnapshotError(Exception):
    """The file is not a restorable snapshot; the text is the cause."""


class SnapshotUnchecked(SnapshotError):  # noqa: N818
    """The file may be good, but cannot be read here: its format, the permissions, or the space to unpack it."""


class NotASnapshot(SnapshotError):  # noqa: N818
    """An archive of other things: a neighbour of the backups."""


def format_of(head: bytes) -> str:
    """The format by a file's first 512 bytes; empty if it is none of the known ones."""
    if is_database(head):
        return "database"
    return next((name for at, magic, name in _MAGIC if head[at : at + len(magic)] == magic), "")


def is_database(head: bytes) -> bool:
    """Whether it begins with a meta page of bbolt."""
    return head[_DATABASE_AT : _DATABASE_AT + len(_DATABASE)] == _DATABASE


@contextmanager
def open_database(path: Path) -> Iterator[IO[bytes]]:
    """The file, or the unpacked database in it as a temporary file. Raises SnapshotError."""
    with ExitStack() as stack:
        try:
            file: IO[bytes] = stack.enter_context(path.open("rb"))
        except PermissionError as error:
            raise SnapshotUnchecked(f"it cannot be read: {error.strerror}") from error
        for _level in range(_DEEPEST):
            name = format_of(_head(file))
            if name in ("", "database"):
                yield file
                return
            file = stack.enter_context(_unpacked(file, name))
        raise SnapshotError(f"more than {_DEEPEST} formats are inside each other")


def _head(file: IO[bytes]) -> bytes:
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    return head


@contextmanager
def _unpacked(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    unpack = _UNPACK.get(name)
    if unpack is None:
        raise SnapshotUnchecked(f"its format is {name}, expected {KNOWN}")
    with tempfile.TemporaryFile() as target:
        try:
            unpack(file, target)
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise SnapshotUnchecked(f"no space to unpack it in {tempfile.gettempdir()}") from error
            reason = str(error)[:200] or type(error).__name__
            raise SnapshotError(f"it cannot be read: its {name} data is incomplete or damaged: {reason}") from error
        target.flush()
        yield target


def _copy(read: Callable[[int], bytes], target: IO[bytes]) -> None:
    left = UNPACKED_LIMIT
    while piece := read(1 << 20):
        left -= len(piece)
        if left < 0:
            raise SnapshotUnchecked(f"it has more than {UNPACKED_LIMIT} bytes when unpacked")
        target.write(piece)


def _gzip(file: IO[bytes], target: IO[bytes]) -> None:
    with gzip.open(file) as source:
        _copy(source.read, target)


def _xz(file: IO[bytes], target: IO[bytes]) -> None:
    with lzma.open(file) as source:
        _copy(source.read, target)


def _bzip2(file: IO[bytes], target: IO[bytes]) -> None:
    with bz2.open(file) as source:
        _copy(source.read, target)


def _zlib(file: IO[bytes], target: IO[bytes]) -> None:
    unpacker = zlib.decompressobj()
    while not unpacker.eof:
        piece = unpacker.unconsumed_tail or file.read(1 << 16)
        if not piece:
            raise EOFError("its end is missing")
        target.write(unpacker.decompress(piece, 1 << 20))
        if target.tell() > UNPACKED_LIMIT:
            raise SnapshotUnchecked(f"it has more than {UNPACKED_LIMIT} bytes when unpacked")


def _zstd(file: IO[bytes], target: IO[bytes]) -> None:
    try:
        from compression import zstd  # type: ignore[import-not-found] # noqa: PLC0415 (Python 3.14 and later)
    except ImportError as error:
        raise SnapshotUnchecked("its format is zstd, which needs Python 3.14 to be unpacked") from error
    try:
        with zstd.open(file) as source:
            _copy(source.read, target)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from error


def _zip(file: IO[bytes], target: IO[bytes]) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()][:_ENTRIES]
        if any(entry.flag_bits & 1 for entry in entries):
            raise SnapshotUnchecked("its zip archive is encrypted")

        def head_of(entry: zipfile.ZipInfo) -> bytes:
            with archive.open(entry) as content:
                return content.read(_HEAD)

        entry = _choose(entries, [entry.filename for entry in entries], head_of)
        with archive.open(entry) as source:
            _copy(source.read, target)


def _tar(file: IO[bytes], target: IO[bytes]) -> None:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        entries = [entry for entry, _number in zip(archive, range(_ENTRIES), strict=False) if entry.isreg()]

        def open_entry(entry: tarfile.TarInfo) -> IO[bytes]:
            content = archive.extractfile(entry)
            if content is None:
                raise ValueError(f"{entry.name} has no content")
            return content

        entry = _choose(entries, [entry.name for entry in entries], lambda entry: open_entry(entry).read(_HEAD))
        with open_entry(entry) as source:
            _copy(source.read, target)
        if target.tell() < entry.size:
            raise EOFError(f"{entry.name} is incomplete")


def _choose(entries: list[T], names: list[str], head_of: Callable[[T], bytes]) -> T:
    """The entry with the database, or the only one, damaged as it may be. Raises NotASnapshot."""
    found = next((entry for entry in entries if is_database(head_of(entry))), None)
    if found is not None:
        return found
    if len(entries) == 1:
        return entries[0]
    listed = ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")
    raise NotASnapshot(f"its archive has no database of etcd: {listed or 'it is empty'}")


_UNPACK: dict[str, Callable[[IO[bytes], IO[bytes]], None]] = {
    "gzip": _gzip,
    "xz": _xz,
    "bzip2": _bzip2,
    "zlib": _zlib,
    "zstd": _zstd,
    "zip": _zip,
    "tar": _tar,
}
