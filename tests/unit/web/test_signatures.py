"""Webhook signatures as the Git servers make them."""

import hashlib
import hmac

import pytest

from kubeprobe.web.signatures import is_signed

SECRET = "It's a Secret to Everybody"
BODY = b"Hello, World!"
HEX = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()


def test_the_example_of_githubs_documentation_is_valid() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert is_signed({"x-hub-signature-256": signature}, BODY, SECRET)


@pytest.mark.parametrize(
    "headers",
    [{"x-gitea-signature": HEX}, {"x-forgejo-signature": HEX}, {"x-gitlab-token": SECRET}],
    ids=["gitea", "forgejo", "gitlab"],
)
def test_signatures_of_the_other_servers_are_valid(headers: dict[str, str]) -> None:
    assert is_signed(headers, BODY, SECRET)
    assert not is_signed(headers, BODY, "another secret")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-hub-signature-256": ""},
        {"x-hub-signature-256": HEX},
        {"x-hub-signature-256": f"sha256={HEX[:-1]}0" if HEX[-1] != "0" else f"sha256={HEX[:-1]}1"},
        {"x-hub-signature": f"sha1={HEX}"},
        {"x-gitlab-token": ""},
        {"x-gitlab-token": "\udcff"},
        {"x-hub-signature-256": "sha256=wrong", "x-gitlab-token": SECRET},
    ],
    ids=str,
)
def test_anything_else_is_invalid(headers: dict[str, str]) -> None:
    assert not is_signed(headers, BODY, SECRET)


def test_an_empty_secret_verifies_nothing() -> None:
    assert not is_signed({"x-gitlab-token": ""}, BODY, "")
