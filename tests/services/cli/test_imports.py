"""What a command imports: a module that takes long to load delays every command that loads it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PRINT_MODULES = """
import sys
from kubeprobe.cli import main
sys.argv = ["kubeprobe", *sys.argv[1:]]
try:
    main()
finally:
    print("modules:", *sys.modules)
"""
LIBRARIES = {"aiohttp", "alembic", "fastapi", "kubernetes", "psycopg", "uvicorn"}


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("--help", LIBRARIES | {"celery", "cryptography", "pydantic", "rich", "sqlalchemy", "yaml"}),
        ("runs", LIBRARIES | {"kubeprobe.fleet.api", "kubeprobe.execution"}),
        ("status", LIBRARIES | {"kubeprobe.fleet.api", "kubeprobe.execution"}),
    ],
)
def test_a_command_imports_no_library_that_it_does_not_need(
    command: str, heavy: set[str], tmp_path: Path, sqlite_template: Path
) -> None:
    shutil.copy(sqlite_template, tmp_path / "kubeprobe.db")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBEPROBE_")}
    ended = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES, command],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"KUBEPROBE_DATA_DIR": str(tmp_path)},
    )
    assert ended.returncode == 0, ended.stderr
    _, found, modules = ended.stdout.rpartition("modules:")
    assert found, ended.stderr
    assert "kubeprobe.cli.commands.runs" in modules.split()
    assert heavy.isdisjoint(modules.split())
