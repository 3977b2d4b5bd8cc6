"""Reads a snapshot of etcd: whether it is complete, and its content.

A snapshot is a bbolt database, followed (by `etcdctl snapshot save`) by its SHA-256. The hash detects changed and lost
bytes. Copies of `member/snap/db` have none, so all reachable pages are read as well. The layout
is that of bbolt's file format version 2 (go.etcd.io/bbolt, `internal/common`: page, meta, bucket).
"""

import hashlib
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probes.etcd_backup.formats import KNOWN, SnapshotError, open_database

HASH_SIZE = 32
_SECTOR = 512  # a database is a multiple of it, so a remainder of HASH_SIZE is the hash
_MAGIC, _VERSION = 0xED0CDAED, 2
_HEADER = struct.Struct("<QHHI")  # id, flags, count, overflow
_META = struct.Struct(
    "<IIIIQQQQQQ"
)  # magic, version, page size, flags, root, sequence, freelist, high water, txid, sum
_CHECKED = 56  # bytes of a meta page covered by its checksum
_LEAF_ELEMENT = struct.Struct("<IIII")  # flags, position, key size, value size
_BRANCH_ELEMENT = struct.Struct("<IIQ")  # position, key size, page
_BUCKET = struct.Struct("<QQ")  # root page, sequence
_BRANCH, _LEAF, _META_PAGE = 0x01, 0x02, 0x04
_IS_BUCKET = 0x01
_DEEPEST = 64  # levels of a tree; etcd's have about 5
_BUCKETS = 1000  # etcd has about 12
_KEY_LIMIT = 64  # bytes that are read of a key
_SMALLEST_PAGE, _LARGEST_PAGE = 512, 65_536
_REVISION = struct.Struct(">Q")  # the first part of a key in the bucket `key`


@dataclass(frozen=True)
class Snapshot:
    """The content of a complete snapshot."""

    size: int
    """Bytes of the database."""
    hashed: bool
    """Whether it has its SHA-256 (which was verified)."""
    revision: int
    entries: int
    """Revisions of keys: at least as many as there are keys."""


@dataclass(frozen=True)
class _Page:
    number: int
    flags: int
    count: int
    start: int
    """The offset of its elements in the file."""
    end: int


def read_snapshot(path: Path) -> Snapshot:
    """Read and check a snapshot, in any of the known formats; raises SnapshotError."""
    try:
        with open_database(path) as file:
            size = file.seek(0, 2)
            if size < 2 * _SMALLEST_PAGE:
                raise SnapshotError(f"it has {size} bytes: too few for a database")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(data, size)
    except OSError as error:
        raise SnapshotError(f"it cannot be read: {error.strerror or error}") from error
    except struct.error as error:
        raise SnapshotError(f"it is cut off: {error}") from error


def _read(data: mmap.mmap, size: int) -> Snapshot:
    hashed = size % _SECTOR == HASH_SIZE
    if not hashed and size % _SECTOR:
        raise SnapshotError(f"it is cut off: {size} bytes are neither a database nor one with its SHA-256")
    end = size - HASH_SIZE if hashed else size
    tree = _Tree(data, end)  # first: "cut off at page N" is more specific than "the hash differs"
    if hashed:
        _check_hash(data, end)
    entries, last = tree.keys()
    return Snapshot(end, hashed, last, entries)


def _check_hash(data: mmap.mmap, end: int) -> None:
    total = hashlib.sha256()
    for start in range(0, end, 1 << 20):
        total.update(data[start : min(start + (1 << 20), end)])
    if total.digest() != data[end : end + HASH_SIZE]:
        raise SnapshotError("its SHA-256 differs from the one that was saved with it: bytes were changed or lost")


class _Tree:
    """The pages of a database reachable from its newest meta page; raises SnapshotError."""

    def __init__(self, data: mmap.mmap, end: int) -> None:
        self._data = data
        self._end = end
        self._page_size, self._root, high_water = self._newest_meta()
        if high_water * self._page_size > end:
            raise SnapshotError(
                f"it is cut off: {high_water} pages of {self._page_size} bytes expected, {end} bytes found"
            )
        self._read = bytearray((end // self._page_size >> 3) + 1)
        """A bit for each page that was read."""

    def keys(self) -> tuple[int, int]:
        """The number of entries in etcd's bucket `key`, and the revision of the last; reads the other buckets too."""
        found: tuple[int, int] | None = None
        buckets = 0
        for page in self._leaves(self._root):
            for key, value in self._buckets(page):
                buckets += 1
                if buckets > _BUCKETS:
                    raise SnapshotError(f"page {page.number} is damaged: more than {_BUCKETS} buckets")
                content = self._bucket(value)
                if key == b"key":
                    found = content
        if found is None:
            raise SnapshotError("it is not a database of etcd: the bucket `key` is missing")
        return found

    def _bucket(self, header: bytes) -> tuple[int, int]:
        root, _sequence = _BUCKET.unpack_from(header)
        if root == 0:  # a small bucket is stored inline in its parent's value
            _id, _flags, count, _overflow = _HEADER.unpack_from(header, _BUCKET.size)
            newest = self._inline_revision(header, count)
            return count, newest
        count, newest = 0, 0
        for page in self._leaves(root):
            count += page.count
            if page.count:
                key, _value = self._element(page, page.count - 1)
                newest = _REVISION.unpack_from(key)[0] if len(key) >= _REVISION.size else 0
        return count, newest

    def _inline_revision(self, header: bytes, count: int) -> int:
        if not count:
            return 0
        offset = _BUCKET.size + _HEADER.size + (count - 1) * _LEAF_ELEMENT.size
        _flags, position, key_size, _value_size = _LEAF_ELEMENT.unpack_from(header, offset)
        key = header[offset + position : offset + position + key_size]
        return int(_REVISION.unpack_from(key)[0]) if len(key) >= _REVISION.size else 0

    def _newest_meta(self) -> tuple[int, int, int]:
        """Page size, root page and high water mark of the valid meta page with the highest transaction."""
        found = []
        sizes = [1 << bits for bits in range(9, 17)]  # the second one is at an unknown page size
        for start in [0, *sizes]:
            meta = self._meta(start)
            if meta and start in (0, meta[0]):
                found.append(meta)
        if not found:
            begins = self._data[:8].hex(" ")
            raise SnapshotError(
                f"it is not a bbolt database: neither of its meta pages is valid. It begins {begins}, expected {KNOWN}"
            )
        page_size, root, high_water, _transaction = max(found, key=lambda meta: meta[3])
        return page_size, root, high_water

    def _meta(self, start: int) -> tuple[int, int, int, int] | None:
        offset = start + _HEADER.size
        if offset + _META.size > self._end:
            return None
        magic, version, page_size, _flags, root, _seq, _free, high_water, transaction, checksum = _META.unpack_from(
            self._data, offset
        )
        if (magic, version) != (_MAGIC, _VERSION) or not _SMALLEST_PAGE <= page_size <= _LARGEST_PAGE:
            return None
        if checksum != _fnv1a(self._data[offset : offset + _CHECKED]):
            return None
        return page_size, root, high_water, transaction

    def _page(self, number: int) -> _Page:
        offset = number * self._page_size
        if offset + self._page_size > self._end:
            raise SnapshotError(f"it is cut off: page {number} is beyond its end")
        found, flags, count, overflow = _HEADER.unpack_from(self._data, offset)
        end = offset + (overflow + 1) * self._page_size
        if found != number or flags not in (_BRANCH, _LEAF) or end > self._end:
            raise SnapshotError(f"page {number} is damaged: it is not the page that its parent points to")
        element = _LEAF_ELEMENT if flags == _LEAF else _BRANCH_ELEMENT
        if count * element.size > end - offset - _HEADER.size:
            raise SnapshotError(f"page {number} is damaged: it has no room for {count} entries")
        if self._read[number >> 3] & 1 << (number & 7):  # else the time to read it would not be linear in its size
            raise SnapshotError(f"page {number} is damaged: two pages point to it")
        self._read[number >> 3] |= 1 << (number & 7)
        return _Page(number, flags, count, offset + _HEADER.size, end)

    def _leaves(self, root: int, depth: int = 0) -> Iterator[_Page]:
        page = self._page(root)
        if page.flags == _LEAF:
            yield page
            return
        if depth > _DEEPEST:
            raise SnapshotError(f"page {root} is damaged: its tree has more than {_DEEPEST} levels")
        for index in range(page.count):
            offset = page.start + index * _BRANCH_ELEMENT.size
            _position, _key_size, child = _BRANCH_ELEMENT.unpack_from(self._data, offset)
            yield from self._leaves(child, depth + 1)

    def _buckets(self, page: _Page) -> Iterator[tuple[bytes, bytes]]:
        """Name and header of each bucket among the entries of a page."""
        for index in range(page.count):
            offset = page.start + index * _LEAF_ELEMENT.size
            if _LEAF_ELEMENT.unpack_from(self._data, offset)[0] & _IS_BUCKET:
                yield self._element(page, index)

    def _element(self, page: _Page, index: int) -> tuple[bytes, bytes]:
        """Key and value, as much of them as anything here needs: a small bucket in its parent is less than a page."""
        offset = page.start + index * _LEAF_ELEMENT.size
        _flags, position, key_size, value_size = _LEAF_ELEMENT.unpack_from(self._data, offset)
        key = offset + position
        value = key + key_size
        if value + value_size > page.end:
            raise SnapshotError(f"page {page.number} is damaged: an entry reaches beyond its end")
        key_end, value_end = min(value, key + _KEY_LIMIT), value + min(value_size, self._page_size)
        return self._data[key:key_end], self._data[value:value_end]


def _fnv1a(content: bytes) -> int:
    """FNV-1a, 64 bits: a meta page's checksum."""
    total = 0xCBF29CE484222325
    for byte in content:
        total = (total ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return total
