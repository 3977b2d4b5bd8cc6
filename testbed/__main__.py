"""The command line: `python -m testbed COMMAND`. See README.md."""

import argparse
import os
import sys
import time

from testbed import binaries, images, packages
from testbed.cluster import Testbed
from testbed.instance import DEFAULT_NAME, NAME_VARIABLE, Instance, TestbedError

FAULTS = {
    "start": "start a component and wait until it serves",
    "stop": "stop a component (SIGTERM), and wait until it has ended",
    "kill": "kill a component (SIGKILL)",
    "pause": "suspend a component (SIGSTOP)",
    "resume": "resume a paused component (SIGCONT)",
}


def main() -> int:
    """Run one command; returns 0 on success, 1 when something is not up, 2 on failure."""
    arguments = _parser().parse_args()
    try:
        testbed = Testbed(Instance(arguments.name))
        return _dispatch(testbed, arguments)
    except TestbedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("testbed: interrupted; `up` resumes, `down` cleans up", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testbed", description="A real Kubernetes for the tests.")
    parser.add_argument(
        "--name",
        default=os.environ.get(NAME_VARIABLE, DEFAULT_NAME),
        help=f"name of the test bed, for several on one machine (default: ${NAME_VARIABLE} or {DEFAULT_NAME})",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start the components that are not running")
    up.add_argument("--fresh", action="store_true", help="start with an empty cluster and no images")
    commands.add_parser("down", help="stop everything and remove the cluster")
    commands.add_parser("status", help="show the state of each component; exit code 1 if something is not up")
    execute = commands.add_parser("exec", help="run a command inside the cluster's network namespace")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD")
    commands.add_parser("build", help="build programs and images, without starting anything")
    commands.add_parser("images", help="build and import images that have changed")
    commands.add_parser("install", help="install the Debian packages that are missing")
    commands.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    for name, what in FAULTS.items():
        commands.add_parser(name, help=what).add_argument("component")
    return parser


def _dispatch(testbed: Testbed, arguments: argparse.Namespace) -> int:
    command: str = arguments.command
    if command in FAULTS:
        getattr(testbed, command)(arguments.component)
        return 0
    match command:
        case "up":
            _up(testbed, fresh=arguments.fresh)
        case "down":
            testbed.down()
        case "status":
            return _status(testbed)
        case "exec":
            _execute(testbed, arguments.argv)
        case _:
            _prepare(testbed, command)
    return 0


def _prepare(testbed: Testbed, command: str) -> None:
    match command:
        case "build":
            binaries.build_all()
            images.build_all()
        case "images":
            print("\n".join(testbed.update_images()) or "nothing has changed")
        case "install":
            print(f"installed: {' '.join(packages.install()) or 'nothing, all packages are installed'}")
        case "kubeconfig":
            print(testbed.instance.kubeconfig)


def _execute(testbed: Testbed, argv: list[str]) -> None:
    command = argv[1:] if argv[:1] == ["--"] else argv
    if not command:
        raise TestbedError("nothing to run; expected `python -m testbed exec -- CMD ...`")
    testbed.execute(command)


def _up(testbed: Testbed, *, fresh: bool) -> None:
    began = time.monotonic()
    testbed.up(fresh=fresh)
    print(f"test bed {testbed.instance.name} is up after {time.monotonic() - began:.1f} s")
    print(f"kubeconfig: {testbed.instance.kubeconfig}")


def _status(testbed: Testbed) -> int:
    facts = testbed.status()
    for fact in facts:
        print(f"{'ok  ' if fact.ok else 'DOWN'} {fact.name:24} {fact.detail}")
    print(f"     {'kubeconfig':24} {testbed.instance.kubeconfig}")
    return 0 if all(fact.ok for fact in facts) else 1


if __name__ == "__main__":
    sys.exit(main())
