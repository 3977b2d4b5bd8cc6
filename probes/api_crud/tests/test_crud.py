from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from kubeprobe_client import CheckFailed, Run

from probes._access import Access
from probes._api import Api
from probes._objects import Cleanup
from probes.api_crud.probe import ApiCrud, Settings
from tests.probes.scripted import Answer, scripted_api

REFUSED: Answer = (409, {"kind": "Status", "code": 409, "reason": "Conflict", "message": "modified"})


def configmap(value: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "uid": "u", "resourceVersion": "7", **metadata}, "data": {"value": value}}


@pytest.fixture
def crud() -> Iterator[Callable[..., ApiCrud]]:
    """A probe whose ConfigMap exists, with an API of scripted responses."""
    with ExitStack() as stack:

        def make(*answers: Answer) -> ApiCrud:
            server = stack.enter_context(scripted_api(*answers))
            api = stack.enter_context(Api(Access(f"http://127.0.0.1:{server.server_port}")))
            probe = ApiCrud(api, Cleanup(api), Settings("team-a", 0, 1, 0), Run())
            probe.known = probe.stale = configmap("created")
            return probe

        yield make


def test_a_refused_stale_update_passes(crud: Callable[..., ApiCrud]) -> None:
    probe = crud(REFUSED)
    probe.update_stale()
    assert probe.known == configmap("created"), "the object is the one that was created"


def test_an_accepted_stale_update_is_a_failure(crud: Callable[..., ApiCrud]) -> None:
    with pytest.raises(CheckFailed, match="resourceVersion 7 was accepted: expected 409 Conflict"):
        crud((200, configmap("stale"))).update_stale()


def test_an_update_is_repeated_after_a_conflict(crud: Callable[..., ApiCrud]) -> None:
    probe = crud(REFUSED, (200, configmap("created")), (200, configmap("updated")))
    probe.update()
    assert probe.known["data"] == {"value": "updated"}


def test_an_update_that_reads_back_as_the_old_value_is_reported(crud: Callable[..., ApiCrud]) -> None:
    with pytest.raises(CheckFailed, match="read value='created' right after 'updated' was written"):
        crud((200, configmap("created"))).update()


def test_an_object_missing_in_the_list_is_reported(crud: Callable[..., ApiCrud]) -> None:
    with pytest.raises(CheckFailed, match="the list of configmaps in team-a does not contain api-crud-"):
        crud((200, {"items": []})).list()


def test_finalizers_that_block_the_deletion_are_named(crud: Callable[..., ApiCrud]) -> None:
    held = configmap("updated", finalizers=["example.com/audit", "example.com/backup"])
    with pytest.raises(CheckFailed, match=r"finalizers: example\.com/audit, example\.com/backup"):
        crud((200, held), (200, held)).wait_gone()
