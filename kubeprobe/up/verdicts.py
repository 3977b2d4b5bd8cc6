"""The terminal output of `up`: addresses, and verdicts as they are stored."""

import sys
import threading
from datetime import datetime

from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from kubeprobe.console import EscapingConsole
from kubeprobe.escaping import escape_line
from kubeprobe.masking import mask_secrets
from kubeprobe.settings import Settings
from kubeprobe.store import Outcome, Store, StoreClock
from kubeprobe.up.ports import Ports
from kubeprobe.vocabulary import Verdict

POLL_EVERY_S = 0.5
STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.UNKNOWN: "yellow"}


def print_verdicts(store: Store, ports: Ports, settings: Settings, stop: threading.Event) -> None:
    """Print until `stop` is set; an outage of the database once, and its end."""
    console = EscapingConsole(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 240)
    console.print(f"KubeProbe is starting; data and logs are in {settings.data_dir}. Press Ctrl-C to stop it.")
    console.print(f"  API       {ports.web_url()}")
    console.print(f"  Flower    {ports.flower_url()}")
    console.print(f"  Cluster   http://127.0.0.1:{ports.cluster}  (KUBECONFIG={settings.local_kubeconfig()})")
    console.print("  Try       kubeprobe status | kubeprobe run pod-lifecycle --cluster local --wait\n")
    seen_until = StoreClock(store)()
    printed_error = ""
    while not stop.wait(POLL_EVERY_S):
        try:
            found = _stored_since(store, seen_until)
        except SQLAlchemyError as error:
            shown = mask_secrets(str(getattr(error, "orig", error)).strip().partition("\n")[0])
            if shown != printed_error:
                console.print(f"database unavailable: {shown}", style="red")
                printed_error = shown
            continue
        if printed_error:
            console.print("database available again")
            printed_error = ""
        for outcome in found:
            console.print(_line(outcome), overflow="ellipsis", no_wrap=True)
            seen_until = outcome.stored_at


def _stored_since(store: Store, since: datetime) -> list[Outcome]:
    with store.reading() as session:
        newer = select(Outcome).where(Outcome.stored_at > since).order_by(col(Outcome.stored_at)).limit(1000)
        return list(session.exec(newer))


def _line(outcome: Outcome) -> Text:
    took = ""
    if outcome.started_at and outcome.finished_at:
        took = f"{(outcome.finished_at - outcome.started_at).total_seconds():.0f} s"
    why = "" if outcome.verdict == Verdict.PASS else escape_line(f"{outcome.reason}: {outcome.message}")
    line = Text(f"{outcome.stored_at.astimezone():%H:%M:%S}  ")
    line.append(f"{outcome.verdict:<8}", style=STYLES[Verdict(outcome.verdict)])
    line.append(f"{outcome.case:<20} {outcome.cluster:<10} {took:>5}  {outcome.run_id}  {why}".rstrip())
    return line
