"""Chains of certificates and bundles of authorities, for the comparison of our trust with Go's."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

DAY = timedelta(days=1)
HOST = "api.example.com"
SAME_NAME = "an authority that was renewed without key identifiers"
FOR_ANYTHING = ("a certificate for anything", "an intermediate for anything")
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Certificate:
    """A certificate, as PEM, and its key."""

    name: str
    pem: str
    key: Key

    @property
    def key_pem(self) -> str:
        """Without a passphrase."""
        kind, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, kind, none).decode()


@dataclass(frozen=True)
class Wanted:
    """What a certificate contains."""

    starts: timedelta = -30 * DAY
    ends: timedelta = DAY
    names: tuple[str, ...] = (HOST,)
    is_authority: bool = False
    basic_constraints: bool = True
    path_length: int | None = None
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = ()
    key: Key | None = None
    sha1: bool = False


AUTHORITY = Wanted(is_authority=True, names=())


def issue(name: str, issuer: Certificate | None, wanted: Wanted = Wanted()) -> Certificate:
    """A certificate; without an issuer it signs itself. `name` is its subject's common name."""
    key = wanted.key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(_subject(issuer.name if issuer else name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + wanted.starts)
        .not_valid_after(now + wanted.ends)
    )
    if wanted.basic_constraints:
        length = wanted.path_length if wanted.is_authority else None
        builder = builder.add_extension(
            x509.BasicConstraints(ca=wanted.is_authority, path_length=length), critical=True
        )
    if wanted.names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(list(map(alternative, wanted.names))), critical=False
        )
    for extension, critical in wanted.extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = issuer.key if issuer else key
    signed = builder.sign(signer, hashes.SHA256())
    if wanted.sha1:
        assert isinstance(signer, rsa.RSAPrivateKey)
        signed = _sign_with_sha1(signed, signer)
    return Certificate(name, signed.public_bytes(serialization.Encoding.PEM).decode(), key)


def _sign_with_sha1(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> x509.Certificate:
    """The same certificate, signed with SHA-1, which `CertificateBuilder` refuses. Its identifier is as long."""
    sha256, sha1 = (bytes.fromhex(f"06092a864886f70d0101{number}0500") for number in ("0b", "05"))
    content = certificate.tbs_certificate_bytes
    signed = content.replace(sha256, sha1)
    der = certificate.public_bytes(serialization.Encoding.DER).replace(content, signed).replace(sha256, sha1)
    signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA1())
    return x509.load_der_x509_certificate(der[: -len(signature)] + signature)


def alternative(name: str) -> x509.GeneralName:
    """A name; `dns:` before an address makes it a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.removeprefix("dns:"))


@dataclass
class Cases:
    """Collects cases: bundle, chain of the server (its own certificate first), host."""

    found: list[dict[str, str]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, bundle: Sequence[Certificate], chain: Sequence[Certificate], host: str = HOST) -> None:
        """Add one."""
        texts = ("".join(each.pem for each in certificates) for certificates in (bundle, chain))
        self.found.append(dict(zip(("Bundle", "Chain"), texts, strict=True), Name=name, Host=host))
        self.keys[name] = chain[0].key_pem


def make_cases() -> Cases:
    """All cases."""
    cases = Cases()
    root, other = issue("root", None, AUTHORITY), issue("other", None, AUTHORITY)
    middle = issue("middle", root, AUTHORITY)
    leaf = issue("leaf", middle)
    _add_bundles(cases, root, other, middle, leaf)
    _add_names(cases, root)
    _add_authorities(cases, root)
    _add_algorithms(cases, root)
    return cases


def _add_bundles(cases: Cases, root: Certificate, other: Certificate, middle: Certificate, leaf: Certificate) -> None:
    direct = issue("direct", root)
    expired_root = issue("old", None, Wanted(is_authority=True, names=(), ends=-DAY))
    of_expired = issue("middle of old", expired_root, AUTHORITY)
    leaf_of_expired = issue("leaf of old", of_expired)
    expired_middle = issue("old middle", root, Wanted(is_authority=True, names=(), ends=-DAY))
    own = issue("own", None)
    cases.add("root", [root], [direct])
    cases.add("root, and the intermediate is sent", [root], [leaf, middle])
    cases.add("root, and the intermediate is not sent", [root], [leaf])
    cases.add("root and intermediate", [root, middle], [leaf])
    cases.add("intermediate only", [middle], [leaf])
    cases.add("intermediate only, which is sent as well", [middle], [leaf, middle])
    cases.add("intermediate only, and the root is sent as well", [middle], [leaf, middle, root])
    cases.add("the certificate itself", [leaf], [leaf, middle])
    cases.add("the certificate itself, for another host", [leaf], [leaf, middle], "b.example.com")
    cases.add("another root", [other], [leaf, middle])
    cases.add("another root first", [other, root], [leaf, middle])
    cases.add(SAME_NAME, [issue("root", None, AUTHORITY), root], [direct])
    identified = [_identified("renewed") for _ in range(2)]
    extension = x509.AuthorityKeyIdentifier.from_issuer_public_key(identified[1].key.public_key())
    signed = issue("leaf", identified[1], Wanted(extensions=[(extension, False)]))
    cases.add("an authority that was renewed with key identifiers", identified, [signed])
    cases.add("an expired root", [expired_root], [leaf_of_expired, of_expired])
    cases.add("an expired root, and its intermediate", [expired_root, of_expired], [leaf_of_expired])
    cases.add("the intermediate of an expired root", [of_expired], [leaf_of_expired, of_expired])
    cases.add("an expired intermediate only", [expired_middle], [issue("leaf", expired_middle)])
    cases.add("an expired intermediate is sent", [root], [issue("leaf", expired_middle), expired_middle])
    cases.add("signed by itself, and trusted", [own], [own])
    cases.add("signed by itself, and not trusted", [root], [own])
    cases.add("signed by a certificate that is no authority", [direct], [issue("leaf", direct)])
    cases.add("root, by way of a certificate that is no authority", [root], [issue("leaf", direct), direct])
    cases.add("an expired certificate", [root], [issue("leaf", root, Wanted(ends=-DAY))])
    cases.add(
        "an expired certificate that is trusted itself", [expired := issue("x", root, Wanted(ends=-DAY))], [expired]
    )
    cases.add("a certificate that is not valid yet", [root], [issue("leaf", root, Wanted(starts=DAY / 2))])
    cases.add("nothing that signed it", [direct], [leaf, middle])


def _identified(name: str) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    extension = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return issue(name, None, Wanted(is_authority=True, names=(), key=key, extensions=[(extension, False)]))


def _add_names(cases: Cases, root: Certificate) -> None:
    for name, names, host in (
        ("another host", ("b.example.com",), HOST),
        ("the common name only", (), HOST),
        ("one of several names", ("a", HOST, "10.0.0.1"), HOST),
        ("upper case", ("API.Example.COM",), HOST),
        ("a wildcard", ("*.example.com",), HOST),
        ("a wildcard for two labels", ("*.example.com",), "a.api.example.com"),
        ("a wildcard for no label", ("*.example.com",), "example.com"),
        ("a wildcard within a label", ("a*.example.com",), HOST),
        ("a wildcard in the middle", ("api.*.com",), HOST),
        ("an address", ("10.0.0.1",), "10.0.0.1"),
        ("another address", ("10.0.0.2",), "10.0.0.1"),
        ("an address of IPv6", ("fd00::1",), "fd00::1"),
        ("an address as a DNS name", ("dns:10.0.0.1",), "10.0.0.1"),
    ):
        cases.add(f"name: {name}", [root], [issue(HOST, root, Wanted(names=names))], host)


def _add_authorities(cases: Cases, root: Certificate) -> None:
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    ) | {"decipher_only": False, "digital_signature": True, "crl_sign": True}
    signs = x509.KeyUsage(**usage, key_cert_sign=True)
    signs_not = x509.KeyUsage(**usage, key_cert_sign=False)
    permitted = x509.NameConstraints([x509.DNSName("example.com")], None)
    excluded = x509.NameConstraints(None, [x509.DNSName("example.com")])
    elsewhere = x509.NameConstraints([x509.DNSName("example.org")], None)
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    for name, wanted in (
        ("may sign certificates", Wanted(is_authority=True, names=(), extensions=[(signs, True)])),
        ("may not sign certificates", Wanted(is_authority=True, names=(), extensions=[(signs_not, True)])),
        ("without basic constraints", Wanted(names=(), basic_constraints=False)),
        ("for these names", Wanted(is_authority=True, names=(), extensions=[(permitted, True)])),
        ("for other names", Wanted(is_authority=True, names=(), extensions=[(elsewhere, True)])),
        ("not for these names", Wanted(is_authority=True, names=(), extensions=[(excluded, True)])),
        ("with an unknown extension", Wanted(is_authority=True, names=(), extensions=[(unknown, False)])),
        ("with an unknown critical extension", Wanted(is_authority=True, names=(), extensions=[(unknown, True)])),
    ):
        as_root, as_middle = issue("authority", None, wanted), issue("authority", root, wanted)
        cases.add(f"an authority {name}, as root", [as_root], [issue("leaf", as_root)])
        cases.add(f"an authority {name}, as intermediate", [root], [issue("leaf", as_middle), as_middle])
        cases.add(f"an authority {name}, as trusted intermediate", [as_middle], [issue("leaf", as_middle)])
    short = issue("short", None, Wanted(is_authority=True, names=(), path_length=0))
    below = issue("below", short, AUTHORITY)
    cases.add("a path length of 0", [short], [issue("leaf", short)])
    cases.add("a path length of 0, exceeded", [short], [issue("leaf", below), below])
    for name, usages in (
        ("servers", [ExtendedKeyUsageOID.SERVER_AUTH]),
        ("clients", [ExtendedKeyUsageOID.CLIENT_AUTH]),
        ("servers and clients", [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
        ("anything", [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
    ):
        extension = [(x509.ExtendedKeyUsage(usages), False)]
        cases.add(f"a certificate for {name}", [root], [issue("leaf", root, Wanted(extensions=extension))])
        middle = issue("middle", root, Wanted(is_authority=True, names=(), extensions=extension))
        cases.add(f"an intermediate for {name}", [root], [issue("leaf", middle), middle])


def _add_algorithms(cases: Cases, root: Certificate) -> None:
    for bits in (1024, 2048):
        key = rsa.generate_private_key(65537, bits)
        authority = issue("rsa", None, Wanted(is_authority=True, names=(), key=key))
        cases.add(f"RSA of {bits} bits", [root], [issue("leaf", root, Wanted(key=key))])
        cases.add(f"an authority with RSA of {bits} bits", [authority], [issue("leaf", authority)])
    key = rsa.generate_private_key(65537, 2048)
    strong = issue("strong", None, Wanted(is_authority=True, names=(), key=key))
    weak_root = issue("weak", None, Wanted(is_authority=True, names=(), key=key, sha1=True))
    weak_middle = issue("weak middle", strong, Wanted(is_authority=True, names=(), sha1=True))
    weak = issue("leaf", strong, Wanted(sha1=True))
    cases.add("SHA-1", [strong], [weak])
    cases.add("SHA-1 of a root", [weak_root], [issue("leaf", weak_root)])
    cases.add("SHA-1 of an intermediate", [strong], [issue("leaf", weak_middle), weak_middle])
    cases.add("SHA-1 of a trusted intermediate", [weak_middle], [issue("leaf", weak_middle)])
    cases.add("SHA-1 of a certificate that is trusted itself", [weak], [weak])


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
