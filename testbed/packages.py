"""The Debian packages the test bed stands on. Next: `binaries`."""

import os
from pathlib import Path

from testbed.commands import run
from testbed.instance import TestbedError

LIST = Path(__file__).parent / "packages.txt"


def wanted(listed: Path = LIST) -> list[str]:
    """Names listed in a file, one a line; by default those that the test bed needs."""
    lines = (line.partition("#")[0].strip() for line in listed.read_text().splitlines())
    return [line for line in lines if line]


def missing(listed: Path = LIST) -> list[str]:
    """Those of them that are not installed."""
    listing = run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\\n"])
    installed = {line.split()[-1] for line in listing.splitlines() if line.startswith("ii")}
    return [name for name in wanted(listed) if name not in installed]


def install(listed: Path = LIST) -> list[str]:
    """Install what is missing and return its names. Touches nothing, not even the lists, if nothing is."""
    names = missing(listed)
    if not names:
        return []
    if os.geteuid() != 0:
        raise TestbedError(f"missing packages: {' '.join(names)}. Installing them needs root")
    # Debian starts a packaged service at once; the test bed starts its own containerd instead.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run(["apt-get", "update", "-q"], env=env)
    run(["apt-get", "install", "-qy", "--no-install-recommends", *names], env=env, timeout=1800)
    return names
