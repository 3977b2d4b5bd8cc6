"""What exit codes mean to shells, kernels and container runtimes. Pure; `judge` decides what follows from it."""

import signal
from dataclasses import dataclass

LAST_SIGNAL = 64
"""Linux has signals 1 to 64 (signal(7)); 32 and 33 are the C library's own."""
RUNTIME_LOST = 255
_EXIT_STATUSES = range(256)
"""wait(2): the low 8 bits of what a process passes to exit. Larger codes, and negative ones, are of Windows."""
_SEVERITIES = {0x4: "information", 0x8: "warning", 0xC: "error"}
"""The four highest bits of an NTSTATUS (MS-ERREF, 2.3)."""
_NTSTATUS = {
    0x40010004: "the process was terminated",
    0x80000003: "breakpoint",
    0xC0000005: "access violation",
    0xC0000017: "out of memory",
    0xC00000FD: "stack overflow",
    0xC0000135: "a DLL was not found",
    0xC000013A: "terminated by Ctrl+C",
    0xC0000142: "a DLL failed to initialise",
    0xC0000409: "stack buffer overrun, or fail fast",
}
_SHELL = {
    # POSIX.1-2017, Shell Command Language, 2.8.2
    126: "to a shell: the command was found, but could not be run",
    127: "to a shell: the command was not found",
}


@dataclass(frozen=True)
class ExitCode:
    """The meaning of an exit code."""

    is_own: bool
    """Whether the program itself chose it; otherwise something ended the program."""
    meaning: str = ""
    """Empty: the code means what the program says."""


def explain_exit_code(code: int) -> ExitCode:
    """What ended a process with this code.

    - 1 to 125: the program's own.
    - 126, 127: a shell could not run a command; the program, or the script, ended with that.
    - 128: the program's own. Runtimes use it with the reason StartError (containerd), which is judged before.
    - 129 to 192: 128 + the number of the signal that killed it (bash manual, "Exit Status"; runc and crun do the same).
      137 is SIGKILL: from the kubelet after the grace period, a person, or a kernel short of memory. The kubelet says
      OOMKilled only if the kernel reported it for this container.
    - 193 to 255: the program's own; 255 is what exit(-1) becomes. containerd's CRI plugin uses 255 with the reason
      Unknown where it lost the container (`unknownExitCode`), which is judged before.
    - others: Windows, where a code has 32 bits and the kernel ends a process with an NTSTATUS.
    """
    if code not in _EXIT_STATUSES:
        return _explain_windows(code & 0xFFFFFFFF)
    if 128 < code <= 128 + LAST_SIGNAL:
        return ExitCode(is_own=False, meaning=f"killed by {_name_of(code - 128)}")
    return ExitCode(is_own=True, meaning=_SHELL.get(code, ""))


def _name_of(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"


def _explain_windows(status: int) -> ExitCode:
    known, severity = _NTSTATUS.get(status), _SEVERITIES.get(status >> 28)
    if known is None and severity is None:
        return ExitCode(is_own=True)
    return ExitCode(is_own=False, meaning=f"ended by Windows: status 0x{status:08X}, {known or severity}")
