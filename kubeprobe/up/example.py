"""The example catalog, which a new installation runs."""

import json
from datetime import datetime
from pathlib import Path

from sqlmodel import Session, select

from kubeprobe.catalog import Connector, apply, known_names, load_catalog, parse
from kubeprobe.catalog.builtin import LOCAL_EXAMPLE, built_in_files
from kubeprobe.catalog.policy import TemplatePolicy
from kubeprobe.catalog.setup import TargetCluster, setup_objects
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.privatefiles import write_private
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store
from kubeprobe.trigger import RunRequest, request_runs


def load_example(store: Store, settings: Settings, now: datetime) -> bool:
    """Apply the example and the built-in probes' cases to a store without clusters; True if it did."""
    with store.reading() as session:
        if has_clusters(session):
            return False
        known = known_names(session)
    declared = parse([LOCAL_EXAMPLE, *built_in_files(bindings=False)], known)
    connector = Connector(Cipher.from_settings(settings), settings.local_kubeconfig().resolve())
    with store.writing() as session:
        if has_clusters(session):  # added meanwhile
            return False
        apply(session, declared, connector, now, policy=TemplatePolicy.of(settings))
        catalog = load_catalog(session)
        bound = {case for binding in catalog.bindings.values() for case in binding.cases}
        for case in sorted(filter(catalog.is_renderable, bound)):  # first verdicts at once, not at the first slot
            request_runs(session, catalog, RunRequest(case, ("local",)), now, settings)
    return True


def has_clusters(session: Session) -> bool:
    """Whether the store has any cluster."""
    return session.exec(select(Cluster.name).limit(1)).first() is not None


def accounts_file(settings: Settings) -> Path:
    """The manifest of the ServiceAccounts that the local cluster creates at its start."""
    return settings.data_dir / "localcluster-accounts.yaml"


def write_accounts(store: Store, settings: Settings) -> None:
    """Write the ServiceAccounts of all cases. Roles are left out: the local cluster has no authorization."""
    with store.reading() as session:
        catalog = load_catalog(session)
    objects = setup_objects(
        catalog, filter(catalog.is_renderable, catalog.cases), TargetCluster("local", labels={"kind": "local"})
    )
    accounts = [json.dumps(body) for body in objects if body["kind"] == "ServiceAccount"]
    write_private(accounts_file(settings), "\n---\n".join(accounts) + "\n")
