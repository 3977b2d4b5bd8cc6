"""What `kubeprobe up` prints while it runs."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from kubeprobe.settings import Settings
from kubeprobe.store import Outcome, Store, StoreClock
from kubeprobe.up.ports import Ports
from kubeprobe.up.verdicts import print_verdicts
from kubeprobe.vocabulary import Trigger, Verdict
from tests.services.trigger.given import World


class Steps(threading.Event):
    """Set after these actions; each wait for it does the next one."""

    def __init__(self, *actions: Callable[[], object]) -> None:
        super().__init__()
        self._actions = list(actions)

    def wait(self, timeout: float | None = None) -> bool:
        if not self._actions:
            return True
        self._actions.pop(0)()
        return False


def test_an_outage_of_the_database_is_printed_once_and_its_end(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was printed twice a second."""

    def execute(statement: str) -> Callable[[], object]:
        def act() -> None:
            with store.writing() as session:
                session.execute(text(statement))

        return act

    def end() -> None:
        at = StoreClock(store)() + timedelta(minutes=1)
        values = {"case": "dns", "cluster": "prod-1", "trigger": Trigger.MANUAL, "due_at": at, "reason": "Passed"}
        World(store, at).run("r1")
        with store.writing() as session:
            session.add(Outcome(run_id="r1", verdict=Verdict.PASS, stored_at=at, **values))

    def poll() -> None:
        """Nothing has changed."""

    lose, restore = execute("ALTER TABLE outcome RENAME TO lost"), execute("ALTER TABLE lost RENAME TO outcome")
    steps = Steps(poll, lose, poll, poll, restore, poll, end, lose, restore)
    print_verdicts(store, Ports(1, 2, 3, 4), Settings(data_dir=tmp_path), steps)
    printed = capsys.readouterr().out
    assert printed.count("database unavailable: ") == 2
    assert printed.count("database available again") == 2
    assert "SELECT" not in printed
    assert "r1" in printed
