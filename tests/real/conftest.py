"""The real cluster: an administrator's kubeconfig, and the test process inside the cluster's network namespace."""

import os
from pathlib import Path

import pytest

from tests.harness.need import lacking

KUBECONFIG = "KUBEPROBE_TEST_REAL_KUBECONFIG"


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """The kubeconfig of the test bed that the tests run in (see `make test`)."""
    if KUBECONFIG not in os.environ:
        lacking(f"no real cluster: {KUBECONFIG} is not set (`make test` as root, with Go, starts one)")
    return Path(os.environ[KUBECONFIG])
