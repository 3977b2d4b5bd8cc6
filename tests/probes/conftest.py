"""Shared by the probes' tests: the client library on the path, and the real cluster."""

import sys

from tests.probes.fixtures import bed
from tests.probes.paths import CLIENT

__all__ = ["bed"]

if str(CLIENT) not in sys.path:  # the package is only installed in images
    sys.path.insert(0, str(CLIENT))
