"""Every check of an installation, in the order in which to fix what is wrong.

Each check is independent; one is left out only where something before it is broken.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy.exc import DBAPIError

from kubeprobe.clock import Clock, utc_now
from kubeprobe.errors import KubeProbeError
from kubeprobe.fleet import clusters
from kubeprobe.fleet.check import Finding
from kubeprobe.fleet.credentials import KEY_FILE, Cipher, SecretKeyError
from kubeprobe.health.facts import database_clock, fleet_health, leftover_health, run_health, source_health
from kubeprobe.health.judgements import (
    judge_beat,
    judge_clock,
    judge_fleet,
    judge_leftovers,
    judge_outcomes,
    judge_sources,
    judge_workers,
)
from kubeprobe.names import nearest
from kubeprobe.queue import celery_config
from kubeprobe.settings import Settings
from kubeprobe.store import Store
from kubeprobe.store.migrate import installation_id, open_migrated_store

REPLY_WITHIN_S = 1.5
_PROCFILE_NAMES = {"KUBEPROBE_FLOWER_PORT", "KUBEPROBE_WEB_PORT"}


def diagnose(settings: Settings, clock: Clock = utc_now) -> Iterator[Finding]:
    """Check settings, broker, store, and all that the store shows."""
    yield _check_settings(os.environ)
    queues = _queues_served(settings)
    try:
        store = open_migrated_store(settings.database())
    except (KubeProbeError, DBAPIError) as error:
        yield _store_problem(error)
        yield _judge_broker(settings, queues)
        return
    with closing(store):
        yield Finding("store", ok=True, found=f"{store.engine.dialect.name}, installation {installation_id(store)}")
        yield _judge_broker(settings, queues)
        yield from _check_store(store, settings, queues, clock)


def _check_store(store: Store, settings: Settings, queues: dict[str, int] | None, clock: Clock) -> Iterator[Finding]:
    now = clock()
    with store.reading() as session:
        yield _check_key(settings, [cluster.connection for cluster in clusters.find(session)])
        fleet, runs = fleet_health(session, now, settings), run_health(session, now)
        sources = source_health(session)
        leftovers = leftover_health(session, now)
        yield judge_clock(database_clock(session), clock())
    yield judge_beat(runs)
    if queues is not None:
        yield from judge_workers(queues, fleet)
    yield from judge_fleet(fleet)
    yield from judge_outcomes(runs)
    yield from judge_sources(sources, now)
    yield judge_leftovers(leftovers)


def _check_settings(environment: Mapping[str, str]) -> Finding:
    """Unknown names of the environment: most often misspelt."""
    known = {f"KUBEPROBE_{name.upper()}" for name in Settings.model_fields} | _PROCFILE_NAMES
    unknown = sorted(name for name in environment if name.startswith("KUBEPROBE_") and name not in known)
    if not unknown:
        return Finding("settings", ok=True, found=f"{sum(name in environment for name in known)} set, all known")
    found = f"{unknown[0]} is not a setting.{nearest(unknown[0], known)}"
    return Finding("settings", ok=False, found=found, remedy="correct the name, or unset it")


def _store_problem(error: Exception) -> Finding:
    if isinstance(error, KubeProbeError):
        return Finding("store", ok=False, found=str(error), remedy="kubeprobe migrate")
    reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
    return Finding("store", ok=False, found=reason, remedy="start the database, or correct KUBEPROBE_DATABASE_URL")


def _judge_broker(settings: Settings, queues: dict[str, int] | None) -> Finding:
    if queues is not None:
        return Finding("broker", ok=True, found="reachable")
    where = settings.broker().rpartition("@")[2]
    remedy = "start Redis or Valkey, or correct KUBEPROBE_BROKER_URL; nothing is lost meanwhile"
    return Finding("broker", ok=False, found=f"{where} is not reachable", remedy=remedy)


def _check_key(settings: Settings, sealed: Sequence[bytes]) -> Finding:
    """Whether the key exists and opens the stored credentials."""
    if settings.secret_key is None and not (Path(settings.data_dir) / KEY_FILE).exists():
        if not sealed:
            return Finding("secret key", ok=True, found="none yet; adding the first cluster creates one")
        remedy = f"restore {settings.data_dir / KEY_FILE}, or set KUBEPROBE_SECRET_KEY"
        return Finding("secret key", ok=False, found="missing, but the store has credentials", remedy=remedy)
    cipher, closed = Cipher.from_settings(settings), 0
    for connection in sealed:
        try:
            cipher.open(connection)
        except SecretKeyError:
            closed += 1
    if closed:
        remedy = "use the key that they were encrypted with, or add these clusters again with --replace"
        found = f"decrypts the credentials of {len(sealed) - closed} of {len(sealed)} clusters"
        return Finding("secret key", ok=False, found=found, remedy=remedy)
    return Finding(
        "secret key",
        ok=True,
        found=f"decrypts the stored credentials of {len(sealed)} cluster{'' if len(sealed) == 1 else 's'}",
    )


def _queues_served(settings: Settings) -> dict[str, int] | None:
    """How many workers serve each queue; None where the broker is not reachable."""
    app = Celery("kubeprobe", set_as_current=False)
    app.conf.update(celery_config(settings.broker()))
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=REPLY_WITHIN_S)
            answers = app.control.inspect(timeout=REPLY_WITHIN_S, connection=connection).active_queues()
    except (OperationalError, OSError):
        return None
    served: dict[str, int] = {}
    for queues in (answers or {}).values():
        for queue in queues:
            served[queue["name"]] = served.get(queue["name"], 0) + 1
    return served
