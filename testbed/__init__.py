"""A real Kubernetes 1.34 on this machine, in a network namespace of its own, for the end-to-end tests.

Rooms, in the order `up` walks through them: `packages` (Debian's), `binaries` (built with Go, cached),
`images` (built from Dockerfiles, cached), `network`, `pki`, `configuration`, `components` (the processes)
and `cluster`, which puts them together. `python -m testbed` is the door for people, `Testbed` the one for tests.
"""

from testbed.cluster import Testbed
from testbed.instance import Instance, TestbedError

__all__ = ["Instance", "Testbed", "TestbedError"]
