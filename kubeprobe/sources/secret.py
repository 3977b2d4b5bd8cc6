"""What opens a source's repository, and what its webhook is signed with: checked when given, stored encrypted."""

from dataclasses import asdict, dataclass, field, fields, replace

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.credentials import Cipher
from kubeprobe.sources.address import Address, Scheme

_WHAT = "the stored secret of a source"
_REMEDY = "add the source again with --replace"
MIN_WEBHOOK_SECRET = 16
"""Characters: a shorter one could be guessed."""


@dataclass(frozen=True)
class Secret:
    """The secrets of one source; empty where there is none. Never shown."""

    deploy_key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    known_hosts: str = field(default="", repr=False)
    """Lines as in ssh's known_hosts; no secret, but what the key is shown to is decided by them."""
    webhook: str = field(default="", repr=False)

    def seal(self, cipher: Cipher) -> bytes | None:
        """As it is stored; None where there is nothing to hide."""
        return cipher.seal_values(asdict(self)) if self != Secret() else None

    @classmethod
    def open(cls, cipher: Cipher, sealed: bytes | None) -> "Secret":
        """What was stored; SecretKeyError if it was sealed with another key."""
        if sealed is None:
            return cls()
        found = cipher.open_values(sealed, _WHAT, _REMEDY)
        return cls(**{each.name: str(found.get(each.name, "")) for each in fields(cls)})

    def over(self, stored: "Secret") -> "Secret":
        """These; and where there is none, what is stored."""
        return Secret(**{each.name: getattr(self, each.name) or getattr(stored, each.name) for each in fields(self)})

    def with_known_hosts(self, lines: str) -> "Secret":
        """The same, held to these hosts."""
        return replace(self, known_hosts=lines)

    def texts(self) -> tuple[str, ...]:
        """What must never be told."""
        return tuple(text for text in (self.deploy_key, self.token, self.webhook) if text)


def check_secret(address: Address, secret: Secret) -> Secret:
    """Refuse secrets that do not fit the address, or are none. Raises InvalidInputError, without telling them."""
    if secret.deploy_key and address.scheme is not Scheme.SSH:
        raise InvalidInputError(f"a deploy key opens ssh addresses, and {address.shown} is none; use a token")
    if secret.known_hosts and address.scheme is not Scheme.SSH:
        raise InvalidInputError(f"known hosts are for ssh addresses, and {address.shown} is none")
    if address.scheme is Scheme.SSH and not secret.deploy_key:
        raise InvalidInputError("an ssh address needs a key that may read the repository: --deploy-key FILE")
    if secret.token and address.scheme not in {Scheme.HTTPS, Scheme.HTTP}:
        raise InvalidInputError(f"a token opens https addresses, and {address.shown} is none")
    if address.user and not secret.token and address.scheme in {Scheme.HTTPS, Scheme.HTTP}:
        # Not told back, and not tried: it is often a token, which would be stored in clear.
        raise InvalidInputError(
            "the address holds a user name; give the token by --token-file or --token-env, or leave the name out"
        )
    if secret.token and not address.is_private:
        raise InvalidInputError(f"{address.shown} would send the token where others can read it; use https")
    if secret.token and not (secret.token.isascii() and secret.token.isprintable() and " " not in secret.token):
        raise InvalidInputError("the token holds spaces or what cannot be printed; expected one line")
    if secret.webhook and len(secret.webhook) < MIN_WEBHOOK_SECRET:
        raise InvalidInputError(f"the webhook's secret is too short; at least {MIN_WEBHOOK_SECRET} characters")
    if secret.deploy_key:
        _check_key(secret.deploy_key)
    return secret


def _check_key(text: str) -> None:
    load = load_ssh_private_key if "OPENSSH PRIVATE KEY" in text else load_pem_private_key
    try:
        load(text.encode(), password=None)
    except TypeError:
        raise InvalidInputError(
            "the deploy key has a passphrase, which nobody could type; expected one without"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInputError(
            "the deploy key is no private key; expected what `ssh-keygen -t ed25519 -N ''` writes (not the .pub file)"
        ) from None
