"""What several commands take: names, label pairs, durations, and the installation that they work with."""

# ruff: noqa: PLC0415 - this is imported at every start; what is heavy is imported when it is used
import logging
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kubeprobe.app import Installation
    from kubeprobe.settings import Settings


class Output(StrEnum):
    """How a command shows what it found."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="table for people, json for machines.")]
Case = Annotated[str | None, typer.Option(metavar="CASE", help="Only this case.")]
ClusterName = Annotated[str | None, typer.Option("--cluster", "-c", metavar="CLUSTER", help="Only this cluster.")]
Selector = Annotated[
    str, typer.Option("--selector", "-l", metavar="SELECTOR", help="By label, such as region=eu,wave!=1.")
]


def pairs(given: Sequence[str], what: str) -> dict[str, str]:
    """`KEY=VALUE` arguments as a dictionary."""
    found: dict[str, str] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"{text!r} is not a {what}; expected KEY=VALUE")
        if key in found:
            raise typer.BadParameter(f"{key!r} is given twice")
        found[key] = value
    return found


def duration(text: str) -> timedelta:
    """`90s`, `1h30m`, ... as in the catalog."""
    from kubeprobe.catalog.model import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def settings() -> "Settings":
    """The settings, from the environment; the libraries' logs are kept from the screen."""
    from kubeprobe.logs import configure_logs
    from kubeprobe.settings import Settings

    configure_logs(level=logging.CRITICAL)
    return Settings()


def open_installation() -> "Installation":
    """The installation that the settings name; a context manager."""
    from kubeprobe.app import Installation
    from kubeprobe.cli.output import remark

    unsent = "The broker is unreachable: beat sends these runs once it is back. See `kubeprobe doctor`."
    return Installation.open(settings(), on_broker_unreachable=lambda: remark(unsent, "yellow"))
