"""Fixtures of the probes' tests on the real cluster, for `tests/probes` and `probes/*/tests`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes._access import find_access
from probes._api import Api
from testbed import Instance, Testbed
from tests.harness.need import lacking
from tests.probes.clusters import ProbedCluster
from tests.probes.scenario import Bed

VARIABLE = "KUBEPROBE_TEST_REAL_KUBECONFIG"


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """The test bed in whose network namespace this process is (see `make test`)."""
    found = os.environ.get(VARIABLE)
    if not found:
        lacking(f"no real cluster: {VARIABLE} is not set (`make test` as root, with Go, starts one)")
    testbed = Testbed(Instance.named())
    with Api(find_access({"KUBECONFIG": found})) as api:
        yield Bed(testbed, api, ProbedCluster(api, Path(found)), tmp_path_factory.mktemp("bed"))
