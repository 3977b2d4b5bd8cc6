"""The rules of one address family that cannot be read hide no difference of the other's."""

from typing import NoReturn

import pytest

from probes._access import Access
from probes._api import Api
from probes.kube_proxy_rules import comparing, probe
from probes.kube_proxy_rules.node import RulesUnreadable
from probes.kube_proxy_rules.rules import Rules
from tests.probes.scripted import scripted_api


class GaveUpError(Exception):
    """The run ends as unknown."""


@pytest.mark.parametrize("problems", [["Service shop/web: no rule"], []])
def test_an_unreadable_family_hides_no_difference_of_the_other(
    monkeypatch: pytest.MonkeyPatch, problems: list[str]
) -> None:
    def rules_of(family: int, _node_ports: set[int], _mode: str) -> list[Rules]:
        if family == 6:
            raise RulesUnreadable("ip6tables-save cannot be run")
        return [Rules("iptables", {})]

    monkeypatch.setattr(probe, "rules_of", rules_of)

    def give_up(reason: str) -> NoReturn:
        raise GaveUpError(reason)

    monkeypatch.setattr(probe, "give_up", give_up)
    monkeypatch.setattr(comparing, "problems", lambda *_: problems)
    nothing = (200, {"items": []})
    with scripted_api(nothing, nothing) as server, Api(Access(f"http://127.0.0.1:{server.server_port}")) as api:
        if problems:
            assert probe.compare(api, "node", "auto").problems == problems
        else:
            with pytest.raises(GaveUpError, match="ip6tables-save cannot be run"):
                probe.compare(api, "node", "auto")
