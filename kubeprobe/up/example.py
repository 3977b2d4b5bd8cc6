"""The example catalog: what a new installation runs until it is told something else."""

from datetime import datetime
from importlib import resources
from pathlib import Path

from sqlmodel import select

from kubeprobe.catalog import Connector, apply, known_names, load_catalog, parse
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.settings import Settings
from kubeprobe.store import Cluster, Store
from kubeprobe.trigger import Request, request_runs

EXAMPLE = Path(str(resources.files("kubeprobe.catalog"))) / "examples" / "local"
PROBES = Path(str(resources.files("probes")))


def load_example(store: Store, settings: Settings, now: datetime) -> bool:
    """Apply the example and the built-in probes' cases to a store that knows no cluster yet; True if it was done."""
    with store.writing() as session:
        if session.exec(select(Cluster.name).limit(1)).first() is not None:
            return False
        declared = parse([EXAMPLE, *PROBES.glob("*/catalog.yaml")], known_names(session))
        connector = Connector(Cipher.from_settings(settings), settings.local_kubeconfig().resolve())
        apply(session, declared, connector, now)
        catalog = load_catalog(session)
        for case in catalog.cases:  # nobody should have to wait for the first slot
            request_runs(session, catalog, Request(case, ("local",)), now, settings)
    return True
