"""Kubeconfig files, and the contexts in them."""

from pathlib import Path

import orjson

from kubeprobe.errors import InvalidInputError
from kubeprobe.fleet.kubeconfig import flatten, parse_kubeconfig, read_cluster, read_user

_FOLDER = Path("/nonexistent")
SEEDS = (
    b"""apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u, namespace: n}}]
clusters:
- name: c
  cluster: {server: "https://[::1]:6443/k8s", insecure-skip-tls-verify: yes, tls-server-name: a, proxy-url: "http://p:1"}
users:
- name: u
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: ./aws
      args: &a [eks, "--x"]
      env: [{name: A, value: "1"}]
      interactiveMode: Never
    as: jane
    as-groups: *a
""",
    (
        b'{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], '
        b'"clusters": [{"name": "c", "cluster": {"server": "http://localhost", "proxy-url": ""}}], '
        b'"users": [{"name": "u", "user": {"token": "t"}}, {"name": "v", "user": null}]}'
    ),
    b"a: &a [0x1f, 1e3, .inf, !!binary aGk=, ~, on]\nb: {<<: {c: *a}, ? d : !!int 3}\n",
)


def fuzz(data: bytes) -> None:
    """A kubeconfig is refused by the documented error, or can be stored and used."""
    try:
        config = parse_kubeconfig(data)
        flat = flatten(config, _FOLDER)
    except InvalidInputError:
        return
    stored = orjson.loads(orjson.dumps(flat))
    read_cluster(stored)
    read_user(stored)
    assert flatten(stored, _FOLDER) == flat
