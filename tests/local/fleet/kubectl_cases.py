"""Kubeconfigs that kubectl and KubeProbe must treat alike: both refuse them, or both send the same.

`$NAME` stands for a value of the test: ports, certificates in base64, `$url` (the server's address with the case's own
path) and `$folder` (that of the kubeconfig).
"""

from dataclasses import dataclass
from enum import Enum


class Kubectl(Enum):
    """What kubectl does with a kubeconfig."""

    SENDS = "sends a request"
    REFUSES = "refuses it"


SENDS, REFUSES = Kubectl.SENDS, Kubectl.REFUSES
DEFAULT_CLUSTER = "server: $url\ncertificate-authority-data: $ca"
INSECURE = "server: $url\ninsecure-skip-tls-verify: "
HTTP = "server: http://127.0.0.1:$http/$case"
TEMPLATE = """apiVersion: v1
kind: Config
current-context: c
contexts:
- {name: c, context: {cluster: c, user: u, namespace: other}}
clusters:
- name: c
  cluster:
$cluster
users:
- name: u
  user:
$user
"""


@dataclass(frozen=True)
class Case:
    """A kubeconfig, made of its cluster and its user, or given whole."""

    name: str
    kubectl: Kubectl
    cluster: str = DEFAULT_CLUSTER
    user: str = "token: t"
    whole: str = TEMPLATE
    named: str = ""
    """kubectl sends a request, KubeProbe refuses with this text: unsupported, and named in docs/catalog.md."""


def _of_user(kubectl: Kubectl, **users: str) -> list[Case]:
    return [Case(name, kubectl, user=user) for name, user in users.items()]


def _of_cluster(kubectl: Kubectl, **clusters: str) -> list[Case]:
    return [Case(name, kubectl, cluster=cluster) for name, cluster in clusters.items()]


def _exec(name: str, kubectl: Kubectl, more: str = "", named: str = "", cluster: str = DEFAULT_CLUSTER) -> Case:
    plugin = f"command: ./plugin\napiVersion: client.authentication.k8s.io/v1\n{more}"
    user = "exec:\n" + "\n".join(f"  {line}" for line in plugin.splitlines())
    return Case(f"exec_{name}", kubectl, user=user, named=named, cluster=cluster)


SCALARS = [
    Case("plain", SENDS),
    *_of_cluster(
        SENDS,
        insecure_true=f"{INSECURE}true",
        insecure_yes=f"{INSECURE}yes",
        insecure_on=f"{INSECURE}On",
        insecure_y=f"{INSECURE}y",
        insecure_tagged=f"{INSECURE}!!bool yes",
        insecure_twice_last_counts=f"{INSECURE}no\ninsecure-skip-tls-verify: yes",
    ),
    *_of_cluster(
        REFUSES,
        insecure_no=f"{INSECURE}no",
        insecure_off=f"{INSECURE}OFF",
        insecure_n=f"{INSECURE}n",
        insecure_null=f"{INSECURE}~",
        insecure_text=f"{INSECURE}'yes'",
        insecure_number=f"{INSECURE}1",
        insecure_list=f"{INSECURE}[yes]",
        insecure_unknown_case="server: $url\nInsecure-Skip-TLS-Verify: true",
    ),
    *_of_user(
        SENDS,
        token_quoted_number="token: '12345'",
        token_tagged="token: !!str 12345",
        token_binary="token: !!binary dG9rZW4=",
        token_date="token: 2026-01-01",
        token_time="token: 12:30:45",
        token_with_space="token: 't '",
        token_not_ascii="token: tö",
        token_twice_last_counts="token: one\ntoken: two",
        token_merged="token: one\n<<: {token: two}",
        token_merge_replaced="<<: {token: two}\ntoken: one",
        token_alias="username: &name ''\ntoken: t\npassword: *name",
        token_folded="token: >-\n  a\n  b",
        unknown_fields="token: t\nTokenFile: missing\nsomething: [1, {a: b}]",
    ),
    *_of_user(
        REFUSES,
        token_number="token: 12345",
        token_hexadecimal="token: 0x1f",
        token_octal="token: 0o17",
        token_grouped="token: 1_000",
        token_float="token: 1e3",
        token_leading_zero="token: 08",
        token_infinite="token: .inf",
        token_boolean="token: yes",
        token_mapping="token: {a: b}",
        token_lines="token: |\n  t\n",
        token_null="token: ~",
        token_other_case="Token: t",
        unknown_alias="token: *nothing",
        complex_key="token: t\n? [a]\n: b",
        null_key="token: t\n~: b",
    ),
]

SERVERS = [
    *_of_cluster(
        SENDS,
        server_ipv6="server: https://[::1]:$https/$case\ncertificate-authority-data: $ca",
        server_name="server: https://localhost:$https/$case\ncertificate-authority-data: $ca",
        server_upper_case="server: HTTPS://127.0.0.1:$https/$case\ncertificate-authority-data: $ca",
        server_slash="server: $url/\ncertificate-authority-data: $ca",
        tls_server_name=f"{DEFAULT_CLUSTER}\ntls-server-name: other.example",
        tls_server_name_insecure=f"{INSECURE}true\ntls-server-name: wrong.example",
        compression=f"{DEFAULT_CLUSTER}\ndisable-compression: false",
        no_compression=f"{DEFAULT_CLUSTER}\ndisable-compression: true",
        proxy=f"{DEFAULT_CLUSTER}\nproxy-url: http://$case:secret@127.0.0.1:$proxy",
        authority_file="server: $url\ncertificate-authority: pki/ca.crt",
        authority_lines="server: $url\ncertificate-authority-data: |\n$ca_lines",
        authority_comments="server: $url\ncertificate-authority-data: $ca_comments",
    ),
    *_of_cluster(
        REFUSES,
        server_missing="certificate-authority-data: $ca",
        server_space="server: 'https://127.0.0.1 :$https/$case'\ncertificate-authority-data: $ca",
        server_bad_port="server: https://127.0.0.1:port/$case\ncertificate-authority-data: $ca",
        server_number="server: 6443\ncertificate-authority-data: $ca",
        tls_server_name_wrong=f"{DEFAULT_CLUSTER}\ntls-server-name: wrong.example",
        proxy_unknown=f"{DEFAULT_CLUSTER}\nproxy-url: ftp://127.0.0.1:$proxy",
        authority_other="server: $url\ncertificate-authority-data: $other_ca",
        authority_empty="server: $url\ncertificate-authority-data: ''",
        authority_none="server: $url",
        authority_not_base64="server: $url\ncertificate-authority-data: '%%'",
        authority_spaces="server: $url\ncertificate-authority-data: $ca_spaces",
        authority_not_pem="server: $url\ncertificate-authority-data: AAAA",
        authority_missing="server: $url\ncertificate-authority: missing",
        authority_both=f"{DEFAULT_CLUSTER}\ncertificate-authority: pki/ca.crt",
        authority_and_insecure=f"{DEFAULT_CLUSTER}\ninsecure-skip-tls-verify: true",
        duplicate_extension=f"{DEFAULT_CLUSTER}\nextensions: [{{name: a, extension: 1}}, {{name: a, extension: 2}}]",
    ),
    Case("http", SENDS, cluster=HTTP, user="{}"),
    Case("http_impersonation", SENDS, cluster=HTTP, user="as: jane"),
    Case("server_query", SENDS, cluster=f"{INSECURE}true".replace("$url", "$url?a=b"), named="a query or a fragment"),
    Case("proxy_socks", REFUSES, cluster=f"{DEFAULT_CLUSTER}\nproxy-url: socks5://127.0.0.1:9"),
]

CREDENTIALS = [
    *_of_user(
        SENDS,
        token_file="tokenFile: token",
        token_file_before_token="tokenFile: token\ntoken: t",
        token_file_missing_but_token="tokenFile: missing\ntoken: t",
        basic="username: u\npassword: p",
        basic_without_password="username: u",
        certificate="client-certificate-data: $certificate\nclient-key-data: $key",
        certificate_files="client-certificate: pki/client.pem\nclient-key: pki/client.pem",
        certificate_mixed="client-certificate: $folder/pki/client.pem\nclient-key-data: $key",
        certificate_and_token="client-certificate-data: $certificate\nclient-key-data: $key\ntoken: t",
        key_only="client-key-data: $key\ntoken: t",
        impersonation="token: t\nas: jane",
        impersonation_all=(
            "token: t\nas: jane\nas-uid: '42'\nas-groups: [a, b]\nas-user-extra: {Scopes: [p, q], 'a/b%c': [z]}"
        ),
    ),
    *_of_user(
        REFUSES,
        nothing="{}",
        token_file_missing="tokenFile: missing",
        token_file_empty="tokenFile: empty",
        password_only="password: p",
        token_and_basic="token: t\nusername: u\npassword: p",
        token_file_and_basic="tokenFile: token\nusername: u\npassword: p",
        certificate_without_key="client-certificate-data: $certificate",
        certificate_both="client-certificate-data: $certificate\nclient-certificate: token\nclient-key-data: $key",
        certificate_of_another_key="client-certificate-data: $certificate\nclient-key-data: $other_key",
        certificate_with_passphrase="client-certificate-data: $certificate\nclient-key-data: $protected_key",
        impersonation_without_user="token: t\nas-groups: [a]",
        impersonation_number="token: t\nas: 1",
        auth_provider="auth-provider: {name: gcp}",
    ),
]

PLUGINS = [
    _exec("token", SENDS, "interactiveMode: Never\nargs: [a, 'b c']\nenv: [{name: CASE, value: x}]"),
    _exec("if_available", SENDS, "interactiveMode: IfAvailable"),
    _exec("cluster_info", SENDS, "interactiveMode: Never\nprovideClusterInfo: yes"),
    _exec(
        "cluster_configuration",
        SENDS,
        "interactiveMode: Never\nprovideClusterInfo: true",
        cluster=(
            f"{DEFAULT_CLUSTER}\nproxy-url: http://$case:s@127.0.0.1:$proxy\ndisable-compression: true\n"
            "extensions: [{name: client.authentication.k8s.io/exec, extension: {audience: a, n: 010, f: 1.5}}]"
        ),
    ),
    _exec("null_lists", SENDS, "interactiveMode: Never\nargs: ~\nenv: null"),
    _exec("certificate", SENDS, "interactiveMode: Never\nargs: [certificate]"),
    _exec("yaml", SENDS, "interactiveMode: Never\nargs: [yaml]"),
    _exec("without_mode", REFUSES),
    _exec("always", REFUSES, "interactiveMode: Always"),
    _exec("unknown_mode", REFUSES, "interactiveMode: Sometimes"),
    _exec("number_in_args", REFUSES, "interactiveMode: Never\nargs: [--port, 8080]"),
    _exec("number_in_env", REFUSES, "interactiveMode: Never\nenv: [{name: PORT, value: 8080}]"),
    _exec("boolean_in_env", REFUSES, "interactiveMode: Never\nenv: [{name: A, value: no}]"),
    _exec("nameless_env", REFUSES, "interactiveMode: Never\nenv: [{value: a}]"),
    _exec("failure", REFUSES, "interactiveMode: Never\nargs: [failure]"),
    _exec("nothing", REFUSES, "interactiveMode: Never\nargs: [nothing]"),
    _exec("half", REFUSES, "interactiveMode: Never\nargs: [half]"),
    _exec("other_version", REFUSES, "interactiveMode: Never\nargs: [other_version]"),
    _exec("no_kind", SENDS, "interactiveMode: Never\nargs: [no_kind]"),
    _exec("other_kind", REFUSES, "interactiveMode: Never\nargs: [other_kind]"),
    _exec("no_version", REFUSES, "interactiveMode: Never\nargs: [no_version]"),
    _exec("number", REFUSES, "interactiveMode: Never\nargs: [number]"),
    _exec("expired", SENDS, "interactiveMode: Never\nargs: [expired]", named="returned credentials that expired at"),
    _exec("bad_time", REFUSES, "interactiveMode: Never\nargs: [bad_time]"),
    _exec("loader", SENDS, "interactiveMode: Never\nenv: [{name: PYTHONPATH, value: /x}]", named="which loads code"),
    *_of_user(
        SENDS,
        exec_beta="exec: {command: ./plugin, apiVersion: client.authentication.k8s.io/v1beta1}",
        exec_and_token="token: t\nexec: {command: ./plugin, apiVersion: client.authentication.k8s.io/v1beta1}",
        exec_and_basic="username: u\nexec: {command: ./plugin, apiVersion: client.authentication.k8s.io/v1beta1}",
    ),
    *_of_user(
        REFUSES,
        exec_alpha="exec: {command: ./plugin, apiVersion: client.authentication.k8s.io/v1alpha1}",
        exec_without_version="exec: {command: ./plugin}",
        exec_without_command="exec: {apiVersion: client.authentication.k8s.io/v1beta1}",
        exec_missing="exec: {command: ./missing, apiVersion: client.authentication.k8s.io/v1beta1}",
        exec_and_provider=(
            "exec: {command: ./plugin, apiVersion: client.authentication.k8s.io/v1beta1}\nauth-provider: {name: oidc}"
        ),
    ),
]

_ONE = TEMPLATE.replace("$cluster", "    server: $url\n    certificate-authority-data: $ca").replace(
    "$user", "    token: t"
)
FILES = [
    Case(name, outcome, whole=whole)
    for outcome, files in (
        (
            SENDS,
            {
                "json": '{"current-context": "c", '
                '"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], '
                '"clusters": [{"name": "c", "cluster": {"server": "$url", "certificate-authority-data": "$ca"}}], '
                '"users": [{"name": "u", "user": {"token": "t", "token": "last"}}]}',
                "no_kind": _ONE.replace("kind: Config\n", "").replace("apiVersion: v1\n", ""),
                "byte_order_mark": "\ufeff" + _ONE,
                "line_ends": _ONE.replace("\n", "\r\n"),
                "two_documents": f"{_ONE}---\nkind: 7\n",
                "two_documents_second_broken": f"{_ONE}---\n[\n",
                "preferences": f"{_ONE}preferences: {{colors: yes}}\nextensions: ~\n",
                "null_in_other_entries": _ONE.replace("users:", "users:\n- {name: other, user: ~}"),
                "timestamps_and_numbers_elsewhere": f"{_ONE}more: [2026-01-01, 1e400, 0x7f, 1.5, !x 1, !!float 1]\n",
            },
        ),
        (
            REFUSES,
            {
                "empty": "",
                "a_list": f"- {_ONE[:20]}",
                "another_kind": _ONE.replace("kind: Config", "kind: Pod"),
                "another_version": _ONE.replace("apiVersion: v1", "apiVersion: v2"),
                "number_in_another_entry": _ONE.replace("users:", "users:\n- {name: other, user: {token: 1}}"),
                "number_as_name": _ONE.replace("users:", "users:\n- {name: 1}"),
                "users_as_mapping": _ONE.replace("users:\n- name: u\n  user:", "users:\n  u:"),
                "duplicate_user": _ONE.replace("users:", "users:\n- {name: u}"),
                "duplicate_context": _ONE.replace("contexts:", "contexts:\n- {name: c}"),
                "no_context": _ONE.replace("current-context: c\n", ""),
                "unknown_context": _ONE.replace("current-context: c", "current-context: d"),
                "unknown_user": _ONE.replace("user: u,", "user: v,"),
                "unknown_cluster": _ONE.replace("cluster: c,", "cluster: d,"),
                "preferences_number": f"{_ONE}preferences: {{colors: 1}}\n",
                "tab": _ONE.replace("  user:", "\tuser:"),
                "infinity": f"{_ONE}more: .inf\n",
                "alias_to_itself": f"{_ONE}more: &a [*a]\n",
            },
        ),
    )
    for name, whole in files.items()
]

GROUPS = {"scalars": SCALARS, "servers": SERVERS, "credentials": CREDENTIALS, "plugins": PLUGINS, "files": FILES}
