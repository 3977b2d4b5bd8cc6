"""What probes, clusters, repositories and targets wrote cannot control the terminal of the one who reads it."""

import ast
import json
import logging
import re
import threading
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import col
from typer.testing import CliRunner

import kubeprobe
from kubeprobe.cli import app
from kubeprobe.clock import utc_now
from kubeprobe.logs import configure_logs
from kubeprobe.settings import Settings
from kubeprobe.store import (
    Alert,
    Cluster,
    Leftover,
    Notification,
    Outcome,
    ResponseError,
    Run,
    RunLog,
    Source,
    Standing,
    Store,
)
from kubeprobe.up import verdicts
from kubeprobe.up.ports import Ports
from kubeprobe.vocabulary import Verdict
from tests.services.cli.conftest import CommandLine
from tests.services.views.given import World

EVIL = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m\x9b2K\x90q\x9c \x08\x08\r\x7f\u202egnp.exe\u2066\u2028\u200f"
    " café \N{GRINNING FACE}"
)
SHOWN = r"\x1b]0;owned\x07"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


@pytest.fixture
def world(store: Store) -> World:
    return World(store, utc_now())


@pytest.fixture
def run_id(ready: CommandLine, world: World) -> str:
    """A run whose report, log, messages and leftovers are hostile, and all that follows from it."""
    found = world.run(Verdict.FAIL)
    report = {
        "ok": False,
        "errors": [EVIL, f"two\nlines {EVIL}"],
        "steps": [{"name": EVIL, "ok": False, "ms": 1}],
        "metrics": {EVIL: EVIL},
    }
    now = world.now
    with world.store.writing() as session:
        session.execute(update(Outcome).where(col(Outcome.run_id) == found).values(report=report, message=EVIL))
        session.execute(update(Run).where(col(Run.id) == found).values(parameters={"X": EVIL}, node=EVIL))
        session.execute(update(Cluster).values(labels={"region": "eu", "evil": EVIL}, sweep_trouble=EVIL))
        session.merge(RunLog(run_id=found, tail=f"{EVIL}\nsecond line\t{EVIL}\n", stored_at=now))
        standing = {"verdict": "fail", "since": now, "due_at": now, "run_id": found, "fails": 1}
        session.merge(Standing(cluster="prod-1", case="dns", **standing))
        alert = {"kind": "fail", "reason": "ReportedFailure", "message": EVIL, "opened_at": now}
        session.add(Alert(id="a", cluster="prod-1", case="dns", first_run_id=found, last_run_id=found, **alert))
        session.flush()
        target = {"event": "opened", "route": "team", "target": "chat", "payload": {}}
        session.add(Notification(id="n", alert_id="a", state="failed", last_error=EVIL, next_attempt_at=now, **target))
        aside = {"error": EVIL, "outcomes": 1, "since": now, "last_at": now, "run_id": found}
        session.add(ResponseError(cluster="prod-1", case="dns", **aside))
        leftover = {"resource": "pods", "namespace": "x", "name": EVIL, "found_at": now, "stuck": EVIL}
        session.add(Leftover(cluster="prod-1", uid="u", run_id=found, case="dns", **leftover))
        times = {"created_at": now, "next_sync": now, "error_since": now}
        source = {"url": "https://git.example.com/x", "branch": "main", "path": "", "every_s": 60}
        session.add(Source(name="shared", error=f"{EVIL}\n{EVIL}", **source, **times))
    return found


COMMANDS = [
    ("status",),
    ("status", "--nodes"),
    ("runs",),
    ("show", "RUN"),
    ("logs", "RUN"),
    ("cluster", "list"),
    ("cluster", "check", "prod-1"),
    ("doctor",),
    ("source", "list"),
    ("source", "show", "shared"),
    ("plan", "-f", "FILE"),
    ("apply", "-f", "FILE"),
    ("plan", "-f", "GOOD"),
    ("show", EVIL),
    ("run", "dns", "--cluster", EVIL),
]


def test_no_command_prints_a_control_character(ready: CommandLine, run_id: str, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.yaml", tmp_path / "good.yaml"
    case = {"apiVersion": "kubeprobe.io/v1", "kind": "ProbeCase", "metadata": {"name": "dns"}}
    spec = {"template": "dns", "kind": "blackbox"}
    bad.write_text(json.dumps({**case, "spec": {**spec, "severity": EVIL, EVIL: EVIL}}))
    good.write_text(json.dumps({**case, "spec": {**spec, "runbook": f"https://{EVIL}", "owner": EVIL}}))
    words = {"RUN": run_id, "FILE": str(bad), "GOOD": str(good)}
    for command in COMMANDS:
        result = CliRunner().invoke(app, [words.get(word, word) for word in command])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        printed = result.stdout + result.stderr
        assert printed.strip(), command
        assert CONTROLS.search(printed) is None, f"{command}: {printed!r}"
        if command[0] in {"show", "logs", "runs", "doctor"}:
            assert SHOWN in printed, command


def test_the_lines_of_a_log_are_kept(ready: CommandLine, run_id: str) -> None:
    lines = ready("logs", run_id).stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("second line\t\\x1b]0;")
    assert lines[1].endswith("café \N{GRINNING FACE}")


def test_json_holds_the_very_text_without_a_raw_control_character(ready: CommandLine, run_id: str) -> None:
    for command in (("runs",), ("status",), ("source", "show", "shared"), ("show", run_id)):
        printed = CliRunner().invoke(app, [*command, "--output", "json"]).stdout
        assert CONTROLS.search(printed) is None, command
        found = json.loads(printed)
    assert found["report"]["errors"][0] == EVIL
    assert found["report"]["metrics"] == {EVIL: EVIL}


def test_up_prints_no_control_character(
    ready: CommandLine, run_id: str, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    found = verdicts._stored_since(world.store, utc_now().replace(year=2000))
    stop = threading.Event()

    def stored(*_: object) -> list[Outcome]:
        stop.set()
        return found

    monkeypatch.setattr(verdicts, "_stored_since", stored)
    monkeypatch.setattr(verdicts, "POLL_EVERY_S", 0)
    verdicts.print_verdicts(world.store, Ports(1, 2, 3, 4), Settings(data_dir=tmp_path), stop)
    printed = capsys.readouterr().out
    assert SHOWN in printed
    assert CONTROLS.search(printed) is None


def test_log_lines_hold_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        configure_logs("console")
        try:
            json.loads(EVIL + EVIL)
        except ValueError:
            logging.getLogger("foreign").exception("failed: %s", EVIL)
        try:
            {}[EVIL]
        except KeyError as error:
            logging.getLogger("foreign").error("failed", exc_info=ValueError(f"{EVIL} {error}"))
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    printed = capsys.readouterr().err
    assert SHOWN in printed
    assert CONTROLS.search(printed) is None, repr(printed)


def test_commands_print_through_the_one_mechanism_only() -> None:
    """Neither `print`, `typer.echo` nor the streams themselves, except where escaping is done."""
    folder = Path(kubeprobe.__file__).parent
    allowed = {"cli/frame.py", "cli/output.py", "cli/commands/__init__.py", "cli/setup_text.py", "up/__init__.py"}
    for file in [*folder.glob("cli/**/*.py"), *folder.glob("up/*.py")]:
        if file.relative_to(folder).as_posix() in allowed:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert name not in {"print", "typer.echo", "typer.secho", "Console"}, f"{file}: {name}"
            assert not re.match(r"sys\.std(out|err)\.write", name), f"{file}: {name}"
