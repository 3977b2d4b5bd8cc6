"""The command line: parses, calls a use case of `app` or a view, and prints. No transaction, no SQL, no decision.

`commands` holds one file per family of commands, `*_text` prints results, `frame` turns errors into a line and an exit
code.
"""

from kubeprobe.cli.commands import app


def main() -> None:
    """The `kubeprobe` command."""
    app()


__all__ = ["app", "main"]
