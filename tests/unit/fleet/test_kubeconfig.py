"""Kubeconfig files are made self-contained, or rejected with what to change and without their secrets."""

import base64
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.credentials import from_kubeconfig
from kubeprobe.fleet.files import FILE_LIMIT
from kubeprobe.fleet.kubernetes_yaml import MAX_VALUES
from tests.unit.fleet.certificates import Authority, Pair

VERSION = "client.authentication.k8s.io/v1"
PLUGIN = {"apiVersion": VERSION, "command": "p", "interactiveMode": "Never"}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Authority().issue("kubeprobe")


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
    return config["clusters"][0]["cluster"], config["users"][0]["user"]


def test_the_current_context_is_the_default(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert flat(path) == ({"server": "https://one:6443"}, {"token": "t1"})
    assert flat(path, "nobody") == ({"server": "http://two/prefix"}, {})


def test_certificates_are_inlined_and_token_files_stay_references(tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca").write_text(f"a comment: ä\n{pair.certificate}{pair.key}")
    (tmp_path / "pki" / "both").write_text(pair.certificate + pair.key)
    user = {
        "client-certificate": "pki/both",
        "client-key": str(tmp_path / "pki" / "both"),
        "tokenFile": "token",
    }
    path = write(tmp_path, {"certificate-authority": "pki/ca", "tls-server-name": "other"}, user)
    cluster, found = flat(path)
    assert cluster == {
        "server": "https://one:6443",
        "tls-server-name": "other",
        "certificate-authority-data": pair.certificate_data,
    }
    assert found["client-certificate-data"] == pair.certificate_data
    assert found["client-key-data"] == pair.key_data
    assert found["tokenFile"] == str(tmp_path / "token")


@pytest.mark.parametrize(("command", "kept"), [("aws", "aws"), ("./plugin", "{folder}/plugin"), ("/bin/p", "/bin/p")])
def test_a_plugin_with_a_folder_is_relative_to_the_kubeconfig_as_in_kubectl(
    tmp_path: Path, command: str, kept: str
) -> None:
    plugin = PLUGIN | {"command": command, "args": ["x"], "env": [{"name": "A", "value": "1"}]}
    assert flat(write(tmp_path, user={"exec": plugin}))[1]["exec"] == {
        **plugin,
        "command": kept.format(folder=tmp_path),
    }


def test_data_in_several_lines_is_read(tmp_path: Path, pair: Pair) -> None:
    data = base64.encodebytes(pair.certificate.encode()).decode()
    found = flat(write(tmp_path, {"certificate-authority-data": data}))[0]["certificate-authority-data"]
    assert found == pair.certificate_data


@pytest.mark.parametrize(
    ("cluster", "user", "context", "reason"),
    [
        (None, None, "on", r"no context 'on'. Did you mean 'one'\?"),
        (None, None, "broken", r"no cluster 'c3'. Known: c1, c2"),
        (None, None, "two", r"cluster 'c2': server is plain http, over which kubectl sends no credentials; use https"),
        ({"server": "one:6443"}, None, None, "is not an address; expected https://HOST"),
        ({"server": ""}, None, None, "is not an address"),
        ({"server": "https://[::1:6443"}, None, None, "is not an address"),
        ({"server": "https://one:port"}, None, None, "is not an address"),
        ({"server": "https://one two"}, None, None, "is not an address"),
        ({"server": "https://u:s3cret@one"}, None, None, "server has a user name, a query or a fragment; expected"),
        ({"server": "https://u:s3cret@one:x"}, None, None, "server is not an address; expected"),
        ({"server": "https://one?a=b"}, None, None, "server has a user name, a query or a fragment; expected"),
        ({"proxy-url": "socks5://p:1"}, None, None, "use an http or https proxy"),
        ({"certificate-authority": "missing"}, None, None, "certificate-authority .*missing cannot be read: No such"),
        ({"certificate-authority": "a\0b"}, None, None, r"clusters\[0\].cluster.certificate-authority contains a NUL"),
        ({"certificate-authority": "."}, None, None, "cannot be read: it is not a regular file"),
        ({"certificate-authority-data": "@@"}, None, None, "certificate-authority-data is not base64"),
        ({"certificate-authority-data": "AA AA"}, None, None, "certificate-authority-data is not base64"),
        ({"certificate-authority-data": "AAAA"}, None, None, "certificate-authority-data has no certificate; expected"),
        ({"certificate-authority": "x", "certificate-authority-data": "AAAA"}, None, None, "has both certificate-auth"),
        (None, {"auth-provider": {"name": "gcp"}}, None, "use an exec plugin"),
        (None, {"exec": {"command": "p"}}, None, "needs a command and an apiVersion"),
        (None, {"exec": PLUGIN | {"interactiveMode": "Always"}}, None, "needs a terminal"),
        (
            None,
            {"exec": {"command": "p", "apiVersion": VERSION}},
            None,
            "interactiveMode '' is invalid; exp",
        ),
        (None, {"exec": PLUGIN | {"apiVersion": "v1"}}, None, "unsupported apiVersion 'v1'; expected client.auth"),
        (
            None,
            {"exec": PLUGIN | {"args": ["a", 80]}},
            None,
            r"users\[0\].user.exec.args\[1\] is a number; expected text",
        ),
        (
            None,
            {"exec": PLUGIN | {"env": [{"name": "A", "value": 1}]}},
            None,
            r"exec.env\[0\].value is a number",
        ),
        (None, {"exec": PLUGIN | {"env": [{"name": "", "value": "1"}]}}, None, "has a variable with the name ''"),
        (None, {"exec": PLUGIN | {"env": [{"name": "LD_PRELOAD"}]}}, None, "env has LD_PRELOAD, which loads code"),
        (None, {"exec": PLUGIN | {"env": [{"name": "NODE_PATH"}]}}, None, "env has NODE_PATH, which loads code"),
        (None, {"token": "two\nlines"}, None, "token is not one line"),
        (None, {"token": "a", "username": "u"}, None, "has a token and a username or password; expected one of them"),
        (None, {"tokenFile": "a", "username": "u"}, None, "has a token and a username or password; expected one of"),
        (None, {"client-key": "x"}, None, "context 'one' has no credentials"),
        (
            None,
            {"token": "a", "as-groups": ["g"]},
            None,
            "has as-groups without a user to impersonate",
        ),
        (None, {"token": "a", "as": "u\nX-Header: v"}, None, "impersonates what is not one line of text"),
        (None, "s3cret", None, r"users\[0\].user is text; expected a mapping$"),
        (None, {"token": 12345}, None, r"users\[0\].user.token is a number; expected text: write it in quotes$"),
        (None, {"exec": "s3cret"}, None, r"users\[0\].user.exec is text; expected a mapping$"),
        ({"certificate-authority": ["x"]}, None, None, r"clusters\[0\].cluster.certificate-authority is a list"),
        ({"insecure-skip-tls-verify": "maybe"}, None, None, "insecure-skip-tls-verify is text; expected true or false"),
        ({"proxy-url": "socks5://[x"}, None, None, "use an http or https proxy"),
    ],
)
def test_unusable_fields_are_errors_when_the_cluster_is_added(
    tmp_path: Path, cluster: Any, user: Any, context: str | None, reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        from_kubeconfig(write(tmp_path, cluster, user), context)
    assert "s3cret" not in str(caught.value)
    assert "12345" not in str(caught.value)


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path, pair: Pair) -> None:
    for protected in (pair.protected("s3cret"), pair.protected("s3cret", traditional=True)):
        user = {"client-certificate-data": pair.certificate_data, "client-key-data": protected.key_data}
        with pytest.raises(InvalidInputError, match="client-key-data has a passphrase, which nobody can type"):
            from_kubeconfig(write(tmp_path, user=user))


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, pair: Pair) -> None:
    other = Authority().issue("other")
    user = {"client-certificate-data": pair.certificate_data, "client-key-data": other.key_data}
    with pytest.raises(InvalidInputError, match="certificate and its key cannot be used: key values mismatch"):
        from_kubeconfig(write(tmp_path, user=user))


def test_an_authority_and_no_verification_exclude_each_other(tmp_path: Path, pair: Pair) -> None:
    cluster = {"certificate-authority-data": pair.certificate_data, "insecure-skip-tls-verify": True}
    with pytest.raises(InvalidInputError, match="has a certificate-authority and insecure-skip-tls-verify: true"):
        from_kubeconfig(write(tmp_path, cluster))


def test_a_bundle_is_bounded(tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "ca").write_text(pair.certificate * 1001)
    with pytest.raises(InvalidInputError, match=r"authority .*ca has 1001 certificates; expected at most 1000"):
        from_kubeconfig(write(tmp_path, {"certificate-authority": "ca"}))
    data = base64.b64encode(b"x" * (FILE_LIMIT + 1)).decode()
    with pytest.raises(InvalidInputError, match="certificate-authority-data is too large; expected at most"):
        from_kubeconfig(write(tmp_path, {"certificate-authority-data": data}))


@pytest.mark.parametrize("section", ["clusters", "users", "contexts"])
def test_a_name_that_is_given_twice_is_refused(tmp_path: Path, section: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{section} has two entries named 'x'; expected each name once"):
        from_kubeconfig(write(tmp_path, **{section: [{"name": "x"}, {"name": "x"}]}))


def test_aliases_are_read_as_long_as_they_stay_small(tmp_path: Path) -> None:
    path = tmp_path / "config"
    text = write(tmp_path).read_text()
    path.write_text(f"{text}\nextensions: [{{name: a, extension: &a [1, 2]}}, {{name: b, extension: [*a, *a]}}]\n")
    assert flat(path)[1] == {"token": "t1"}
    levels = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 20))
    path.write_text(f"{text}\nx0: &x0 [a]\n{levels}")
    assert path.stat().st_size < 2000
    with pytest.raises(InvalidInputError, match=rf"has more than {MAX_VALUES} values, aliases expanded \(line \d+\)"):
        from_kubeconfig(path)


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="/dev/zero: is too large; expected at most"):
        from_kubeconfig(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        ({"clusters": [{"name": "c1", "cluster": "s3cret"}]}, r"clusters\[0\].cluster is text; expected a mapping$"),
        (
            {"contexts": [{"name": "one", "context": ["s3cret"]}]},
            r"contexts\[0\].context is a list; expected a mapping$",
        ),
        (
            {"contexts": [{"name": "one", "context": {"cluster": {"c1": 1}}}]},
            r"contexts\[0\].context.cluster is a mapping; expected text$",
        ),
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
        "kind: Secret\ndata: s3cret",
        "apiVersion: s3cret",
        "s3cret: &a [*a]",
        "s3cret: !!int x",
    ],
)
def test_the_error_of_a_file_that_is_not_a_kubeconfig_does_not_show_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=r"config: .*expected") as caught:
        from_kubeconfig(path)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_a_deeply_nested_file_is_an_error(tmp_path: Path, opening: str) -> None:
    path = tmp_path / "config"
    path.write_text(f"clusters: {opening * 3000}")
    with pytest.raises(InvalidInputError, match=r"config: is nested more than 100 levels deep \(line 1\); exp"):
        from_kubeconfig(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="none: cannot be read: No such file"):
        from_kubeconfig(tmp_path / "none")
