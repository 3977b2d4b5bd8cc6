"""`kubeprobe run` and `kubeprobe change`."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from sqlmodel import select

from kubeprobe.cli.python_shell import names
from kubeprobe.clock import utc_now
from kubeprobe.queue import REQUEST_QUEUE, launch_queue
from kubeprobe.settings import Settings
from kubeprobe.store import Run, Store
from kubeprobe.views import waiting
from kubeprobe.vocabulary import Verdict
from tests.services.cli.conftest import CommandLine
from tests.services.views.given import end, end_all

EVERYWHERE = ("run", "dns", "-c", "prod-1", "-c", "prod-2", "--wait")


@contextmanager
def executing(store: Store, verdicts: Mapping[str, Verdict]) -> Iterator[None]:
    """While this lasts, every open run gets the verdict of its cluster."""
    with repeatedly(lambda: end_all(store, dict(verdicts), utc_now())):
        yield


@contextmanager
def repeatedly(act: Callable[[], object]) -> Iterator[None]:
    """Call `act` every 50 ms in another thread while this lasts."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.05):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(("other", "code"), [(Verdict.PASS, 0), (Verdict.FAIL, 1), (Verdict.UNKNOWN, 3)], ids=str)
def test_the_exit_code_reflects_the_worst_verdict(ready: CommandLine, store: Store, other: Verdict, code: int) -> None:
    with executing(store, {"prod-1": Verdict.PASS, "prod-2": other}):
        result = ready(*EVERYWHERE, code=code)
    assert "dns on prod-1: pass (Passed)" in result.stderr
    assert result.stdout.splitlines()[1].startswith("pass")


def test_a_fail_outweighs_an_unknown(ready: CommandLine, store: Store) -> None:
    with executing(store, {"prod-1": Verdict.FAIL, "prod-2": Verdict.UNKNOWN}):
        output = ready(*EVERYWHERE, code=1).stdout
    assert "no answer from coredns" in output
    assert "recorded as unknown" in output


def test_waiting_for_a_single_run_prints_its_steps(ready: CommandLine, store: Store) -> None:
    with executing(store, {"prod-1": Verdict.PASS}):
        output = ready("run", "dns", "-c", "prod-1", "--wait").stdout
    assert "create  81ms" in output


def test_json_of_awaited_runs_contains_no_progress_output(ready: CommandLine, store: Store) -> None:
    with executing(store, {"prod-1": Verdict.FAIL, "prod-2": Verdict.PASS}):
        found = ready.json(*EVERYWHERE, code=1)
    assert [(run["cluster"], run["verdict"]) for run in found] == [("prod-1", "fail"), ("prod-2", "pass")]
    assert found[0]["report"]["errors"] == ["no answer from coredns"]
    assert found[0]["storedAt"].endswith("Z")


def test_run_without_wait_only_opens_the_runs(ready: CommandLine, store: Store) -> None:
    (run,) = ready.json("run", "dns", "-l", "region=eu", "-p", "SERVER=10.0.0.10")
    with store.reading() as session:
        opened = session.get_one(Run, run["id"])
    assert (opened.cluster, opened.trigger, opened.parameters) == ("prod-1", "manual", {"SERVER": "10.0.0.10"})


def test_a_wait_that_times_out_exits_with_unknown(ready: CommandLine) -> None:
    result = ready("run", "dns", "-c", "prod-1", "--wait", "--timeout", "1s", code=3)
    assert "No outcome after 1 s: dns on prod-1 (pending)" in result.stderr
    assert "kubeprobe doctor" in result.stderr


def test_a_fail_decides_the_exit_code_although_another_run_is_pending(
    ready: CommandLine, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((0.0, 10.0))

    def fail_one() -> float:
        """One run fails when the wait begins, and with the next query it is over."""
        if (now := next(times)) == 0:
            with store.writing() as session:
                run_id = session.exec(select(Run.id).where(Run.cluster == "prod-1")).one()
                end(session, run_id, Verdict.FAIL, utc_now())
        return now

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=fail_one))
    assert "dns on prod-2 (pending)" in ready(*EVERYWHERE, "--timeout", "3s", code=1).stderr


def test_an_unavailable_broker_delays_runs_and_loses_none(ready: CommandLine, store: Store) -> None:
    assert "broker is unreachable" in ready("run", "dns", "-c", "prod-1").stderr
    with store.reading() as session:
        assert len(session.exec(select(Run.id)).all()) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "dsn", "-c", "prod-1"), "Did you mean 'dns'?"),
        (("run", "dns", "-c", "prd-1"), "Did you mean 'prod-1'?"),
        (("run", "dns"), "--selector"),
        (("run", "dns", "-l", "region=asia"), "No cluster"),
        (("run", "dns", "-l", "region=eu,"), "expected a label key"),
        (("run", "dns", "-c", "prod-1", "-p", "SERVER"), "expected KEY=VALUE"),
        (("run", "dns", "-c", "prod-1", "--wait", "--timeout", "soon"), "'soon' is not a duration"),
        (("runs", "--verdict", "ok"), "expected pass, fail or unknown"),
        (("runs", "--since", "yesterday"), "not a duration"),
        (("show", "0000"), "There is no run '0000'"),
        (("status", "-l", "a b"), "character 3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_invalid_input_is_refused_with_the_expected_form(
    ready: CommandLine, store: Store, arguments: tuple[str, ...], expected: str
) -> None:
    result = ready(*arguments, code=2)
    assert expected in result.stderr
    assert result.stdout == ""
    with store.reading() as session:
        assert session.exec(select(Run.id)).all() == []


def test_a_repeated_change_opens_no_second_run(ready: CommandLine) -> None:
    command = ("change", "--component", "coredns", "--version", "1.12", "-c", "prod-1", "-c", "prod-2", "--id", "c1")
    (first,) = ready.json(*command)
    (again,) = ready.json(*command)
    assert (first["cluster"], first["trigger"], first["changeId"]) == ("prod-1", "change", "c1")
    assert again["id"] == first["id"]


def test_a_change_without_bindings_prints_a_note(ready: CommandLine) -> None:
    change = ("change", "--component", "etcd", "-c", "prod-1")
    assert "no binding for changes of etcd" in ready(*change).stderr
    assert "no binding for changes of etcd" in ready(*change, "--wait", code=3).stderr, "nothing was verified"


def test_run_wakes_the_launchers(
    ready: CommandLine, valkey: str, monkeypatch: pytest.MonkeyPatch, queued: Callable[[str], int]
) -> None:
    monkeypatch.setenv("KUBEPROBE_BROKER_URL", valkey)
    before = queued(launch_queue("default"))
    assert "unreachable" not in ready("run", "dns", "-c", "prod-1").stderr
    assert queued(launch_queue("default")) == before + 1


def test_a_celery_task_can_request_a_run_by_name(
    ready: CommandLine, valkey: str, monkeypatch: pytest.MonkeyPatch, queued: Callable[[str], int]
) -> None:
    monkeypatch.setenv("KUBEPROBE_BROKER_URL", valkey)
    before = queued(REQUEST_QUEUE)
    names(Settings())["run_probe"].delay("dns", "prod-1")
    assert queued(REQUEST_QUEUE) == before + 1


def test_without_waiting_the_exit_code_is_not_that_of_earlier_runs(ready: CommandLine, store: Store) -> None:
    change = ("change", "--component", "coredns", "-c", "prod-1", "--id", "c1")
    assert len(ready.json(*change)) == 1
    end_all(store, {"prod-1": Verdict.FAIL}, utc_now())
    assert ready.json(*change)[0]["verdict"] == "fail"
    assert ready.json(*change, "--wait", code=1)[0]["verdict"] == "fail"
