"""The example catalog: what a new installation runs until it is told something else."""

import json
from datetime import datetime
from pathlib import Path

from sqlmodel import select

from kubeprobe.catalog import Connector, TargetCluster, apply, known_names, load_catalog, parse, setup_objects
from kubeprobe.catalog.builtin import LOCAL_EXAMPLE, built_in_files
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store
from kubeprobe.trigger import RunRequest, request_runs


def load_example(store: Store, settings: Settings, now: datetime) -> bool:
    """Apply the example and the built-in probes' cases to a store that knows no cluster yet; True if it was done."""
    with store.writing() as session:
        if session.exec(select(Cluster.name).limit(1)).first() is not None:
            return False
        declared = parse([LOCAL_EXAMPLE, *built_in_files(bindings=False)], known_names(session))
        connector = Connector(Cipher.from_settings(settings), settings.local_kubeconfig().resolve())
        apply(session, declared, connector, now)
        catalog = load_catalog(session)
        bound = {case for binding in catalog.bindings.values() for case in binding.cases}
        for case in sorted(bound):  # nobody should have to wait for the first slot
            request_runs(session, catalog, RunRequest(case, ("local",)), now, settings)
    return True


def accounts_file(settings: Settings) -> Path:
    """Where the ServiceAccounts are written that the local cluster begins with."""
    return settings.data_dir / "localcluster-accounts.yaml"


def write_accounts(store: Store, settings: Settings) -> None:
    """Have the local cluster begin with the accounts of all cases. It asks for no rights, so roles are left out."""
    with store.reading() as session:
        catalog = load_catalog(session)
    objects = setup_objects(catalog, catalog.cases, TargetCluster("local", labels={"kind": "local"}))
    accounts = [json.dumps(body) for body in objects if body["kind"] == "ServiceAccount"]
    accounts_file(settings).write_text("\n---\n".join(accounts) + "\n")
