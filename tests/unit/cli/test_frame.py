"""The output of a command that raises."""

import sys

import pytest
import typer
from typer.testing import CliRunner

from kubeprobe.catalog import CatalogError, CatalogProblem
from kubeprobe.cli import app
from kubeprobe.cli.frame import Frame, explained_errors
from kubeprobe.errors import NotFoundError
from kubeprobe.store.migrate import SchemaOutdatedError


def run_failing_command(error: BaseException) -> tuple[int, str]:
    """Exit code and standard error of a command that raises `error`."""
    failing = typer.Typer(cls=Frame, pretty_exceptions_enable=False)

    @failing.callback()
    def root() -> None:
        """Required by a group."""

    @failing.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(failing, ["fail"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stderr


def test_a_kubeprobe_error_is_one_line_that_starts_with_a_capital() -> None:
    assert run_failing_command(NotFoundError("there is no cluster 'x'.")) == (2, "There is no cluster 'x'.\n")


def test_a_message_that_starts_with_a_path_keeps_its_case() -> None:
    assert run_failing_command(NotFoundError("no/such/file: cannot be read")) == (2, "no/such/file: cannot be read\n")


def test_an_error_without_a_message_shows_its_description() -> None:
    assert run_failing_command(SchemaOutdatedError()) == (
        2,
        "The store has another schema than this version expects; run `kubeprobe migrate`.\n",
    )


def test_a_refused_catalog_lists_every_problem() -> None:
    problems = [CatalogProblem("a.yaml", line, "ProbeCase/dns", "spec", "is wrong") for line in (3, 9)]
    code, text = run_failing_command(CatalogError(problems))
    assert code == 2
    assert text.splitlines() == [*map(str, problems), "2 problems; nothing was changed."]


def test_a_missing_file_is_named() -> None:
    assert run_failing_command(FileNotFoundError(2, "No such file or directory", "x.yaml")) == (
        2,
        "x.yaml: No such file or directory\n",
    )


def test_a_file_in_place_of_a_folder_is_named() -> None:
    assert run_failing_command(NotADirectoryError(20, "Not a directory", "x/y")) == (2, "x/y: Not a directory\n")


def test_an_interrupt_prints_nothing() -> None:
    assert run_failing_command(KeyboardInterrupt()) == (130, "")


def test_an_unexpected_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_failing_command(ZeroDivisionError())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["staus"], "Did you mean 'status'"),
        (["cluster", "lst"], "Did you mean 'list'"),
        (["runs", "--outptu", "json"], "--output"),
        (["run"], "Missing argument"),
    ],
)
def test_a_mistyped_command_suggests_the_nearest(arguments: list[str], expected: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_a_closed_pipe_ends_a_command_as_sigpipe_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 0, `set -o pipefail` would not see a failed verdict that could not be printed."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # restored afterwards
    with pytest.raises(typer.Exit) as caught, explained_errors():
        raise BrokenPipeError
    assert caught.value.exit_code == 141
