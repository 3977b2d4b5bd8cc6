"""Samples of nodes, slot after slot, so that every node has its turn. Pure.

The nodes lie on a ring, each at the hash of its name, and every slot takes those that follow the last one taken. So a
node is seen again after one round at the latest, whatever joins or leaves meanwhile: a newcomer is met at its place,
one that left is passed over. A counter of slots would jump to another node whenever the number of nodes changes.
"""

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b


def next_sample(nodes: Iterable[str], case: str, cursor: str, size: int) -> tuple[list[str], str]:
    """The `size` nodes (at most all) whose turn it is after `cursor`, and the cursor of the next sample.

    Each case has a ring of its own, so that the cases of a binding do not all meet on the same nodes. The first
    cursor is empty.
    """
    ring = sorted((place_of(case, node), node) for node in nodes)
    if not ring:
        return [], cursor
    start = bisect_right(ring, cursor, key=lambda placed: placed[0])
    taken = [ring[(start + step) % len(ring)] for step in range(min(size, len(ring)))]
    return [node for _, node in taken], taken[-1][0]


@lru_cache(maxsize=100_000)
def place_of(case: str, name: str) -> str:
    """A place on a case's ring: 16 hexadecimal digits."""
    return blake2b(f"{case}/{name}".encode(), digest_size=8).hexdigest()
