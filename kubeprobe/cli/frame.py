"""The frame of every command: what goes wrong becomes a clear line on standard error, and an exit code.

0: done; all well. 1: bad news (a probe failed, `doctor` found a problem). 2: not done (wrong usage, a store that cannot
be reached). 3: inconclusive (a verdict that is unknown or did not arrive in time). 130: interrupted.

Imported at every start, so it imports what is heavy only when something went wrong.
"""

# ruff: noqa: PLC0415 - see above
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

BAD_NEWS = 1
NOT_DONE = 2
INCONCLUSIVE = 3
"""Not 2, which is what a typo gives: a script must not take one for the other."""
INTERRUPTED = 130


class Frame(TyperGroup):
    """A group of commands whose errors are told as people need them."""

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
        # `kubeprobe runs | head`: whoever read has enough. Python would complain when it flushes at exit.
        sys.stdout = None
        raise typer.Exit(0) from None
    except Exception as error:
        if (lines := _explain(error)) is None:
            raise
        print_error(*lines)
        raise typer.Exit(NOT_DONE) from None


def print_error(*lines: str) -> None:
    """Say what went wrong: red on a terminal."""
    for line in lines:
        typer.secho(line, fg=typer.colors.RED, err=True)


def _explain(error: Exception) -> list[str] | None:
    """What to tell of an error; None for a bug."""
    if type(error).__module__.startswith(("typer", "click")):
        return None  # Typer's own way of ending, or of refusing wrong usage: told by Typer
    from pydantic import ValidationError
    from sqlalchemy.exc import DBAPIError

    from kubeprobe.errors import KubeProbeError

    if isinstance(error, KubeProbeError):
        return _of_kubeprobe(error)
    if isinstance(error, ValidationError) and error.title == "Settings":
        return [f"KUBEPROBE_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
    if isinstance(error, DBAPIError):
        return [_of_database(error)]
    if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return [f"{error.filename}: {error.strerror}"]
    return None


def _of_kubeprobe(error: Exception) -> list[str]:
    from kubeprobe.catalog.problems import CatalogError

    text = str(error) or (type(error).__doc__ or "").splitlines()[0]
    is_word = text.split(" ")[0].isalpha()  # and no file or name, whose first letter matters
    lines = [text[:1].upper() + text[1:] if is_word else text]
    if isinstance(error, CatalogError):
        count = len(error.problems)
        lines = [*map(str, error.problems), f"{count} problem{'s' if count != 1 else ''}; nothing was changed."]
    return lines


def _of_database(error: Exception) -> str:
    """Where the store is, without its password, and the database's own first line."""
    from sqlalchemy.engine import make_url

    from kubeprobe.settings import Settings

    where = make_url(Settings().database()).render_as_string(hide_password=True)
    told = str(getattr(error, "orig", error)).strip().splitlines()[0]
    return f"The store at {where} cannot be used: {told}. Check KUBEPROBE_DATABASE_URL, and that the database runs."
