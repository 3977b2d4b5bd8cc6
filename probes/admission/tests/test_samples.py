import pytest

from probes.admission.samples import Answer, parse


def test_a_manifest_may_have_several_objects_in_yaml_or_json() -> None:
    text = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n"
    text += '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}}\n---\n'
    assert [sample["metadata"]["name"] for sample in parse(text)] == ["a", "b"]
    assert parse("") == []


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "just text",
        "kind: Pod",
        "{apiVersion: v1, kind: Pod, metadata: {}}",
        "{apiVersion: v1, kind: Pod, metadata: a}",
        "a: 2026-99-99",
        "[" * 2000,
    ],
)
def test_an_invalid_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_the_denying_policy_is_read_from_the_api_servers_message() -> None:
    by_webhook = Answer(False, 1, '403 Forbidden: admission webhook "guard.shop.io" denied the request: no (POST /api)')
    by_policy = Answer(
        False,
        1,
        "422 Invalid: pods \"a\" is forbidden: ValidatingAdmissionPolicy 'small' with binding 'b' denied request: no",
    )
    assert (by_webhook.denied_by, by_webhook.failed_call) == ("webhook guard.shop.io", "")
    assert by_policy.denied_by == "policy small"
    assert Answer(False, 1, "403 Forbidden: exceeded quota").denied_by == ""


def test_a_webhook_that_could_not_be_called_is_not_a_denial() -> None:
    error = (
        '500 InternalError: Internal error occurred: failed calling webhook "guard.shop.io": failed to call webhook: '
        'Post "https://guard.shop.svc:443/?timeout=2s": context deadline exceeded (POST /api/v1/pods)'
    )
    answer = Answer(False, 1, error)
    assert answer.denied_by == ""
    assert answer.failed_call.startswith(
        "the API server cannot call webhook guard.shop.io: failed to call webhook: Post"
    )
    assert answer.failed_call.endswith("context deadline exceeded")
