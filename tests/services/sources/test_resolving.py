"""Links of a commit lead where the file system's would, whatever leads to whatever."""

import os
import tempfile
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from kubeprobe.sources.listing import BrokenLinkError, Item, Listing

NAMES = st.sampled_from(["a", "b", "c"])
PARTS = st.one_of(NAMES, st.sampled_from(["..", ".", ""]))
TARGETS = st.lists(PARTS, min_size=1, max_size=5).map("/".join).filter(lambda text: text and not text.startswith("/"))
CONTENTS = st.recursive(
    st.one_of(st.just(b"a file"), TARGETS), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)
FOLDERS = st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=3)


def write(folder: Path, contents: dict[str, Any], root: Path, listing: Listing) -> None:
    items = cast("dict[str, Item]", listing.items)
    for name, content in contents.items():
        place = folder / name
        path = place.relative_to(root).as_posix()
        if isinstance(content, dict):
            place.mkdir()
            items[path] = Item("040000", path, 0, path)
            write(place, content, root, listing)
        elif isinstance(content, bytes):
            place.write_bytes(content)
            items[path] = Item("100644", path, len(content), path)
        else:
            place.symlink_to(content)
            items[path] = Item("120000", path, len(content), path)
            listing._targets[path] = content


def on_disk(root: Path, path: str) -> str | None:
    """Where a path leads within the repository, according to the kernel; None if nowhere."""
    try:
        os.stat(root / path)  # noqa: PTH116 - with its limit of links
        real = os.path.realpath(root / path, strict=True)
    except OSError:
        return None
    return os.path.relpath(real, root)


@given(FOLDERS)
def test_links_lead_where_those_of_the_file_system_do(contents: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(os.path.realpath(name)) / "repository"
        root.mkdir()
        listing = Listing(cast("Any", None), cast("Any", None), {}, {})
        write(root, contents, root, listing)
        for path, found in listing.resolve(list(listing.items)).items():
            expected = on_disk(root, path)
            if isinstance(found, Item):
                assert found.path == expected
            else:
                assert isinstance(found, BrokenLinkError)
                assert expected in {None, "."} or "leads out of the repository" in str(found)
