import json
import subprocess
import sys

import pytest
import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars
from structlog.testing import capture_logs

from workers.app import app, process_name

log = structlog.get_logger(__name__)

SCRIPT = """
import sys
import structlog
from kubeprobe.logs import configure_logs

configure_logs(sys.argv[1], process="launcher")
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
def test_a_traceback_contains_no_local_variables(form: str) -> None:
    output = _logged(form)
    assert "broken" in output
    assert "s3cret" not in output.replace('token = "s3cret"', "")


def test_json_logs_are_one_object_a_line() -> None:
    (line,) = _logged("json").splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["exception"][0]["exc_type"]) == ("it failed", "error", "ValueError")
    assert entry["process"] == "launcher"


@pytest.mark.parametrize(
    ("queues", "process"),
    [
        (["launch.eu", "request"], "launcher"),
        ("response,housekeeping", "responder"),
        (["request"], "launcher"),
        (None, "launcher"),
        (["housekeeping"], "responder"),
    ],
)
def test_a_worker_is_named_after_its_queues(queues: list[str] | str | None, process: str) -> None:
    assert process_name(queues) == process


def test_a_tasks_log_context_does_not_reach_the_next_task() -> None:
    structlog.reset_defaults()  # an earlier test may have run a command, which configures logs
    log = structlog.get_logger()

    @app.task(name="test.careless")
    def careless() -> None:
        bind_contextvars(run="r1", cluster="prod-1")
        log.warning("careless")

    @app.task(name="test.next")
    def following() -> None:
        log.warning("next")

    try:
        with capture_logs(processors=[merge_contextvars]) as lines:
            careless.apply(task_id="t1", throw=True)
            log.warning("between")
            following.apply(task_id="t2", throw=True)
    finally:
        del app.tasks["test.careless"], app.tasks["test.next"]
    assert [{k: v for k, v in line.items() if k != "log_level"} for line in lines] == [
        {"event": "careless", "task": "test.careless", "task_id": "t1", "run": "r1", "cluster": "prod-1"},
        {"event": "between"},
        {"event": "next", "task": "test.next", "task_id": "t2"},
    ]
