"""Kubeconfig files are made self-contained, or rejected with what to change and without their secrets."""

import base64
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.credentials import from_kubeconfig
from kubeprobe.fleet.kubeconfig import cluster_of, user_of

PEM = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def write(folder: Path, cluster: Any = None, user: Any = None, **top: Any) -> Path:
    """A kubeconfig with two contexts, `one` (current) and `two`."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [
            {"name": "c1", "cluster": {"server": "https://one:6443"} | (cluster or {})},
            {"name": "c2", "cluster": {"server": "http://two/prefix"}},
        ],
        "users": [{"name": "u1", "user": user or {"token": "t1"}}, {"name": "u2", "user": {"token": "t2"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c1", "user": "u1"}},
            {"name": "two", "context": {"cluster": "c2", "user": "u2"}},
            {"name": "nobody", "context": {"cluster": "c2"}},
            {"name": "broken", "context": {"cluster": "c3", "user": "u2"}},
        ],
    } | top
    path = folder / "config"
    with path.open("w") as file:
        YAML().dump(config, file)
    return path


def flat(path: Path, context: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    config = from_kubeconfig(path, context).config
    return cluster_of(config), user_of(config)


def test_the_current_context_is_the_default(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert flat(path) == ({"server": "https://one:6443"}, {"token": "t1"})
    assert flat(path, "two") == ({"server": "http://two/prefix"}, {"token": "t2"})
    assert flat(path, "nobody") == ({"server": "http://two/prefix"}, {})


def test_certificates_are_inlined_and_token_files_stay_references(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    for name in ("ca", "cert", "key"):
        (tmp_path / "pki" / name).write_bytes(PEM)
    user = {
        "client-certificate": "pki/cert",
        "client-key": str(tmp_path / "pki" / "key"),
        "tokenFile": "token",
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "args": ["x"]},
    }
    path = write(tmp_path, {"certificate-authority": "pki/ca", "tls-server-name": "other"}, user)
    cluster, found = flat(path)
    data = base64.b64encode(PEM).decode()
    assert cluster == {
        "server": "https://one:6443",
        "tls-server-name": "other",
        "certificate-authority-data": data,
    }
    assert found["client-certificate-data"] == found["client-key-data"] == data
    assert found["tokenFile"] == str(tmp_path / "token")
    assert found["exec"]["command"] == str(tmp_path / "plugin")


def test_a_plugin_without_a_folder_is_looked_up_in_path_as_kubectl_does(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws"}
    assert flat(write(tmp_path, user={"exec": plugin}))[1]["exec"]["command"] == "aws"


def test_data_in_several_lines_is_read(tmp_path: Path) -> None:
    data = base64.encodebytes(PEM * 3).decode()
    assert flat(write(tmp_path, {"certificate-authority-data": data}))[0]["certificate-authority-data"] == (
        base64.b64encode(PEM * 3).decode()
    )


PLUGIN = {"apiVersion": "client.authentication.k8s.io/v1", "command": "p"}


@pytest.mark.parametrize(
    ("cluster", "user", "context", "reason"),
    [
        (None, None, "on", r"no context 'on'. Did you mean 'one'\?"),
        (None, None, "broken", r"no cluster 'c3'. Known: c1, c2"),
        ({"server": "one:6443"}, None, None, "is not an address; expected https://HOST"),
        ({"server": ""}, None, None, "is not an address"),
        ({"server": "https://[::1:6443"}, None, None, "is not an address"),
        ({"server": "https://one:port"}, None, None, "is not an address"),
        ({"proxy-url": "socks5://p:1"}, None, None, "use an http or https proxy"),
        ({"certificate-authority": "missing"}, None, None, "certificate-authority .*missing: No such file"),
        ({"certificate-authority-data": "@@"}, None, None, "certificate-authority-data is not base64"),
        ({"certificate-authority-data": "AAAA"}, None, None, "certificate-authority is not PEM"),
        (None, {"client-certificate-data": base64.b64encode(PEM).decode()}, None, "but not both"),
        (None, {"auth-provider": {"name": "gcp"}}, None, "use an exec plugin"),
        (None, {"exec": {"command": "p"}}, None, "needs a command and an apiVersion"),
        (None, {"exec": PLUGIN | {"interactiveMode": "Always"}}, None, "needs a terminal"),
        (None, {"token": "two\nlines"}, None, "token is not one line"),
        (None, "s3cret", None, r"user 'u1' is not a mapping; expected its fields$"),
        (None, {"exec": "s3cret"}, None, r"exec plugin is not a mapping; expected its fields$"),
        ({"certificate-authority": ["x"]}, None, None, "certificate-authority .*No such file"),
        ({"proxy-url": "socks5://[x"}, None, None, "use an http or https proxy"),
    ],
)
def test_unusable_fields_are_errors_when_the_cluster_is_added(
    tmp_path: Path, cluster: Any, user: Any, context: str | None, reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        from_kubeconfig(write(tmp_path, cluster, user), context)


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        ({"clusters": [{"name": "c1", "cluster": "s3cret"}]}, r"cluster 'c1' is not a mapping; expected its fields$"),
        (
            {"contexts": [{"name": "one", "context": ["s3cret"]}]},
            r"'one' is not a mapping; expected its fields$",
        ),
        ({"contexts": [{"name": "one", "context": {"cluster": {"c1": 1}}}]}, r"no cluster .*Known: c1, c2"),
    ],
)
def test_the_error_of_a_malformed_section_does_not_show_it(tmp_path: Path, top: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        from_kubeconfig(write(tmp_path, **top))


def test_without_a_current_context_the_error_lists_the_contexts(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"name one\. Known: broken, nobody, one, two"):
        from_kubeconfig(write(tmp_path, **{"current-context": ""}))


@pytest.mark.parametrize(
    "content",
    [
        "token: s3cret\n  bad: [",
        "- s3cret",
        "s3cret",
        "clusters: s3cret",
        "clusters: [s3cret]",
        "",
        "s3cret: 2001-99-99",
    ],
)
def test_the_error_of_a_file_that_is_not_a_kubeconfig_does_not_show_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=r"expected a kubeconfig|is not a kubeconfig") as caught:
        from_kubeconfig(path)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_a_deeply_nested_file_is_an_error(tmp_path: Path, opening: str) -> None:
    path = tmp_path / "config"
    path.write_text(f"clusters: {opening * 3000}")
    with pytest.raises(InvalidInputError, match="config: is nested too deeply; expected a kubeconfig"):
        from_kubeconfig(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="none: cannot be read: No such file"):
        from_kubeconfig(tmp_path / "none")
