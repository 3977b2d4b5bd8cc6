"""Fetches the certificate of a TLS server."""

import socket
import ssl

CONNECT_TIMEOUT = 5.0
"""Time limit of a handshake, in seconds."""


class EndpointError(Exception):
    """An endpoint's certificate could not be fetched; the text is the cause."""


def parse(endpoint: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[IPv6]:port`; raises ValueError."""
    host, colon, port = endpoint.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = endpoint, "443"
    host = host.strip("[]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{endpoint!r}: expected host:port, such as registry.example.com:443")
    return host, int(port)


def serving_certificate(host: str, port: int) -> bytes:
    """The server's own certificate in DER; not verified, as expired ones must be read too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # also read certificates with weak keys
    try:
        with (
            socket.create_connection((host, port), CONNECT_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            certificate = tls.getpeercert(binary_form=True)
    except (OSError, ValueError) as error:  # ValueError: an invalid host name
        raise EndpointError(f"no TLS handshake: {error}") from error
    if certificate is None:
        raise EndpointError("the server sent no certificate")
    return certificate
