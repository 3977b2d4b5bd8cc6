"""Whether the key of a TLS Secret belongs to its certificate; the keys are made by OpenSSL, as users make them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from probes.certificate_expiry.tls_secrets import key_problem
from tests.harness.need import lacking
from tests.probes.certificates import expiring_certificate


def openssl(*arguments: str) -> None:
    if shutil.which("openssl") is None:
        lacking("openssl is not installed")
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


KEYS = {
    "rsa": ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
    "rsa-pss": ("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"),
    "rsa PKCS #1": ("genrsa", "-traditional", "2048"),
    "ec": ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "ec with its parameters": ("ecparam", "-name", "secp384r1", "-genkey"),
    "ed25519": ("genpkey", "-algorithm", "ED25519"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_belongs_to_its_own_certificate_only(kind: str, tmp_path: Path) -> None:
    key, pem = tmp_path / "tls.key", tmp_path / "tls.crt"
    command, *options = KEYS[kind]
    openssl(command, "-out", str(key), *options)
    openssl("req", "-new", "-x509", "-key", str(key), "-subj", "/CN=web", "-out", str(pem))
    assert key_problem(pem.read_bytes(), key.read_bytes()) == ""
    problem = key_problem(expiring_certificate(90, "shop")[0], key.read_bytes())
    assert problem == "its private key (tls.key) does not belong to its certificate CN=shop"


def test_a_key_of_the_second_certificate_is_named() -> None:
    first, (second, key) = expiring_certificate(90, "issuer")[0], expiring_certificate(90, "web")
    assert key_problem(first + second, key) == (
        "its private key (tls.key) does not belong to its certificate CN=issuer, but to certificate 2 of 2: "
        "the server's own must be the first"
    )


def test_a_key_that_no_server_can_use_is_a_problem_without_any_of_the_key(tmp_path: Path) -> None:
    pem, key = expiring_certificate(90)
    plain, encrypted, traditional = tmp_path / "plain", tmp_path / "encrypted", tmp_path / "traditional"
    plain.write_bytes(key)
    openssl("pkcs8", "-topk8", "-in", str(plain), "-passout", "pass:x", "-out", str(encrypted))
    openssl("ec", "-aes128", "-in", str(plain), "-passout", "pass:x", "-out", str(traditional))
    problem = "no readable private key: tls.key is encrypted, expected a key without a passphrase"
    assert key_problem(pem, encrypted.read_bytes()) == key_problem(pem, traditional.read_bytes()) == problem
    assert key_problem(pem, b" ") == "no private key: tls.key is empty"
    assert key_problem(pem, pem) == "no readable private key: tls.key has no PEM block PRIVATE KEY"
    invalid = "no readable private key: the block PRIVATE KEY in tls.key is invalid or of an unknown algorithm"
    assert key_problem(pem, b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n") == invalid
    assert key_problem(pem, key[:100]) == invalid
