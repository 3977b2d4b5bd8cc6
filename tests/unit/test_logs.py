import json
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import structlog
from kubeprobe.logs import configure_logs

configure_logs(sys.argv[1])
token = "s3cret"
try:
    raise ValueError("broken")
except ValueError:
    structlog.get_logger().exception("it failed")
"""


def _logged(form: str) -> str:
    done = subprocess.run([sys.executable, "-c", SCRIPT, form], capture_output=True, text=True, check=True)
    return done.stderr


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_tells_no_local_variables(form: str) -> None:
    told = _logged(form)
    assert "broken" in told
    assert "s3cret" not in told.replace('token = "s3cret"', "")


def test_json_logs_are_one_object_a_line() -> None:
    (line,) = _logged("json").splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["exception"][0]["exc_type"]) == ("it failed", "error", "ValueError")
