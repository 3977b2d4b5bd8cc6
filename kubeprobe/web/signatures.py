"""Verifying that a push was signed with the source's webhook secret: pure functions.

GitHub: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries. Gitea and Forgejo: the same
HMAC without a prefix, https://docs.gitea.com/usage/webhooks. GitLab sends the secret itself,
https://docs.gitlab.com/user/project/integrations/webhooks/#create-a-webhook.
"""

import hashlib
import hmac
from collections.abc import Mapping

_HMACS = {"x-hub-signature-256": "sha256=", "x-gitea-signature": "", "x-forgejo-signature": "", "x-gogs-signature": ""}
"""Header -> prefix of its value, which continues with the HMAC-SHA256 of the body in hex."""
_TOKEN = "x-gitlab-token"  # noqa: S105 - a header's name


def is_signed(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether the first known signature header is valid for the secret. Compares in constant time.

    `headers` by lower-case name. An empty secret verifies nothing.
    """
    if not secret:
        return False
    for header, prefix in _HMACS.items():
        if header in headers:
            expected = prefix + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            return _equal(headers[header], expected)
    return _equal(headers.get(_TOKEN, ""), secret)


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())
