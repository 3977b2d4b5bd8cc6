"""Commands for the whole installation: `doctor`, `migrate`, `shell`."""

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

import kubeprobe as package
from kubeprobe import shell
from kubeprobe.app import NotEndedError
from kubeprobe.catalog.version import increment_version
from kubeprobe.store import PodLocation, ProbeCase, Source, Store
from kubeprobe.vocabulary import Verdict
from tests.services.cli.conftest import CommandLine
from tests.services.cli.test_run import executing

KUBEPROBE = str(Path(sys.executable).parent / "kubeprobe")


def findings(kubeprobe: CommandLine, code: int) -> dict[str, dict[str, object]]:
    return {finding["check"]: finding for finding in kubeprobe.json("doctor", code=code)}


def test_doctor_names_problems_and_fixes(ready: CommandLine) -> None:
    found = findings(ready, code=1)
    assert found["store"]["ok"]
    assert found["secret key"]["ok"]
    for check in ("broker", "collectors default", "bindings"):
        assert not found[check]["ok"]
        assert found[check]["remedy"]
    assert "prod-2" in str(found["bindings"]["found"])


def test_an_unreadable_entry_is_reported_by_every_command_that_needs_it(ready: CommandLine, store: Store) -> None:
    ready("run", "dns", "-c", "prod-1")
    with store.writing() as session:
        row = session.get_one(ProbeCase, "dns")
        row.spec = {**row.spec, "newer": 1}
        session.add(row)
        increment_version(session)
    found = findings(ready, code=1)["catalog ProbeCase dns"]
    assert "spec.newer" in str(found["found"])
    assert "kubeprobe apply" in str(found["remedy"])
    [run] = ready.json("runs")
    assert ready.json("show", str(run["id"]))["severity"] is None
    for command in (("run", "dns", "-c", "prod-1"), ("cluster", "setup", "prod-1")):
        assert "invalid in this version of KubeProbe at spec.newer" in ready(*command, code=2).stderr
    ready.apply()
    assert findings(ready, code=1)["catalog"]["ok"]


def test_doctor_finds_queues_without_workers(ready: CommandLine, valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEPROBE_BROKER_URL", valkey)
    found = findings(ready, code=1)
    assert found["broker"]["ok"]
    assert "launch.default" in str(found["launchers default"]["found"])
    assert "response, delivery, housekeeping" in str(found["responders"]["found"])


def test_doctor_finds_a_missing_or_changed_secret_key(ready: CommandLine) -> None:
    key = ready.folder / "data" / "secret.key"
    key.unlink()
    assert "missing" in str(findings(ready, code=1)["secret key"]["found"])
    assert not key.exists(), "doctor creates no key"
    ready.add_cluster("prod-3")
    assert "1 of 3" in str(findings(ready, code=1)["secret key"]["found"])


def test_doctor_finds_misspelt_settings(ready: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEPROBE_DATABSE_URL", "sqlite://")
    assert "KUBEPROBE_DATABASE_URL" in str(findings(ready, code=1)["settings"]["found"])


def test_doctor_without_a_store_suggests_migrate(
    kubeprobe: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBEPROBE_DATABASE_URL", f"sqlite:///{tmp_path / 'none.db'}")
    found = findings(kubeprobe, code=1)["store"]
    assert (found["ok"], found["remedy"]) == (False, "kubeprobe migrate")


def test_migrate_creates_the_store_and_can_be_repeated(
    kubeprobe: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBEPROBE_DATABASE_URL", f"sqlite:///{tmp_path / 'new' / 'kubeprobe.db'}")
    assert "kubeprobe migrate" in kubeprobe("runs", code=2).stderr
    assert not (tmp_path / "new").exists(), "a query creates no store"
    first = kubeprobe("migrate").stdout
    assert kubeprobe("migrate").stdout == first
    assert kubeprobe.json("runs") == []


def test_an_unavailable_database_is_reported_without_its_password(
    kubeprobe: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEPROBE_DATABASE_URL", "postgresql://me:very-secret@127.0.0.1:1/kubeprobe")
    output = kubeprobe("runs", code=2).stderr
    assert "127.0.0.1:1" in output
    assert "KUBEPROBE_DATABASE_URL" in output
    assert "very-secret" not in output
    assert len(output.splitlines()) == 1


def test_an_invalid_setting_is_named(kubeprobe: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEPROBE_BATCH_SIZE", "many")
    assert "KUBEPROBE_BATCH_SIZE" in kubeprobe("runs", code=2).stderr


def test_the_shell_requests_runs_and_waits_for_them(ready: CommandLine, store: Store) -> None:
    with executing(store, {"prod-1": Verdict.FAIL}):
        requested = package.run("dns", cluster="prod-1").wait(timeout=30)
    assert requested.verdict == "fail"
    assert "fail     dns on prod-1" in repr(requested)
    assert [run.verdict for run in shell.outcomes(case="dns")] == ["fail"]
    assert shell.runs()[0].cluster == "prod-1"
    assert shell.cluster("prod-1").labels == {"region": "eu"}


def test_the_shell_records_changes(ready: CommandLine) -> None:
    requested = package.change("coredns", "1.12", clusters=["prod-1"], id="c1")
    assert package.change("coredns", "1.12", clusters=["prod-1"], id="c1").run_ids == requested.run_ids
    assert requested.verdict is None
    with pytest.raises(NotEndedError, match="dns on prod-1"):
        requested.wait(timeout=0)


def test_the_shell_predefines_its_names(ready: CommandLine, tmp_path: Path) -> None:
    result = subprocess.run(
        [KUBEPROBE, "shell"],
        env=os.environ | {"IPYTHONDIR": str(tmp_path / "ipython")},
        input='print(cluster("prod-1").labels, callable(run), run_probe.task)\n',
        capture_output=True,
        text=True,
        check=False,
    )
    assert "run_probe.delay" in result.stdout
    assert "{'region': 'eu'} True kubeprobe.run_probe" in result.stdout


def test_the_installed_command_returns_its_exit_code(ready: CommandLine) -> None:
    result = subprocess.run(
        [KUBEPROBE, "run", "dsn", "-c", "prod-1"], env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "There is no case 'dsn'. Did you mean 'dns'?\n"


def test_a_closed_output_pipe_prints_no_error(ready: CommandLine) -> None:
    shell_line = f"{KUBEPROBE} schema | head -n 1"
    result = subprocess.run(
        ["bash", "-c", shell_line], env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("{\n", "")


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("KUBEPROBE_BROKER_URL", "foo://x", "broker"),
        ("KUBEPROBE_BROKER_URL", "redis://h:port/0", "broker"),
        ("KUBEPROBE_DATABASE_URL", "foo", "store"),
        ("KUBEPROBE_DATABASE_URL", "mysql://user:very-secret@h/db", "store"),
        ("KUBEPROBE_SECRET_KEY", "abc", "secret key"),
    ],
)
def test_doctor_reports_unusable_settings_among_its_other_findings(
    ready: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str, value: str, check: str
) -> None:
    monkeypatch.setenv(name, value)
    found = findings(ready, code=1)
    assert not found[check]["ok"]
    assert found[check]["remedy"]
    assert found["settings"]["ok"]
    assert "very-secret" not in str(found)


def test_doctor_ignores_the_service_links_of_kubernetes(ready: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBEPROBE_PORT", "KUBEPROBE_SERVICE_HOST", "KUBEPROBE_WEB_PORT_8080_TCP_ADDR"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    monkeypatch.setenv("KUBEPROBE_METRICS_PORT", "tcp://10.0.0.1:9400")
    assert findings(ready, code=1)["settings"]["ok"]


def test_a_store_of_a_newer_version_is_named_as_such(ready: CommandLine, store: Store) -> None:
    with store.writing() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert "of a newer version of KubeProbe" in str(findings(ready, code=1)["store"]["found"])
    assert "of a newer version of KubeProbe" in ready("migrate", code=2).stderr


def test_doctor_finds_secrets_of_sources_whose_key_is_lost(ready: CommandLine, store: Store, now: datetime) -> None:
    for name in ("prod-1", "prod-2"):
        ready("cluster", "remove", name, "--yes")
    with store.writing() as session:
        branch = {
            "url": "u",
            "branch": "main",
            "path": "",
            "every_s": 60,
            "prune": True,
            "next_sync": now,
            "created_at": now,
        }
        session.add(Source(name="team", secret=b"of a lost key", **branch))
    assert "0 of 1" in str(findings(ready, code=1)["secret key"]["found"])
    (ready.folder / "data" / "secret.key").unlink()
    assert "missing" in str(findings(ready, code=1)["secret key"]["found"])


def test_doctor_finds_locations_of_pods_whose_key_is_lost(ready: CommandLine, store: Store, now: datetime) -> None:
    with store.writing() as session:
        values = {"cluster": "prod-1", "cluster_created_at": now, "namespace": "n", "connection_version": 1}
        session.add(PodLocation(id="former", connection=b"of a lost key", **values))
    assert "decrypts 2 of 3" in str(findings(ready, code=1)["secret key"]["found"])


def test_key_rotate_and_retire_say_what_they_did_and_doctor_shows_old_keys(ready: CommandLine) -> None:
    rotated = ready("key", "rotate").stdout
    assert "2 credentials are encrypted with the first key of" in rotated
    assert "kubeprobe key retire" in rotated
    assert "1 older key" in str(findings(ready, code=1)["secret key"]["found"])
    assert "One key is left in" in ready("key", "retire").stdout
    assert "older" not in str(findings(ready, code=1)["secret key"]["found"])
