"""The command line: parses, calls a use case of `app` or a view, and prints. No transaction, no SQL, no decision.

`commands` holds one file per family of commands, `*_text` prints results, `frame` turns errors into a line and an exit
code.
"""

import gc

from kubeprobe.cli.commands import app


def main() -> None:
    """The `kubeprobe` command."""
    gc.set_threshold(10_000)  # with Python's 700, a tenth of a command's time is garbage collection during imports
    app()


__all__ = ["app", "main"]
