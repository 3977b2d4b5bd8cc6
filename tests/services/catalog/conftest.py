"""A folder of YAML that is applied as the command line does."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlmodel import Session

from kubeprobe.catalog import (
    ApplyResult,
    Connector,
    Plan,
    ScheduleChanges,
    apply,
    known_names,
    make_plan,
    parse,
    prepare_schedules,
    sync_schedules,
)
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.store import Store
from tests.unit.catalog.given import BINDING, CASE, CLUSTER, TEMPLATE, catalog

NOW = datetime(2026, 11, 23, 12, 0, 1, tzinfo=UTC)


def sync_all(session: Session, now: datetime) -> ScheduleChanges:
    """Make the schedule rows equal what the store has."""
    return sync_schedules(session, now, prepare_schedules(session, {}))


class Folder:
    """A catalog folder and the store that it is applied to."""

    def __init__(self, path: Path, store: Store) -> None:
        self.path = path
        self.store = store
        self.connector = Connector(Cipher(Fernet.generate_key().decode()), path.parent / "local.kubeconfig")

    def write(self, *documents: str) -> "Folder":
        """Replace the content of the folder with these documents."""
        catalog(self.path, *documents)
        return self

    def apply(self, *, now: datetime = NOW, prune: bool = False) -> ApplyResult:
        with self.store.writing() as session:
            declaration = parse([self.path], known_names(session, prune=prune))
            return apply(session, declaration, self.connector, now, prune=prune)

    def plan(self, *, prune: bool = False) -> Plan:
        with self.store.reading() as session:
            declaration = parse([self.path], known_names(session, prune=prune))
            return make_plan(session, declaration, self.connector, NOW, prune=prune)


@pytest.fixture
def folder(tmp_path: Path, store: Store) -> Folder:
    """A folder with one template, case, binding and cluster, not yet applied."""
    return Folder(tmp_path / "catalog", store).write(TEMPLATE, CASE, BINDING, CLUSTER)
