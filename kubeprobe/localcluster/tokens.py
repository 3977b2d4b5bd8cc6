"""Authentication: bearer tokens, and the kubeconfig files that contain them."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from kubeprobe.localcluster.errors import unauthorized

PATH_PREFIX = "/token/"


class Tokens:
    """The tokens a server accepts: the administrator's, and one for each running pod."""

    def __init__(self, administrator: str | None) -> None:
        self.administrator = administrator
        self._pods: set[str] = set()

    @staticmethod
    def from_path(path: str) -> tuple[str | None, str]:
        """The Authorization header from a /token/TOKEN path, and the rest of the path.

        kubectl (all of client-go) sends no token over plain HTTP, so the server's address may contain it.
        """
        if not path.startswith(PATH_PREFIX):
            return None, path
        token, _, rest = path.removeprefix(PATH_PREFIX).partition("/")
        return f"Bearer {token}", f"/{rest}"

    def check(self, header: str | None, *, allow_anonymous: bool = False) -> None:
        """Refuse a request without a valid token. Raises `ApiError` (401).

        As on the real server, public paths accept a missing token, but not an invalid one.
        """
        if self.administrator is None or (header is None and allow_anonymous):
            return
        kind, _, token = (header or "").partition(" ")
        if kind.lower() != "bearer" or not (self._is_administrator(token) or token in self._pods):
            raise unauthorized()

    def issue(self) -> str:
        """Create a token for a pod."""
        token = secrets.token_urlsafe(24)
        self._pods.add(token)
        return token

    def revoke(self, token: str) -> None:
        """Invalidate a pod's token."""
        self._pods.discard(token)

    def _is_administrator(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), (self.administrator or "").encode())


def url_with_token(url: str, token: str | None) -> str:
    """An address of the server that contains the token, for clients that send none over plain HTTP."""
    return f"{url}{PATH_PREFIX}{token}" if token else url


def write_kubeconfig(path: Path, contexts: Mapping[str, str], token: str | None, namespace: str = "default") -> None:
    """Write a kubeconfig (mode 0600) with a context for each server URL; the first is the current one."""
    user = {"token": token} if token else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": next(iter(contexts)),
        "clusters": [{"name": name, "cluster": {"server": url}} for name, url in contexts.items()],
        "users": [{"name": "localcluster", "user": user}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": "localcluster", "namespace": namespace}}
            for name in contexts
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(config, file, indent=2)  # JSON is valid YAML, and needs no library
    temporary.replace(path)
