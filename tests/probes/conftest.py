"""What the probes' tests share: certificates made to order, an API that answers by script, and both clusters."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CLIENT = REPOSITORY / "clients" / "python"
if str(CLIENT) not in sys.path:  # the package is installed in images only
    sys.path.insert(0, str(CLIENT))
