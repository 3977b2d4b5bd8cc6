"""The frame of every command: an error becomes a clear line on standard error, and an exit code.

0: success. 1: bad news (a probe failed, `doctor` found a problem). 2: not done (wrong usage, a store that cannot be
reached). 3: inconclusive (a verdict that is unknown or did not arrive in time). 130: interrupted.

Imported at every start, so it imports what is heavy only when something went wrong.
"""

# ruff: noqa: PLC0415 - see above
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from kubeprobe.escaping import escape

BAD_NEWS = 1
NOT_DONE = 2
INCONCLUSIVE = 3
"""Not 2, which is what a typo gives: a script must not confuse them."""
INTERRUPTED = 130
BROKEN_PIPE = 141


class Frame(TyperGroup):
    """A group of commands that print errors as people need them."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with explained_errors():
            return super().invoke(ctx)


@contextmanager
def explained_errors() -> Iterator[None]:
    """Print errors that have a known meaning and exit; a bug keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # `kubeprobe runs | head`: the reader has enough. Python would complain when it flushes at exit. As for other
        # programs, the exit code is that of SIGPIPE: 0 would hide a failed verdict from `set -o pipefail`.
        sys.stdout = None
        raise typer.Exit(BROKEN_PIPE) from None
    except Exception as error:
        if (lines := _explain(error)) is None:
            raise
        print_error(*lines)
        raise typer.Exit(NOT_DONE) from None


def print_error(*lines: str) -> None:
    """Print an error: red on a terminal."""
    from kubeprobe.masking import mask_secrets

    for line in lines:
        typer.secho(escape(mask_secrets(line)), fg=typer.colors.RED, err=True)


def echo(text: str, *, error: bool = False) -> None:
    """Print a line, however long, to standard output or standard error."""
    typer.echo(escape(text), err=error)


def _explain(error: Exception) -> list[str] | None:
    """The lines to print for an error; None for a bug."""
    if type(error).__module__.startswith(("typer", "click")):
        return None  # how Typer ends, or refuses wrong usage; Typer prints it
    from pydantic import ValidationError

    from kubeprobe.errors import KubeProbeError

    if isinstance(error, KubeProbeError):
        return _of_kubeprobe(error)
    if isinstance(error, ValidationError) and error.title == "Settings":
        return [f"KUBEPROBE_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
    if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return [f"{error.filename}: {error.strerror}"]
    from kubeprobe.settings import Settings
    from kubeprobe.store.engine import describe_database_error

    described = describe_database_error(error, Settings().database())
    return [described] if described else None


def _of_kubeprobe(error: Exception) -> list[str]:
    from kubeprobe.catalog.problems import CatalogError

    text = str(error) or (type(error).__doc__ or "").splitlines()[0]
    is_word = text.split(" ")[0].isalpha()  # not a file or name, whose first letter matters
    lines = [text[:1].upper() + text[1:] if is_word else text]
    if isinstance(error, CatalogError):
        count = len(error.problems)
        lines = [*map(str, error.problems), f"{count} problem{'s' if count != 1 else ''}; nothing was changed."]
    return lines
