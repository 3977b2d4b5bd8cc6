"""A test bed for these tests only, so that the shared one stays up."""

import os
import shutil
from collections.abc import Iterator

import pytest

from testbed import Instance, Testbed, packages, processes
from testbed.components import COMPONENTS
from tests.harness.need import lacking


@pytest.fixture(scope="session")
def own_testbed() -> Iterator[Testbed]:
    """A test bed that may be up or down; removed at the end of the session."""
    if os.geteuid() != 0:
        lacking("the test bed starts containers and needs root")
    if shutil.which("go") is None:
        lacking("the test bed's Kubernetes is built with Go")
    packages.install()
    testbed = Testbed(Instance("own-tests"))
    yield testbed
    testbed.down()
    shutil.rmtree(testbed.instance.state)


@pytest.fixture
def cluster(own_testbed: Testbed) -> Testbed:
    """The test bed, up."""
    if any(processes.find(own_testbed.instance, component) is None for component in COMPONENTS):
        own_testbed.up()
    return own_testbed
