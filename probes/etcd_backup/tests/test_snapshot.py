"""Reading a real snapshot of fifty keys, saved by the maintenance API of etcd 3.6.4."""

import bz2
import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from probes.etcd_backup.formats import NotASnapshot, SnapshotError, SnapshotUnchecked
from probes.etcd_backup.snapshot import read_snapshot

REAL = Path(__file__).parent / "data" / "snapshot.db.gz"
PAGE = 4096


@pytest.fixture
def whole() -> bytes:
    """The snapshot's bytes, followed by its SHA-256."""
    return gzip.decompress(REAL.read_bytes())


def why_not(tmp_path: Path, content: bytes) -> str:
    file = tmp_path / "snapshot.db"
    file.write_bytes(content)
    with pytest.raises(SnapshotError) as caught:
        read_snapshot(file)
    return str(caught.value)


def test_a_complete_snapshot_has_revision_and_size(tmp_path: Path, whole: bytes) -> None:
    file = tmp_path / "snapshot.db"
    file.write_bytes(whole)
    read = read_snapshot(file)
    assert (read.size, read.hashed, read.revision, read.entries) == (len(whole) - 32, True, 51, 50)


def test_a_compressed_snapshot_is_unpacked() -> None:
    assert read_snapshot(REAL).entries == 50


def test_a_copy_of_the_database_itself_has_no_hash(tmp_path: Path, whole: bytes) -> None:
    file = tmp_path / "snapshot.db"
    file.write_bytes(whole[:-32])
    assert not read_snapshot(file).hashed
    assert read_snapshot(file).entries == 50


@pytest.mark.parametrize("at", [100, 3 * PAGE + 77, 9 * PAGE + 1])
def test_a_single_changed_bit_is_found(tmp_path: Path, whole: bytes, at: int) -> None:
    changed = bytearray(whole)
    changed[at] ^= 1
    assert why_not(tmp_path, bytes(changed))


def test_a_changed_value_is_found_by_the_hash_alone(tmp_path: Path, whole: bytes) -> None:
    assert why_not(tmp_path, whole.replace(b"value", b"vague")).startswith("its SHA-256 differs")


def test_a_valid_hash_does_not_hide_invalid_pages(tmp_path: Path, whole: bytes) -> None:
    """Damaged before it was hashed: the disk of the etcd itself."""
    damaged = whole[: 2 * PAGE] + bytes(len(whole) - 32 - 2 * PAGE)
    assert "is damaged" in why_not(tmp_path, damaged + hashlib.sha256(damaged).digest())


@pytest.mark.parametrize("length", [0, 100, PAGE, 3 * PAGE, 5 * PAGE + 32, -PAGE, -1])
def test_a_truncated_snapshot_is_reported(tmp_path: Path, whole: bytes, length: int) -> None:
    problem = why_not(tmp_path, whole[:length])
    assert "cut off" in problem or "too few" in problem


def test_a_truncated_compressed_snapshot_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "snapshot.db.gz"
    file.write_bytes(REAL.read_bytes()[:-100])
    with pytest.raises(SnapshotError, match="it cannot be read: its gzip data is incomplete"):
        read_snapshot(file)


def test_the_second_meta_page_is_used_if_the_first_is_damaged(tmp_path: Path, whole: bytes) -> None:
    file = tmp_path / "snapshot.db"
    file.write_bytes(bytes(PAGE) + whole[PAGE:-32])
    assert read_snapshot(file).revision >= 1
    assert "neither of its meta pages" in why_not(tmp_path, bytes(2 * PAGE) + whole[2 * PAGE : -32])


def test_a_tree_with_a_cycle_ends(tmp_path: Path, whole: bytes) -> None:
    """A branch page that points to itself."""
    root = max(struct.unpack_from("<Q", whole, start + 32)[0] for start in (0, PAGE))
    circle = struct.pack("<QHHI", root, 0x01, 1, 0) + struct.pack("<IIQ", 16, 0, root)
    at = root * PAGE
    assert "is damaged" in why_not(tmp_path, whole[:at] + circle + whole[at + len(circle) : -32])


def test_a_page_with_two_parents_is_read_once(tmp_path: Path, whole: bytes) -> None:
    """Branch pages that point to the same page many times, level by level, would take longer than the file is large."""
    changed = bytearray(whole[:-32])
    root = max(struct.unpack_from("<Q", whole, start + 32)[0] for start in (0, PAGE))
    pages = [root, *(number for number in range(2, len(changed) // PAGE) if number != root)]
    for number, child in pairwise(pages):
        header = struct.pack("<QHHI", number, 0x01, 200, 0)
        changed[number * PAGE : number * PAGE + len(header)] = header
        for index in range(200):
            struct.pack_into("<IIQ", changed, number * PAGE + 16 + 16 * index, 0, 0, child)
    assert "is damaged" in why_not(tmp_path, bytes(changed))


def test_another_programs_database_is_refused(tmp_path: Path, whole: bytes) -> None:
    assert "the bucket `key` is missing" in why_not(tmp_path, whole[:-32].replace(b"key", b"kez"))


def zipped(**files: bytes) -> bytes:
    """As K3s and RKE2 do with `etcd-snapshot-compress`: one file, deflated."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def tarred(**files: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


PACK = {
    "zip": lambda whole: zipped(**{"etcd-snapshot-server-1-1764086405": whole}),
    "zip with more": lambda whole: zipped(**{"manifest.json": b"{}", "backup/snapshot": whole}),
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    **{f"zlib of level {level}": partial(zlib.compress, level=level) for level in (0, 1, 5, 6, 9)},
    "tar": lambda whole: tarred(**{"db/": b"", "db/snapshot.db": whole}),
    "tar.gz": lambda whole: gzip.compress(tarred(**{"info.yaml": b"a: b", "snapshot.db": whole})),
    "tar.xz": lambda whole: lzma.compress(tarred(**{"snapshot.db": whole})),
}


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("name", ["etcd-snapshot-server-1-1764086405", "snapshot.db", "snapshot.db.gz"])
def test_a_known_format_is_unpacked_whatever_its_name(tmp_path: Path, whole: bytes, kind: str, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(PACK[kind](whole))
    read = read_snapshot(file)
    assert (read.size, read.hashed, read.revision, read.entries) == (len(whole) - 32, True, 51, 50)


@pytest.mark.parametrize("kind", PACK)
def test_an_incomplete_packed_snapshot_is_invalid(tmp_path: Path, whole: bytes, kind: str) -> None:
    packed = PACK[kind](whole)
    for length in (len(packed) // 2, len(packed) - len(packed) // 4):
        problem = why_not(tmp_path, packed[:length])
        assert "incomplete or damaged" in problem or "is cut off" in problem


@pytest.mark.parametrize("kind", PACK)
def test_a_damaged_database_is_found_in_every_format(tmp_path: Path, whole: bytes, kind: str) -> None:
    assert why_not(tmp_path, PACK[kind](whole.replace(b"value", b"vague"))).startswith("its SHA-256 differs")


def test_a_single_file_in_an_archive_is_the_snapshot_even_if_it_is_damaged(tmp_path: Path, whole: bytes) -> None:
    assert "neither of its meta pages" in why_not(tmp_path, zipped(snapshot=bytes(2 * PAGE) + whole[2 * PAGE :]))


@pytest.mark.parametrize("archive", [zipped, tarred])
def test_an_archive_without_a_database_is_not_a_snapshot(tmp_path: Path, archive: Callable[..., bytes]) -> None:
    file = tmp_path / "static_kuberesources_2026-11-25_170005.tar.gz"
    file.write_bytes(gzip.compress(archive(a=b"x", b=b"y", c=b"", d=b"z")))
    with pytest.raises(NotASnapshot, match=r"its archive has no database of etcd: a, b, c, and 1 more$"):
        read_snapshot(file)


def encrypted_zip(whole: bytes) -> bytes:
    packed = bytearray(zipped(snapshot=whole))
    for header, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.rindex(header) + flags_at] |= 1
    return bytes(packed)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x04\x22\x4d\x18" + bytes(9000), "its format is lz4, expected a database of etcd, alone or in gzip, zip"),
        (b"age-encryption.org/v1\n" + bytes(9000), "its format is age-encrypted"),
        (b"Salted__" + bytes(9000), "its format is OpenSSL-encrypted"),
    ],
)
def test_a_known_format_that_cannot_be_read_is_named_and_not_invalid(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(SnapshotUnchecked, match=problem):
        read_snapshot(tmp_path / "a")


def test_an_encrypted_archive_is_named_and_not_invalid(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "a").write_bytes(encrypted_zip(whole))
    with pytest.raises(SnapshotUnchecked, match="its zip archive is encrypted"):
        read_snapshot(tmp_path / "a")


def test_zstd_is_unpacked_or_named(tmp_path: Path, whole: bytes) -> None:
    """The standard library has it since Python 3.14."""
    file = tmp_path / "a.zst"
    try:
        from compression import zstd  # noqa: PLC0415
    except ImportError:
        file.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(9000))
        with pytest.raises(SnapshotUnchecked, match=r"its format is zstd, which needs Python 3\.14 to be unpacked"):
            read_snapshot(file)
    else:
        file.write_bytes(zstd.compress(whole))
        assert read_snapshot(file).entries == 50


def test_an_unknown_format_is_named_by_its_first_bytes(tmp_path: Path) -> None:
    problem = why_not(tmp_path, b"unknown!" + bytes(16 * PAGE - 8))
    assert "It begins 75 6e 6b 6e 6f 77 6e 21, expected a database of etcd, alone or in gzip, zip" in problem


def test_formats_inside_each_other_are_bounded(tmp_path: Path, whole: bytes) -> None:
    for _level in range(5):
        whole = gzip.compress(whole)
    assert "more than 4 formats are inside each other" in why_not(tmp_path, whole)
