"""Inspections of many things: a list that cannot be read hides no finding of the others."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kubeprobe_client import CheckFailed

from probes._api import PermissionMissing
from probes._checks import Checks
from probes.rate_limit.edges import filter_problems
from tests.probes.paths import CLIENT, REPOSITORY
from tests.probes.scripted import Answer, scripted_api

Json = dict[str, Any]
FORBIDDEN = (403, {"message": 'User "probe" cannot list resource "things" in API group ""'})
BROKEN = (500, {"message": "etcdserver: request timed out"})
NOTHING = (200, {"items": []})


def inspect(folder: str, tmp_path: Path, *answers: Answer, **env: str) -> tuple[int, str]:
    """Exit code and log of a run against an API server with these answers."""
    with scripted_api(*answers) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        kubeconfig = {
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": url}}],
            "users": [],
        }
        file = tmp_path / "kubeconfig"
        file.write_text(json.dumps(kubeconfig))
        done = subprocess.run(
            [sys.executable, "-m", f"probes.{folder}.probe"],
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{CLIENT}", "KUBECONFIG": str(file), **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    return done.returncode, done.stdout + done.stderr


BUDGET = {
    "metadata": {"namespace": "shop", "name": "web"},
    "spec": {"minAvailable": 1, "selector": {}},
    "status": {"expectedPods": 1, "desiredHealthy": 1},
}
FULL = {"metadata": {"namespace": "shop", "name": "q"}, "status": {"hard": {"pods": "1"}, "used": {"pods": "1"}}}


@pytest.mark.parametrize("refusal", [FORBIDDEN, BROKEN])
@pytest.mark.parametrize(
    ("folder", "checks", "answers", "finding"),
    [
        ("workload_safety", "webhooks budgets", [(200, {"items": [BUDGET]}), NOTHING, NOTHING], "budget shop/web"),
        ("capacity", "services quotas", [(200, {"items": [FULL]})], "resourcequota shop/q: pods: 1 of 1 in use, 100 %"),
    ],
)
def test_a_list_that_cannot_be_read_hides_no_finding(
    folder: str, checks: str, answers: list[Answer], finding: str, refusal: Answer, tmp_path: Path
) -> None:
    code, log = inspect(folder, tmp_path, refusal, *answers, CHECKS=checks)
    assert code == 1, log
    assert finding in log
    assert (
        "permission missing: list things at the cluster scope" if refusal is FORBIDDEN else "request timed out"
    ) in log


def test_a_missing_permission_alone_is_unknown(tmp_path: Path) -> None:
    code, log = inspect("capacity", tmp_path, FORBIDDEN, NOTHING, CHECKS="services quotas")
    assert code == 2, log
    assert "UNKNOWN: permission missing: list things at the cluster scope" in log


def test_checks_run_after_any_error() -> None:
    checks = Checks()
    for error in (PermissionMissing("permission missing: a"), CheckFailed("b"), ValueError("c")):
        with checks.check("one"):
            raise error
    with checks.check("last"):
        checks.problems.append("d")
    assert (checks.problems, checks.unchecked, checks.failed) == (["d"], ["permission missing: a"], True)


def envoy_filter(name: str, max_tokens: Any) -> Json:
    config = {"token_bucket": {"max_tokens": max_tokens}, "filter_enabled": {"default_value": {"numerator": 1}}}
    config["filter_enforced"] = config["filter_enabled"]
    patch = {"value": {"name": "envoy.filters.http.local_ratelimit", "typed_config": config}}
    return {"metadata": {"namespace": "mesh", "name": name}, "spec": {"configPatches": [{"patch": patch}]}}


def test_an_envoy_filter_that_cannot_be_parsed_hides_no_other() -> None:
    first, second = filter_problems([envoy_filter("odd", "many"), envoy_filter("none", 0)])
    assert first.startswith("EnvoyFilter mesh/odd: its rate limits cannot be parsed: ")
    assert second.startswith("EnvoyFilter mesh/none: local rate limit: token_bucket.max_tokens is 0")
