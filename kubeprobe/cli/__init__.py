"""The command line: asks `trigger` for runs, `catalog` and `fleet` for changes, and shows what the store holds.

One file per family of commands; `frame` turns errors into one line and an exit code, `output` prints.
"""

from kubeprobe.cli.commands import app


def main() -> None:
    """The `kubeprobe` command."""
    app()


__all__ = ["app", "main"]
