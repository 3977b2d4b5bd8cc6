"""Every check of an installation, in the order in which to fix what is wrong.

Each check is independent; one is left out only where something before it is broken.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from kubeprobe.clock import Clock, utc_now
from kubeprobe.errors import KubeProbeError
from kubeprobe.fleet.check import Finding
from kubeprobe.fleet.credentials import Cipher, SecretKeyError
from kubeprobe.fleet.keys import KEY_FILE
from kubeprobe.fleet.sealed import sealed_values
from kubeprobe.health.facts import (
    database_clock,
    fleet_health,
    leftover_health,
    run_health,
    source_health,
    unreadable_entries,
    wrong_clocks,
)
from kubeprobe.health.judgements import (
    judge_beat,
    judge_catalog,
    judge_clock,
    judge_fleet,
    judge_leftovers,
    judge_outcomes,
    judge_queues,
    judge_sources,
    judge_workers,
)
from kubeprobe.masking import mask_secrets
from kubeprobe.names import nearest
from kubeprobe.queue import Queue, queues_of
from kubeprobe.settings import Settings
from kubeprobe.store import DatabaseError, Store, StoreClock
from kubeprobe.store.migrate import installation_id, open_migrated_store

SERVICE_LINK = re.compile(
    r"KUBEPROBE(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)|KUBEPROBE_PORT"
)
"""Variables that Kubernetes sets in pods beside a Service whose name begins with `kubeprobe`."""
_PROCFILE_NAMES = {"KUBEPROBE_FLOWER_PORT", "KUBEPROBE_WEB_PORT"}


def diagnose(settings: Settings, clock: Clock | None = None) -> Iterator[Finding]:
    """Check settings, broker, store, and all that the store shows. `clock`: by default the store's."""
    yield _check_settings(os.environ)
    broker, queues = _check_broker(settings)
    try:
        store = open_migrated_store(settings.database(), settings.statement_timeout)
    except (KubeProbeError, DatabaseError) as error:
        yield _store_problem(error)
        yield broker
        return
    with closing(store):
        try:
            yield Finding("store", ok=True, found=f"{store.engine.dialect.name}, installation {installation_id(store)}")
            yield broker
            yield from _check_store(store, settings, queues, clock or StoreClock(store))
        except DatabaseError as error:
            yield _store_problem(error)


def _check_store(store: Store, settings: Settings, queues: dict[str, int] | None, clock: Clock) -> Iterator[Finding]:
    now = clock()
    with store.reading() as session:
        yield _check_key(settings, list(sealed_values(session)))
        fleet, runs = fleet_health(session, now), run_health(session, now)
        sources = source_health(session)
        leftovers = leftover_health(session, now)
        yield from judge_catalog(unreadable_entries(session))
        yield judge_clock(database_clock(session), utc_now(), wrong_clocks(session, now))
    lengths = None if queues is None else Queue.connect(settings.broker()).lengths(queues_of(fleet.pools))
    yield judge_beat(runs, lengths)
    if queues is not None:
        yield from judge_workers(queues, fleet)
    if lengths is not None:
        yield judge_queues(lengths)
    yield from judge_fleet(fleet)
    yield from judge_outcomes(runs)
    yield from judge_sources(sources, now)
    yield judge_leftovers(leftovers)


def _check_settings(environment: Mapping[str, str]) -> Finding:
    """Unknown names of the environment: most often misspelt."""
    known = {f"KUBEPROBE_{name.upper()}" for name in Settings.model_fields} | _PROCFILE_NAMES
    given = {name for name in environment if name.startswith("KUBEPROBE_") and not SERVICE_LINK.fullmatch(name)}
    unknown = sorted(given - known)
    if not unknown:
        return Finding("settings", ok=True, found=f"{sum(name in environment for name in known)} set, all known")
    found = f"{unknown[0]} is not a setting.{nearest(unknown[0], known)}"
    return Finding("settings", ok=False, found=found, remedy="correct the name, or unset it")


def _store_problem(error: Exception) -> Finding:
    if isinstance(error, KubeProbeError):
        return Finding("store", ok=False, found=str(error), remedy="kubeprobe migrate")
    reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
    return Finding("store", ok=False, found=reason, remedy="start the database, or correct KUBEPROBE_DATABASE_URL")


def _check_key(settings: Settings, sealed: Sequence[bytes]) -> Finding:
    """Whether the key exists and decrypts the stored credentials."""
    check, total = "secret key", len(sealed)
    if settings.secret_key is None and not (Path(settings.data_dir) / KEY_FILE).exists():
        if not total:
            return Finding(check, ok=True, found="none yet; adding the first cluster creates one")
        remedy = f"restore {settings.data_dir / KEY_FILE}, or set KUBEPROBE_SECRET_KEY"
        return Finding(check, ok=False, found="missing, but the store has credentials", remedy=remedy)
    try:
        cipher = Cipher.from_settings(settings)
    except KubeProbeError as error:
        return Finding(check, ok=False, found=str(error), remedy="set the key that the credentials were encrypted with")
    opened = sum(_decrypts(cipher, value) for value in sealed)
    if opened < total:
        remedy = "use the key that they were encrypted with, or add these clusters and sources again with --replace"
        found = f"decrypts {opened} of {total} stored credentials"
        return Finding(check, ok=False, found=found, remedy=remedy)
    found = f"decrypts all {total} stored credentials" if total else "no credentials yet"
    if (older := len(cipher.keys.read()) - 1) > 0:
        found += f"; {older} older {'keys' if older > 1 else 'key'} in {cipher.keys.where}: kubeprobe key retire"
    return Finding(check, ok=True, found=found)


def _decrypts(cipher: Cipher, sealed: bytes) -> bool:
    try:
        cipher.open_values(sealed, "a stored credential", "add it again")
    except SecretKeyError:
        return False
    return True


def _check_broker(settings: Settings) -> tuple[Finding, dict[str, int] | None]:
    """Whether the broker answers, and how many workers serve each queue."""
    remedy = "start Redis or Valkey, or correct KUBEPROBE_BROKER_URL; nothing is lost meanwhile"
    try:
        queues = Queue.connect(settings.broker()).workers()
    except (KeyError, ValueError, ImportError) as error:  # kombu's, for an address that is none
        found = f"KUBEPROBE_BROKER_URL is not the address of a broker: {type(error).__name__}"
        return Finding("broker", ok=False, found=found, remedy="use redis://HOST:PORT/0"), None
    except KubeProbeError as error:
        return Finding("broker", ok=False, found=str(error), remedy=remedy), None
    if queues is None:
        where = mask_secrets(settings.broker())
        return Finding("broker", ok=False, found=f"{where} is not reachable", remedy=remedy), None
    return Finding("broker", ok=True, found="reachable"), queues
