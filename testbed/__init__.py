"""A real Kubernetes 1.34 on this machine, in a network namespace of its own, for the end-to-end tests.

Modules, in the order in which `up` uses them: `packages` (Debian's), `binaries` (built with Go, cached),
`images` (built from Dockerfiles, cached), `network`, `pki`, `configuration`, `components` (the processes)
and `cluster`, which combines them. `python -m testbed` is the command line, `Testbed` the class for tests.
"""

from testbed.cluster import Testbed
from testbed.instance import Instance, TestbedError

__all__ = ["Instance", "Testbed", "TestbedError"]
