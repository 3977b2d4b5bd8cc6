"""Samples of nodes, slot after slot, in which every node comes up within one round. Pure.

As in consistent hashing, the nodes are on a ring, each at the hash of its name, and every slot takes those that follow
the last one taken. So nodes may join and leave: a new one is taken when its position comes up. A counter of slots would
jump to other nodes whenever the number of nodes changes.
"""

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b


def next_sample(nodes: Iterable[str], case: str, cursor: str, size: int) -> tuple[list[str], str]:
    """The `size` nodes (at most all) after `cursor`, and the cursor of the next sample.

    Each case has its own ring, so that the cases of a binding do not all run on the same nodes. The first cursor is
    empty.
    """
    ring = sorted((ring_position(case, node), node) for node in nodes)
    if not ring:
        return [], cursor
    start = bisect_right(ring, cursor, key=lambda positioned: positioned[0])
    taken = [ring[(start + step) % len(ring)] for step in range(min(size, len(ring)))]
    return [node for _, node in taken], taken[-1][0]


@lru_cache(maxsize=100_000)
def ring_position(case: str, name: str) -> str:
    """A position on a case's ring: 16 hexadecimal digits."""
    return blake2b(f"{case}/{name}".encode(), digest_size=8).hexdigest()
