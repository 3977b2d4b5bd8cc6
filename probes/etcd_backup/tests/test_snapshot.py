"""Reading a real snapshot of fifty keys, saved by the maintenance API of etcd 3.6.4."""

import gzip
import hashlib
import struct
from pathlib import Path

import pytest

from probes.etcd_backup.snapshot import SnapshotError, read_snapshot

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
    with pytest.raises(SnapshotError, match="cannot be read"):
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


def test_another_programs_database_is_refused(tmp_path: Path, whole: bytes) -> None:
    assert "the bucket `key` is missing" in why_not(tmp_path, whole[:-32].replace(b"key", b"kez"))
