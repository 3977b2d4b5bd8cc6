"""Distributes tests over parallel workers (a pytest plugin)."""

from collections import OrderedDict

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

TOGETHER = ("tests/real/testbed/", "probes/canary_deployment/tests/")
"""Folders whose tests share an external resource (a test bed, a port): one worker runs all of them."""


class OneByOne(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each worker the next test, in order; all tests of a folder in `TOGETHER` go to one worker.

    A worker starts a test only when it has received the next one, so it always holds two.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        """Also for the replacement of a dead worker, to which xdist would give only one test and no shutdown."""
        super()._reschedule(node)
        while self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            self._assign_work_unit(node)
        if not self.workqueue and not node.shutting_down:
            node.shutdown()  # after its remaining tests

    def remove_node(self, node: WorkerController) -> str | None:
        """Return the test at which a worker died, if any; its other tests go to the next free worker.

        Without this, xdist would give that test to another worker, and kill that one too.
        """
        given = self.assigned_work.pop(node)
        unfinished = [(scope, name) for scope, tests in given.items() for name, is_done in tests.items() if not is_done]
        if not unfinished:
            return None
        scope, died_at = unfinished[0]
        given[scope][died_at] = True
        left = {scope: tests for scope, tests in given.items() if not all(tests.values())}
        self.workqueue = OrderedDict({**left, **self.workqueue})
        for other in self.assigned_work:
            self._reschedule(other)
        return str(died_at)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneByOne:
    """Use this scheduler for all parallel runs."""
    config.option.loadscopereorder = False
    return OneByOne(config, log)
