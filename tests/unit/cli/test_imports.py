"""What a command imports: a module that takes long to load delays every command that loads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRINT_MODULES = """
import sys
from contextlib import suppress
from kubeprobe.cli import main
sys.argv = ["kubeprobe", *sys.argv[1:]]
with suppress(SystemExit):
    main()
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
def test_a_command_imports_no_library_that_it_does_not_need(command: str, heavy: set[str], tmp_path: Path) -> None:
    environment = os.environ | {"KUBEPROBE_DATA_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES, command], capture_output=True, text=True, check=True, env=environment
    )
    _, found, modules = ended.stdout.rpartition("modules:")
    assert found, ended.stderr
    assert "kubeprobe.cli.commands.runs" in modules.split()
    assert heavy.isdisjoint(modules.split())
