"""From a run's identity to its pod."""

import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeprobe.catalog import Catalog, CatalogNotFoundError, RunIdentity, check_parameters, pod_name, render_pod
from kubeprobe.catalog.model import BindingSpec, ProbeCaseSpec, ProbeTemplateSpec, RenderConfigSpec
from kubeprobe.errors import InvalidInputError

RUN = "01jdabcdefghjkmnpqrstvwxyz"
IDENTITY = RunIdentity(
    run_id=RUN,
    installation="01jd0000000000000000000000",
    case="http",
    cluster="prod-1",
    trigger="periodic",
    cluster_labels={"region": "eu"},
    binding="core",
)


def given_catalog(
    template: dict[str, Any] | None = None, case: dict[str, Any] | None = None, **configs: Any
) -> Catalog:
    binding = {
        "cases": ["http"],
        "clusters": {"selector": {}},
        "on": {"periodic": {"every": "5m"}},
        **({"renderConfig": configs.pop("bound")} if "bound" in configs else {}),
    }
    return Catalog(
        version=1,
        templates={"probes": ProbeTemplateSpec.model_validate({"image": "probes:1", **(template or {})})},
        cases={"http": ProbeCaseSpec.model_validate({"template": "probes", "kind": "blackbox", **(case or {})})},
        bindings={"core": BindingSpec.model_validate(binding)},
        render_configs={name: RenderConfigSpec.model_validate(spec) for name, spec in configs.items()},
    )


def rendered(**kwargs: Any) -> dict[str, Any]:
    """The pod as it is sent to the API server."""
    found: dict[str, Any] = orjson.loads(orjson.dumps(render_pod(given_catalog(**kwargs), IDENTITY)))
    return found


def probe(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def env(pod: dict[str, Any]) -> dict[str, str | None]:
    return {variable["name"]: variable.get("value") for variable in probe(pod)["env"]}


def test_a_pod_carries_its_run_installation_and_case_as_labels():
    metadata = rendered()["metadata"]
    assert metadata["name"] == f"kp-http-{RUN}"
    assert metadata["namespace"] == "kubeprobe"
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "kubeprobe"
    assert metadata["labels"]["kubeprobe.io/installation"] == IDENTITY.installation
    assert metadata["labels"]["kubeprobe.io/run"] == RUN
    assert metadata["labels"]["kubeprobe.io/case"] == "http"


def test_the_policy_annotation_contains_all_that_judging_needs():
    pod = rendered(case={"timeouts": {"start": "2m", "run": "45s"}, "retries": 0}, template={"verdictFrom": "exitCode"})
    policy = orjson.loads(pod["metadata"]["annotations"]["kubeprobe.io/policy"])
    assert policy == {"verdictFrom": "exitCode", "startS": 120, "runS": 45, "retries": 0}
    assert pod["spec"]["activeDeadlineSeconds"] == 120 + 45 + 30


def test_the_probe_container_is_the_first_and_reports_through_its_termination_message():
    pod = rendered(
        template={"command": ["python", "-m", "x"], "args": ["-v"], "pod": {"containers": [{"name": "tls"}]}}
    )
    assert [container["name"] for container in pod["spec"]["containers"]] == ["probe", "tls"]
    assert probe(pod)["terminationMessagePath"] == "/dev/termination-log"
    assert probe(pod)["terminationMessagePolicy"] == "File"
    assert (probe(pod)["command"], probe(pod)["args"]) == (["python", "-m", "x"], ["-v"])
    assert pod["spec"]["restartPolicy"] == "Never"


def test_the_environment_contains_the_runs_identity_and_timeout():
    pod = rendered()
    found = env(pod)
    assert found["KUBEPROBE_RUN_ID"] == RUN
    assert found["KUBEPROBE_INSTALLATION"] == IDENTITY.installation
    assert found["KUBEPROBE_CASE"] == "http"
    assert found["KUBEPROBE_CLUSTER"] == "prod-1"
    assert found["KUBEPROBE_TRIGGER"] == "periodic"
    assert found["KUBEPROBE_RUN_TIMEOUT"] == "90"
    assert found["KUBEPROBE_REPORT_FILE"] == "/dev/termination-log"
    paths = {
        variable["name"]: variable["valueFrom"]["fieldRef"]["fieldPath"]
        for variable in probe(pod)["env"]
        if "valueFrom" in variable
    }
    assert paths == {
        "KUBEPROBE_POD_NAME": "metadata.name",
        "KUBEPROBE_POD_UID": "metadata.uid",
        "KUBEPROBE_NAMESPACE": "metadata.namespace",
        "KUBEPROBE_NODE": "spec.nodeName",
    }


def test_a_pod_of_a_node_is_pinned_to_it_despite_its_template_and_the_nodes_taints():
    template = {"tolerations": [{"key": "dedicated", "operator": "Exists"}], "pod": {"nodeName": "other"}}
    pod = render_pod(given_catalog(template=template), replace(IDENTITY, node="node-7.example"))
    assert (pod["spec"]["nodeName"], pod["spec"]["tolerations"]) == ("node-7.example", [{"operator": "Exists"}])
    assert pod["metadata"]["annotations"]["kubeprobe.io/node"] == "node-7.example"


def test_a_pod_of_a_cluster_is_left_to_the_scheduler():
    pod = rendered()
    assert not {"nodeName", "tolerations"} & pod["spec"].keys()
    assert "kubeprobe.io/node" not in pod["metadata"]["annotations"]


def test_values_of_template_case_render_config_and_manual_run_override_one_another_in_this_order():
    catalog = given_catalog(
        template={"env": {"A": "template", "B": "template", "C": "template", "D": "template"}},
        case={"parameters": {"B": "case", "C": "case", "D": "case"}},
        usual={"for": "http", "values": {"C": "config", "D": "config"}},
    )
    found = env(render_pod(catalog, replace(IDENTITY, parameters={"D": "hand"})))
    assert [found[name] for name in "ABCD"] == ["template", "case", "config", "hand"]
    assert found["KUBEPROBE_PARAMETERS"] == "A,B,C,D"


def test_a_manual_parameter_cannot_override_the_runs_identity():
    by_hand = {"KUBEPROBE_RUN_ID": "other", "KUBEPROBE_POD_UID": "other"}
    pod = render_pod(given_catalog(), replace(IDENTITY, parameters=by_hand))
    assert "other" not in str(pod)
    ids = [variable["value"] for variable in probe(pod)["env"] if variable["name"] == "KUBEPROBE_RUN_ID"]
    assert ids == [RUN]


def test_manual_parameters_are_validated_by_the_same_rules():
    assert check_parameters({"URL": "a"}) == {"URL": "a"}
    with pytest.raises(InvalidInputError, match=r"KUBEPROBE_CASE.*reserved.*PORT.*quotes.*BAD-NAME"):
        check_parameters({"KUBEPROBE_CASE": "a", "PORT": 80, "BAD-NAME": "b"})


def test_values_depend_on_the_clusters_labels():
    config = {
        "for": "http",
        "values": {"URL": "base"},
        "overrides": [{"clusterSelector": {"matchLabels": {"region": "eu"}}, "values": {"URL": "eu"}}],
    }
    catalog = given_catalog(usual=config)
    assert env(render_pod(catalog, IDENTITY))["URL"] == "eu"
    assert env(render_pod(catalog, replace(IDENTITY, cluster_labels={})))["URL"] == "base"


def test_the_bindings_render_config_takes_precedence_over_the_one_named_like_the_case():
    configs = {
        "http": {"for": "http", "values": {"URL": "usual"}},
        "special": {"for": "http", "values": {"URL": "special"}},
    }
    assert env(rendered(bound="special", **configs))["URL"] == "special"
    assert env(rendered(**configs))["URL"] == "usual"


def test_of_several_render_configs_none_is_used():
    configs = {"a": {"for": "http", "values": {"URL": "a"}}, "b": {"for": "http", "values": {"URL": "b"}}}
    assert "URL" not in env(rendered(**configs))


def test_a_pod_complies_with_the_restricted_pod_security_standard():
    pod = rendered(
        template={"pod": {"initContainers": [{"name": "wait", "image": "a"}], "containers": [{"name": "b"}]}}
    )
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*spec["containers"], *spec["initContainers"]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_root_file_system_is_read_only_and_tmp_can_be_written():
    pod = rendered()
    assert probe(pod)["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["mountPath"]: mount["name"] for mount in probe(pod)["volumeMounts"]}
    assert {volume["name"]: volume["emptyDir"] for volume in pod["spec"]["volumes"]} == {mounts["/tmp"]: {}}


def test_a_token_is_mounted_only_for_a_named_service_account():
    assert rendered()["spec"]["automountServiceAccountToken"] is False
    spec = rendered(template={"serviceAccountName": "prober"})["spec"]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("prober", True)


def test_the_templates_pod_is_merged_over_kubeprobes_own():
    pod = rendered(
        template={
            "nodeSelector": {"disk": "ssd"},
            "pod": {
                "hostNetwork": True,
                "securityContext": {"runAsUser": None, "fsGroup": 5},
                "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
                "containers": [
                    {
                        "name": "probe",
                        "securityContext": {"privileged": True, "allowPrivilegeEscalation": None},
                        "volumeMounts": [{"name": "host", "mountPath": "/host"}],
                        "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                    }
                ],
            },
        }
    )
    spec = pod["spec"]
    assert spec["hostNetwork"] is True
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "disk": "ssd"}
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": 5}
    assert [volume["name"] for volume in spec["volumes"]] == ["kubeprobe-tmp", "host"]
    assert probe(pod)["securityContext"]["privileged"] is True
    assert "allowPrivilegeEscalation" not in probe(pod)["securityContext"]
    assert [mount["mountPath"] for mount in probe(pod)["volumeMounts"]] == ["/tmp", "/host"]
    assert probe(pod)["env"][-1]["name"] == "TOKEN"


def test_tolerations_pull_secrets_and_resources_are_set():
    spec = rendered(
        template={
            "tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 5}],
            "imagePullSecrets": ["registry"],
            "imagePullPolicy": "Always",
            "resources": {"requests": {"cpu": 1}, "limits": {"memory": "64Mi"}},
        }
    )["spec"]
    assert spec["tolerations"] == [{"key": "a", "operator": "Exists", "tolerationSeconds": 5}]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["containers"][0]["imagePullPolicy"] == "Always"
    assert spec["containers"][0]["resources"] == {"requests": {"cpu": "1"}, "limits": {"memory": "64Mi"}}


def test_labels_and_annotations_of_a_template_are_added_to_kubeprobes_own():
    template = {"labels": {"team": "platform"}, "annotations": {"sidecar.istio.io/inject": "false"}}
    plain, metadata = rendered()["metadata"], rendered(template=template)["metadata"]
    assert metadata["labels"] == {**plain["labels"], "team": "platform"}
    assert metadata["annotations"] == {**plain["annotations"], "sidecar.istio.io/inject": "false"}


def test_what_is_the_same_for_all_runs_is_computed_once():
    catalog = given_catalog()
    first = render_pod(catalog, IDENTITY)
    second = render_pod(catalog, replace(IDENTITY, run_id="01jd9999999999999999999999", cluster="prod-2"))
    assert len(catalog.blueprints) == 1
    assert first["spec"]["volumes"] is second["spec"]["volumes"]
    assert env(first)["KUBEPROBE_CLUSTER"] == "prod-1"


def test_a_removed_case_is_reported_with_the_nearest_name():
    with pytest.raises(CatalogNotFoundError, match=r"there is no ProbeCase 'htp' in the catalog\. Did you mean 'http'"):
        render_pod(given_catalog(), replace(IDENTITY, case="htp"))


def test_a_removed_template_is_reported():
    with pytest.raises(CatalogNotFoundError, match="there is no ProbeTemplate 'gone'"):
        render_pod(given_catalog(case={"template": "gone"}), IDENTITY)


def test_open_runs_of_a_removed_binding_are_still_rendered():
    assert render_pod(given_catalog(), replace(IDENTITY, binding="gone"))["metadata"]["name"]


names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@given(names, st.integers(1, 9999))
def test_a_pod_name_is_a_kubernetes_name_that_contains_the_run_id(case, attempt):
    name = pod_name(case, RUN, attempt)
    assert len(name) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert RUN in name


def test_only_retries_are_numbered():
    assert pod_name("http", RUN) == f"kp-http-{RUN}"
    assert pod_name("http", RUN, 2) == f"kp-http-{RUN}-2"
