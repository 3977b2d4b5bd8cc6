"""The real cluster: an administrator's kubeconfig, and the test process inside the cluster's network namespace."""

import os
from pathlib import Path

import pytest

from tests.harness.need import lacking

KUBECONFIG = "KUBEPROBE_TEST_REAL_KUBECONFIG"


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """Of the test bed that the tests run in (`make test` sees to it)."""
    if KUBECONFIG not in os.environ:
        lacking(f"no real cluster: {KUBECONFIG} is not set (`make test` as root, with Go, starts one)")
    return Path(os.environ[KUBECONFIG])
