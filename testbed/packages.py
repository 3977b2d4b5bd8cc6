"""The Debian packages that the test bed needs."""

import os
from pathlib import Path

from testbed.commands import run
from testbed.instance import TestbedError

LIST = Path(__file__).parent / "packages.txt"


def wanted(listed: Path = LIST) -> list[str]:
    """The package names in a file, one per line; by default those that the test bed needs."""
    lines = (line.partition("#")[0].strip() for line in listed.read_text().splitlines())
    return [line for line in lines if line]


def missing(listed: Path = LIST) -> list[str]:
    """The packages of a file that are not installed."""
    listing = run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\\n"])
    installed = {line.split()[-1] for line in listing.splitlines() if line.startswith("ii")}
    return [name for name in wanted(listed) if name not in installed]


def install(listed: Path = LIST) -> list[str]:
    """Install missing packages and return their names; without any, not even the package lists are updated."""
    names = missing(listed)
    if not names:
        return []
    if os.geteuid() != 0:
        raise TestbedError(f"missing packages: {' '.join(names)}. Installing them needs root")
    # Prevent Debian from starting packaged services: the test bed starts its own containerd.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run(["apt-get", "update", "-q"], env=env)
    run(["apt-get", "install", "-qy", "--no-install-recommends", *names], env=env, timeout=1800)
    return names
