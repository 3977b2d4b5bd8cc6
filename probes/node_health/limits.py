"""Kernel tables that may become full: connection tracking, processes, open files, inotify."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probes.node_health.finding import Findings

_INOTIFY = "anon_inode:inotify"


@dataclass(frozen=True)
class Percentages:
    """The thresholds of tables, in percent."""

    conntrack: float
    pids: float
    files: float
    inotify: float


def check(proc: Path, percent: Percentages) -> Findings:
    """Check all tables. `proc` is the node's /proc; the process must be in the node's network namespace."""
    findings = Findings()
    for name, check_table in (
        ("conntrack", _conntrack),
        ("processes", _pids),
        ("open files", _files),
        ("inotify", _inotify),
    ):
        try:
            check_table(proc, percent, findings)
        except (OSError, ValueError, IndexError) as error:
            findings.unchecked.append(f"{name}: {error}")
    return findings


def _conntrack(_proc: Path, percent: Percentages, findings: Findings) -> None:
    # Not in the node's /proc: these files are per network namespace of the reader, which is the node's.
    own = Path("/proc/sys/net/netfilter")
    if not own.exists():  # no connection tracking on this node
        return
    used, most = _number(own / "nf_conntrack_count"), _number(own / "nf_conntrack_max")
    findings.use("connection tracking (nf_conntrack)", "conntrack", used, most, percent.conntrack)


def _pids(proc: Path, percent: Percentages, findings: Findings) -> None:
    # "0.20 0.18 0.12 1/80 11206": runnable and all threads (proc_loadavg(5)).
    used = int((proc / "loadavg").read_text().split()[3].partition("/")[2])
    most = min(_number(proc / "sys/kernel/pid_max"), _number(proc / "sys/kernel/threads-max"))
    findings.use("processes and threads (pid_max, threads-max)", "pids", used, most, percent.pids)


def _files(proc: Path, percent: Percentages, findings: Findings) -> None:
    used, _free, most = (int(word) for word in (proc / "sys/fs/file-nr").read_text().split())
    findings.use("open files (fs.file-max)", "files", used, most, percent.files)


@dataclass(frozen=True)
class _Watcher:
    """A process that uses inotify."""

    user: int
    name: str
    instances: int
    watches: int


def _inotify(proc: Path, percent: Percentages, findings: Findings) -> None:
    """Both limits are per user (inotify(7)); the user's process with the highest use is reported."""
    watchers = list(_watchers(proc, findings))
    for what in ("instances", "watches"):
        most = _number(proc / f"sys/fs/inotify/max_user_{what}")
        by_user: Counter[int] = Counter()
        for watcher in watchers:
            by_user[watcher.user] += getattr(watcher, what)
        for user, used in by_user.most_common():
            first = max((one for one in watchers if one.user == user), key=lambda one: int(getattr(one, what)))
            text = f"inotify {what} of user {user} (most by {first.name}: {getattr(first, what)})"
            findings.use(text, f"inotify_{what}", used, most, percent.inotify)


def _watchers(proc: Path, findings: Findings) -> Iterator[_Watcher]:
    hidden = 0
    for process in proc.iterdir():
        if process.name.isdigit():
            try:
                descriptors = [one.name for one in (process / "fd").iterdir() if _is_inotify(one)]
                if descriptors:
                    yield _watcher(process, descriptors)
            except (FileNotFoundError, ProcessLookupError, LookupError, ValueError):  # ended meanwhile: partly empty
                continue
            except PermissionError:  # a security module, or a process with more privileges
                hidden += 1
    findings.measured["processes_hidden"] = hidden


def _is_inotify(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()) == _INOTIFY
    except FileNotFoundError:
        return False


def _watcher(process: Path, descriptors: list[str]) -> _Watcher:
    status = dict(line.partition(":")[::2] for line in (process / "status").read_text().splitlines())
    watches = sum((process / "fdinfo" / one).read_text().count("inotify wd:") for one in descriptors)
    name = f"{status['Name'].strip()}[{process.name}]"
    return _Watcher(int(status["Uid"].split()[0]), name, len(descriptors), watches)


def _number(path: Path) -> int:
    return int(path.read_text())
