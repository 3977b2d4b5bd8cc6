"""The command line starts fast: help imports no large packages."""

import subprocess
import sys

import pytest

HEAVY = (
    "sqlalchemy",
    "sqlmodel",
    "pydantic_settings",
    "celery",
    "rich",
    "aiohttp",
    "alembic",
    "structlog",
    "fastapi",
    "uvicorn",
)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["cluster", "add", "--help"], ["run", "-h"]], ids=str)
def test_help_imports_no_heavy_package(arguments: list[str]) -> None:
    script = f"""
import sys
sys.argv = ["kubeprobe", *{arguments!r}]
from kubeprobe.cli import main
try:
    main()
finally:
    print("loaded", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"
