"""The schema of PodSpec that is shipped is that of the API server."""

import json
import subprocess
from pathlib import Path

from kubeprobe.catalog.podspec import SCHEMA
from kubeprobe.catalog.podspec.__main__ import generate


def read(kubeconfig: Path, path: str) -> dict:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), "get", "--raw", path]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_the_schema_is_what_the_api_server_serves(kubeconfig):
    version = read(kubeconfig, "/version")["gitVersion"]
    assert generate(read(kubeconfig, "/openapi/v3/api/v1"), version) == SCHEMA.read_text(encoding="utf-8")
