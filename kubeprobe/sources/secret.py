"""The secrets of a source: credentials for its repository, and its webhook secret. Validated, and stored encrypted."""

from dataclasses import asdict, dataclass, field, fields, replace

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.sources.address import Address, Scheme

_WHAT = "the stored secrets of a source"
_REMEDY = "add the source again with --replace"
MIN_WEBHOOK_SECRET = 16
"""Characters; a shorter one could be guessed."""


@dataclass(frozen=True)
class Secret:
    """The secrets of one source; empty: not set. Never shown."""

    deploy_key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    known_hosts: str = field(default="", repr=False)
    """Lines of an ssh known_hosts file; not secret, but they determine which servers are trusted."""
    webhook: str = field(default="", repr=False)

    def seal(self, cipher: Cipher) -> bytes | None:
        """The encrypted form that is stored; None if all are empty."""
        return cipher.seal_values(asdict(self)) if self != Secret() else None

    @classmethod
    def open(cls, cipher: Cipher, sealed: bytes | None) -> "Secret":
        """Decrypt the stored form. Raises SecretKeyError if it was encrypted with another key."""
        if sealed is None:
            return cls()
        found = cipher.open_values(sealed, _WHAT, _REMEDY)
        return cls(**{each.name: str(found.get(each.name, "")) for each in fields(cls)})

    def or_stored(self, stored: "Secret") -> "Secret":
        """These secrets; for those that are empty, the stored ones."""
        return Secret(**{each.name: getattr(self, each.name) or getattr(stored, each.name) for each in fields(self)})

    def with_known_hosts(self, lines: str) -> "Secret":
        """The same with these known hosts."""
        return replace(self, known_hosts=lines)

    def texts(self) -> tuple[str, ...]:
        """The texts that must not appear in messages."""
        return tuple(text for text in (self.deploy_key, self.token, self.webhook) if text)


def check_secret(address: Address, secret: Secret) -> Secret:
    """The secrets, if they are valid for the address. Raises InvalidInputError, whose message does not contain them."""
    if secret.deploy_key and address.scheme is not Scheme.SSH:
        raise InvalidInputError(f"a deploy key needs an ssh address, and {address.shown} is not one; use a token")
    if secret.known_hosts and address.scheme is not Scheme.SSH:
        raise InvalidInputError(f"known hosts need an ssh address, and {address.shown} is not one")
    if address.scheme is Scheme.SSH and not secret.deploy_key:
        raise InvalidInputError("an ssh address needs a key that can read the repository: --deploy-key FILE")
    if secret.token and address.scheme not in {Scheme.HTTPS, Scheme.HTTP}:
        raise InvalidInputError(f"a token needs an https address, and {address.shown} is not one")
    if address.user and not secret.token and address.scheme in {Scheme.HTTPS, Scheme.HTTP}:
        # Neither repeated nor tried: the user name is often a token, which would be stored unencrypted.
        raise InvalidInputError(
            "the address contains a user name; pass the token with --token-file or --token-env, or omit the name"
        )
    if secret.token and not address.is_private:
        raise InvalidInputError(f"{address.shown} would send the token unencrypted; use https")
    if secret.token and not (secret.token.isascii() and secret.token.isprintable() and " " not in secret.token):
        raise InvalidInputError("the token contains spaces or characters that are not printable ASCII")
    if secret.webhook and len(secret.webhook) < MIN_WEBHOOK_SECRET:
        raise InvalidInputError(f"the webhook secret is too short; expected at least {MIN_WEBHOOK_SECRET} characters")
    if secret.deploy_key:
        _check_key(secret.deploy_key)
    return secret


def _check_key(text: str) -> None:
    load = load_ssh_private_key if "OPENSSH PRIVATE KEY" in text else load_pem_private_key
    try:
        load(text.encode(), password=None)
    except TypeError:
        raise InvalidInputError(
            "the deploy key has a passphrase, which cannot be entered here; expected a key without one"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInputError(
            "the deploy key is not a private key; expected one from `ssh-keygen -t ed25519 -N ''` (not the .pub file)"
        ) from None
