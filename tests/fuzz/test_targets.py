import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.readers import not_instrumented
from tests.harness.need import lacking

TARGETS = sorted(file.stem for file in Path(__file__).with_name("targets").glob("[a-z]*.py"))
ARTIFACT = re.compile(r"Test unit written to (\S+)")
START_S = 600
"""Importing instrumented modules takes a minute on a busy machine. libFuzzer ends a reader that hangs sooner."""

pytestmark = pytest.mark.services  # real processes, but what they do is nobody else's fault: never run again


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_crashes_hangs_or_bloats_the_reader(target, tmp_path):
    run(target, tmp_path, seconds=5, seed=1)


def test_the_packages_that_a_target_imports_from_are_instrumented(tmp_path):
    target = tmp_path / "some.py"
    target.write_text("from kubeprobe.catalog.model.base import Name\nimport probes._cri\n")
    others = not_instrumented(target)
    assert not [name for name in others if name.startswith(("kubeprobe.catalog", "probes._cri"))]
    assert {"kubeprobe", "kubeprobe.store", "kubeprobe.store.migrate", "probes.rules.expressions"} <= {*others}
    target.write_text("from kubeprobe import names\n")
    assert not [name for name in not_instrumented(target) if name.startswith("kubeprobe.")]


@pytest.mark.soak
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_minutes_crashes_hangs_or_bloats_the_reader(target, tmp_path):
    run(target, tmp_path, seconds=180, seed=0)


def run(target: str, folder: Path, seconds: int, seed: int) -> None:
    try:
        import atheris  # noqa: F401, PLC0415
    except ImportError:
        lacking("atheris is not available on this platform")
    command = [sys.executable, "-m", "tests.fuzz", target, str(seconds), str(seed)]
    hashing = str(seed) if seed else "random"  # the order of sets: with it, a seed gives the same inputs each time
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONHASHSEED": hashing}
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=seconds + START_S, env=environment
    )
    output = (ended.stdout + ended.stderr)[-6000:]
    artifact = ARTIFACT.search(output)
    found = Path(artifact.group(1)).read_bytes() if artifact else b""
    if ended.returncode == 0:
        return
    pytest.fail(f"{' '.join(command[1:])} found an input of {len(found)} bytes: {found!r}\n{output}")
