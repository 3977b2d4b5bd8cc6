"""Masking of credentials: it is applied to whatever is printed or logged."""

from kubeprobe.masking import mask_secrets

SEEDS: tuple[bytes, ...] = (
    b"postgres://u:secret@h/db?password=x",
    b"Authorization: Bearer abc.DEF123456",
    b"https://token:x-oauth-basic@h/a.git https://u:it's@h eyJhbGciOiJSUzI1NiJ9.a.b -----BEGIN PRIVATE KEY-----a-b",
    b"{'url':'https://a.b/x','mail':'u@x.com'} https://a.b:1/c@sha256:0 https://a.b/x?token=a@b",
    b"slack://a/b/c https://hooks.slack.com/services/a/b/c",
)


def fuzz(data: bytes) -> None:
    """Every text is masked, and masking it again changes nothing."""
    masked = mask_secrets(data.decode(errors="replace"))
    assert mask_secrets(masked) == masked
