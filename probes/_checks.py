"""The checks of an inspection: one that fails hides no finding of the others."""

from collections.abc import Iterator
from contextlib import contextmanager

from kubeprobe_client import give_up, report_failure, step

from probes._api import PermissionMissing


class Checks:
    """Runs checks as steps, and reports the problems of all of them."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.unchecked: list[str] = []
        """What could not be checked, and why: a missing permission, say."""
        self.failed = False
        """Whether a check ended with an error, which its step records."""

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        """A step; if it fails, or lacks a permission, the next ones still run."""
        try:
            with step(name):
                yield
        except PermissionMissing as error:
            self.unchecked.append(str(error))
        except Exception:  # noqa: BLE001 - of any kind: it is an error of the report
            self.failed = True

    def report(self) -> None:
        """Report all problems; end as unknown if there is none, but something could not be checked."""
        if self.problems or self.failed:
            report_failure(self.problems)
        elif self.unchecked:
            give_up("; ".join(self.unchecked))
