"""Whether a push comes from whoever knows the source's secret, as the Git servers sign: pure functions.

GitHub: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries. Gitea and Forgejo: the same
HMAC without a prefix, https://docs.gitea.com/usage/webhooks. GitLab sends the secret itself,
https://docs.gitlab.com/user/project/integrations/webhooks/#create-a-webhook.
"""

import hashlib
import hmac
from collections.abc import Mapping

_HMACS = {"x-hub-signature-256": "sha256=", "x-gitea-signature": "", "x-forgejo-signature": "", "x-gogs-signature": ""}
"""Header -> what stands before the HMAC-SHA256 of the body, in hex."""
_TOKEN = "x-gitlab-token"  # noqa: S105 - a header's name


def is_signed(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether the first of the known headers proves that the sender knows the secret. Compares in constant time.

    `headers` by lower-case name. Without a secret nothing is taken for signed.
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
