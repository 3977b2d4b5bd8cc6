"""Checking a real cluster, with sufficient permissions and without."""

from pathlib import Path

from kubeprobe.fleet.api import ClusterApi, pods_path
from kubeprobe.fleet.check import Finding, check_cluster
from kubeprobe.fleet.check_pod import ImageTrial
from kubeprobe.vocabulary import LABEL_CHECK
from tests.real.fleet.conftest import Enter
from tests.real.fleet.given import PAUSE, Accounts, Json, kubeconfig_with, refused_in_time

ENOUGH = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "list", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
]
TRIAL = ImageTrial(PAUSE, installation="01test")


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


async def as_somebody(enter: Enter, accounts: Accounts, rules: list[Json], admin: Path, folder: Path) -> ClusterApi:
    await accounts.make("somebody", rules)
    return await enter(kubeconfig_with(folder / "config", admin, {"token": await accounts.token("somebody")}))


async def test_the_documented_permissions_suffice_and_nothing_is_left(
    enter: Enter, accounts: Accounts, namespace: str, admin: ClusterApi, kubeconfig: Path, tmp_path: Path
) -> None:
    api = await as_somebody(enter, accounts, ENOUGH, kubeconfig, tmp_path)
    findings = await check_cluster(api, namespace, TRIAL)
    assert [f.check for f in findings] == ["reachable", "version", "clock", "namespace", "permissions", "image"]
    assert all(finding.ok for finding in findings), findings
    assert all(
        "deletionTimestamp" in pod["metadata"]
        for pod in (await admin.list_objects(pods_path(namespace), LABEL_CHECK))[0]
    )


async def test_each_missing_right_is_named_with_the_rule_that_grants_it(
    enter: Enter, accounts: Accounts, namespace: str, kubeconfig: Path, tmp_path: Path
) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "get", "list"]}]
    found = by_name(
        await check_cluster(await as_somebody(enter, accounts, rules, kubeconfig, tmp_path), namespace, TRIAL)
    )
    assert found["permissions"].found == "missing: watch, delete pods; get pods/log"
    assert '{apiGroups: [""], resources: [pods], verbs: [watch, delete]}' in found["permissions"].remedy
    assert found["namespace"].ok, "it is there, though it may not be read"
    assert found["image"].found == "not tried: KubeProbe must be allowed to watch, delete pods"


async def test_a_missing_image_and_a_missing_namespace_are_named(admin: ClusterApi, namespace: str) -> None:
    missing = ImageTrial("docker.io/kubeprobe/nothing-here:dev", installation="01test")
    found = by_name(await check_cluster(admin, namespace, missing))
    assert "ErrImagePull" in found["image"].found, found
    found = by_name(await check_cluster(admin, "no-such-namespace", TRIAL))
    assert found["namespace"].remedy.endswith("kubectl create namespace no-such-namespace")
    assert "no pod could be started" in found["image"].found
    assert found["permissions"].ok


async def test_a_full_quota_is_named(admin: ClusterApi, namespace: str) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    await admin.call("POST", f"/api/v1/namespaces/{namespace}/resourcequotas", body=quota)
    await refused_in_time(admin, namespace, "exceeded quota")
    found = by_name(await check_cluster(admin, namespace, TRIAL))
    assert "exceeded quota" in found["image"].found
    assert "raise the quota" in found["image"].remedy


async def test_a_strict_namespace_admits_the_pod_of_the_check(admin: ClusterApi, namespace: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await admin.merge_patch(f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}}, {})
    assert by_name(await check_cluster(admin, namespace, TRIAL))["image"].ok
