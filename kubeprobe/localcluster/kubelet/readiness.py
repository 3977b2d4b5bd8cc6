"""Readiness probes of type `exec`; a container with another type, or none, is ready while it runs."""

import asyncio
import subprocess
from collections.abc import Callable

from kubeprobe.localcluster.kubelet.process import Program
from kubeprobe.localcluster.objects import Object


async def watch_readiness(probe: Object, program: Program, on_result: Callable[[bool], None]) -> None:
    """Run the probe's command every period and report readiness, until cancelled."""
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    needed = {True: probe.get("successThreshold", 1), False: probe.get("failureThreshold", 3)}
    last, times = False, 0
    while True:
        passes = await _passes(probe, program)
        last, times = passes, times + 1 if passes is last else 1
        if times >= needed[last]:
            on_result(last)
        await asyncio.sleep(probe.get("periodSeconds", 10))


async def _passes(probe: Object, program: Program) -> bool:
    try:
        process = await asyncio.create_subprocess_exec(
            *probe["exec"]["command"],
            env=dict(program.env),
            cwd=program.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    try:
        async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
            return await process.wait() == 0
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
