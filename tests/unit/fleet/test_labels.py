"""Names and labels: the limits that Kubernetes sets."""

import pytest

from kubeprobe.fleet.labels import key_problem, name_problem, value_problem


@pytest.mark.parametrize("name", ["a", "prod-1", "1", "a" * 63])
def test_a_name_that_kubernetes_accepts_is_valid(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize("name", ["", "Prod", "-a", "a-", "a.b", "a_b", "a" * 64, "ä", "a\n"])
def test_a_name_that_kubernetes_rejects_is_invalid(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize("key", ["a", "A.b_c-d", "example.com/a", f"{'a.' * 126}a/{'b' * 63}"])
def test_a_label_key_that_kubernetes_accepts_is_valid(key: str) -> None:
    assert key_problem(key) is None


@pytest.mark.parametrize("key", ["", "/a", "a/", "a/b/c", "-a", "Ex.com/a", "a" * 64, f"{'a' * 254}/b", "a b"])
def test_a_label_key_that_kubernetes_rejects_is_invalid(key: str) -> None:
    assert key_problem(key)


@pytest.mark.parametrize("value", ["", "a", "A.b_c-1", "a" * 63])
def test_a_label_value_that_kubernetes_accepts_is_valid(value: str) -> None:
    assert value_problem(value) is None


@pytest.mark.parametrize("value", ["-a", "a-", "a b", "a" * 64, 1, True, None, "a\n"])
def test_a_label_value_that_kubernetes_rejects_is_invalid(value: object) -> None:
    assert value_problem(value)
