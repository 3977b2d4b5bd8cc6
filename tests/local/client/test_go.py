"""The Go client: its own tests, and a comparison with the Python client on random reports."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubeprobe_client._report import LIMIT

from tests.harness.need import lacking
from tests.unit.client.vectors import Vector, encode

CLIENT = Path(__file__).parents[3] / "clients" / "go"

plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
texts = (
    plain
    | st.builds(lambda raw: {"hex": raw.hex()}, st.binary(max_size=40))
    | st.builds(lambda text, times: {"repeat": text, "times": times}, plain, st.integers(20, 900))
)
floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = floats | st.integers(-(2**63), 2**64 - 1)
reports = st.fixed_dictionaries(
    {
        "ok": st.booleans(),
        "errors": st.lists(texts, max_size=40),
        "steps": st.lists(st.tuples(texts, floats, st.booleans()), max_size=40),
        "metrics": st.lists(st.tuples(texts, numbers), max_size=40),
    }
)
limits = st.just(LIMIT) | st.integers(512, LIMIT)
vectors = st.fixed_dictionaries({"report": reports, "limit": limits}) | st.fixed_dictionaries(
    {"unknown": texts, "limit": limits}
)


@pytest.fixture(scope="module")
def go() -> str:
    found = shutil.which("go")
    if found is None:
        lacking("Go is not installed")
    return found


@pytest.fixture(scope="module")
def go_encoder(go: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator["GoEncoder"]:
    program = tmp_path_factory.mktemp("go") / "crosscheck"
    ask(go, "build", "-o", str(program), "./internal/crosscheck")
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield GoEncoder(process)
        assert process.stdin is not None
        process.stdin.close()


class GoEncoder:
    """The Go client as a process that encodes reports."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def encode(self, vector: Vector) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(vector) + "\n")
        self._process.stdin.flush()
        return bytes.fromhex(self._process.stdout.readline())


def ask(go: str, *arguments: str) -> str:
    """Run Go in the client's module, which has no dependencies."""
    env = {**os.environ, "GOFLAGS": "", "GOPROXY": "off", "GOWORK": "off"}
    done = subprocess.run([go, *arguments], cwd=CLIENT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_go_clients_own_tests_pass(go: str) -> None:
    ask(go, "vet", "./...")
    assert "ok" in ask(go, "test", "-count=1", "./...")


def test_the_go_client_is_formatted_by_gofmt(go: str) -> None:
    formatter = shutil.which("gofmt") or str(Path(ask(go, "env", "GOROOT").strip()) / "bin" / "gofmt")
    assert subprocess.run([formatter, "-l", CLIENT], capture_output=True, text=True, check=True).stdout == ""


def test_the_go_client_has_no_dependencies(go: str) -> None:
    assert ask(go, "list", "-m", "all").split() == ["kubeprobe.io/client"]


@settings(
    deadline=None,
    max_examples=500,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
@given(vector=vectors)
def test_both_clients_encode_the_same_bytes(go_encoder: GoEncoder, vector: Vector) -> None:
    assert go_encoder.encode(vector) == encode(vector)
