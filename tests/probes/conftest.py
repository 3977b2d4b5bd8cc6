"""What the probes' tests share: the client library on the path, and the real cluster."""

import sys

from tests.probes.fixtures import bed
from tests.probes.places import CLIENT

__all__ = ["bed"]

if str(CLIENT) not in sys.path:  # the package is installed in images only
    sys.path.insert(0, str(CLIENT))
