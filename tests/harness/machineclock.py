"""Processes on a machine whose clock is wrong: a library that is loaded first shifts what they read of it."""

import shutil
import subprocess
from pathlib import Path

from tests.harness.need import lacking

_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *found) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, found);
    const char *shift = getenv("SHIFT_S");
    if (clock == CLOCK_REALTIME && shift) found->tv_sec += atol(shift);
    return result;
}

time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


def shifting_library(folder: Path) -> Path:
    """Compile the library. Skips the test without a C compiler and the headers of the C library."""
    if (compiler := shutil.which("cc")) is None:
        lacking("no C compiler is installed (apt-get install gcc libc6-dev)")
    source, library = folder / "shift.c", folder / "shift.so"
    source.write_text(_SOURCE)
    command = [compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if done.returncode:
        lacking(f"the C compiler cannot compile: {done.stderr} (apt-get install gcc libc6-dev)")
    return library


def shifted(library: Path, seconds: int) -> dict[str, str]:
    """The environment of a process on a machine whose clock is so many seconds ahead."""
    return {"LD_PRELOAD": str(library), "SHIFT_S": str(seconds)}
