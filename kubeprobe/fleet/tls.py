"""TLS to clusters as Go's crypto/tls and crypto/x509 do it: what kubectl trusts, KubeProbe trusts, and nothing else."""

import ssl
import tempfile

from kubeprobe.errors import InvalidInputError

_CIPHERS = "@SECLEVEL=1:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""Python's own, but for the level: 1 accepts RSA keys of 1,024 bits, as Go does, and no signature with SHA-1 or MD5."""


def client_context(authorities: str | None = None, *, verify: bool = True) -> ssl.SSLContext:
    """A client's context; `authorities` (PEM) are trusted in place of the system's.

    All flags are set here and none comes from a default, as `ssl.create_default_context` differs between versions of
    Python. Raises ssl.SSLError if there is no certificate in `authorities`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Partial chains: a trusted certificate need not be a root. Not VERIFY_X509_STRICT (on by default since
    # Python 3.13): it refuses authorities without key identifiers, which Go accepts.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.hostname_checks_common_name = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authorities:
        context.load_verify_locations(cadata=authorities)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def load_client_certificate(context: ssl.SSLContext, certificates: str, key: str) -> None:
    """Make a context show a client certificate (PEM). Raises InvalidInputError if it and its key cannot be used."""
    # OpenSSL reads a certificate from a file only: one that only we can read, deleted right after.
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(f"{certificates}\n{key}\n")
        file.flush()
        try:
            context.load_cert_chain(file.name, password=_refuse_passphrase)
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).replace("_", " ").lower()
            raise InvalidInputError(f"the client certificate and its key cannot be used: {reason}") from None


def _refuse_passphrase() -> str:
    """Called by OpenSSL for an encrypted key; without it, OpenSSL asks on the terminal, and all clusters wait."""
    raise InvalidInputError("the client key has a passphrase; expected a key without one")
