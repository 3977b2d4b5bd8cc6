"""Reading pytest's results for `make test`: outcomes and output, on workers in their own namespaces."""

from pathlib import Path

import pytest

from tests.harness.need import lacking
from tests.tiers.pytests import Result, isolated, run

TESTS = """
import socket
import pytest

def test_passes():
    print("it passes")

def test_fails():
    print("what it printed")
    assert 1 == 2, "the reason"

@pytest.mark.skip(reason="not here")
def test_is_skipped():
    pass

@pytest.fixture
def broken():
    yield
    raise OSError("broken afterwards")

def test_passes_but_cannot_be_torn_down(broken):
    pass

@pytest.mark.parametrize("worker", [1, 2])
def test_has_a_network_of_its_own(worker):
    names = [name for _, name in socket.if_nameindex()]
    assert names == ["lo"], names
    with socket.create_server(("127.0.0.1", 18080)):
        pass
"""


@pytest.fixture(autouse=True)
def _no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed plugins, such as Celery's, take most of the time to start a worker, and matter nothing here."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run_file(folder: Path, text: str, *, workers: int = 0) -> Result:
    (folder / "test_some.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p xdist.plugin -p pytest_reportlog.plugin\n")
    (folder / "conftest.py").write_text('pytest_plugins = ["tests.harness.scheduler"]')
    return run("some", [str(folder), "-q"], [isolated()] * workers)


def test_outcome_and_output_of_each_test_are_read(tmp_path: Path) -> None:
    result = run_file(tmp_path, TESTS.partition("@pytest.mark.parametrize")[0])
    found = {test.name.rpartition("::")[2]: test for test in result.tests}
    assert {name: test.outcome for name, test in found.items()} == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_is_skipped": "skipped",
        "test_passes_but_cannot_be_torn_down": "failed",
    }
    assert "the reason" in found["test_fails"].output
    assert "what it printed" in found["test_fails"].output
    assert "it passes" in found["test_passes"].output
    assert "broken afterwards" in found["test_passes_but_cannot_be_torn_down"].output
    assert result.broken == ""


def test_workers_have_networks_of_their_own(tmp_path: Path) -> None:
    if not isolated():
        lacking("this machine does not allow network namespaces")
    result = run_file(tmp_path, TESTS, workers=2)
    own = [test for test in result.tests if "network_of_its_own" in test.name]
    assert [(test.outcome, test.output) for test in own] == [("passed", "")] * 2
    assert len(result.tests) == 6


def test_a_module_that_cannot_be_collected_is_a_failed_test(tmp_path: Path) -> None:
    [test] = run_file(tmp_path, "import no_such_module").failed
    assert "no_such_module" in test.output


def test_a_worker_that_dies_fails_its_test_and_the_others_continue(tmp_path: Path) -> None:
    if not isolated():
        lacking("this machine does not allow network namespaces")
    result = run_file(tmp_path, f"{TESTS}\ndef test_ends_its_worker():\n    os._exit(1)\nimport os\n", workers=2)
    assert {test.name.rpartition("::")[2] for test in result.failed} == {
        "test_ends_its_worker",
        "test_fails",
        "test_passes_but_cannot_be_torn_down",
    }
    assert len(result.tests) == 7


@pytest.mark.parametrize("workers", [1, 2])
def test_the_replacement_of_a_dead_worker_runs_the_remaining_tests(tmp_path: Path, workers: int) -> None:
    if not isolated():
        lacking("this machine does not allow network namespaces")
    text = (
        "import os, pytest\ndef test_first(): os._exit(1)\n@pytest.mark.parametrize('n', range(9))\ndef test_n(n): pass"
    )
    result = run_file(tmp_path, text, workers=workers)
    assert (len(result.tests), [test.name.rpartition("::")[2] for test in result.failed]) == (10, ["test_first"])


def test_another_exit_code_of_pytest_is_reported(tmp_path: Path) -> None:
    assert run("none", [str(tmp_path / "nowhere")], []).broken == "pytest exited with code 4"
