"""`python -m kubeprobe.localcluster`: a local cluster in the foreground, until Ctrl-C."""

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
from pathlib import Path

from kubeprobe.localcluster.images import Image
from kubeprobe.localcluster.server import LocalCluster, LocalClusterSettings
from kubeprobe.localcluster.simulate import DEFAULT_SCRIPT, Script, ScriptError

_EPILOG = """\
Pods of the plain cluster are processes of this machine. Pods of simulated clusters run nothing; the annotation
localcluster.kubeprobe.io/script of a pod, or --script for all, defines their behaviour: a JSON object with any of
start, after (seconds), exitCode, message, reason, log, waiting, unschedulable, evicted, preempted, nodeLost, vanish.

Pods, secrets, namespaces and custom resources are kept in memory and lost when it stops.
"""


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    settings = _settings(_parser().parse_args())
    asyncio.run(_serve(settings))


async def _serve(settings: LocalClusterSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with LocalCluster(settings) as cluster:
        ready = f"local cluster ready: {cluster.url} kubeconfig {cluster.kubeconfig}"
        if settings.clusters:
            ready += f" ({settings.clusters} simulated clusters)"
        sys.stdout.write(f"{ready}\n")
        sys.stdout.flush()
        await stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kubeprobe.localcluster",
        description="A small Kubernetes API whose pods are processes of this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument(
        "--dir", type=Path, help="directory for the files of containers (default: a temporary directory)"
    )
    parser.add_argument("--kubeconfig", type=Path, help="file to write the kubeconfig to (default: in --dir)")
    parser.add_argument(
        "--token",
        help="bearer token that clients must send (default: a random one, kept in --dir and in the kubeconfig)",
    )
    parser.add_argument(
        "--no-token", action="store_true", help="accept requests without a token, from every user of this machine"
    )
    parser.add_argument(
        "--namespace", action="append", metavar="NAME",
        help="namespace to create at the start; repeatable (default: kubeprobe)",
    )  # fmt: skip
    parser.add_argument(
        "--apply", action="append", default=[], metavar="FILE", type=Path,
        help="YAML file of objects to create at the start, as for kubectl apply -f; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--image", action="append", default=[], metavar="NAME=DIR", type=_image,
        help="serve a directory as an image: working directory, first in PATH and PYTHONPATH; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--images", metavar="FILE", type=Path, help="file of more images, one NAME=DIR per line, read at every pull"
    )
    parser.add_argument(
        "--clusters", type=int, default=0, metavar="N",
        help="number of simulated clusters beside the plain one, at /clusters/c0001 and so on; contexts c0001, ...",
    )  # fmt: skip
    parser.add_argument(
        "--script", type=_script, default=DEFAULT_SCRIPT, metavar="JSON", help="behaviour of simulated pods, see below"
    )
    return parser


def _settings(arguments: argparse.Namespace) -> LocalClusterSettings:
    token = arguments.token or _kept_token(arguments.dir)
    return LocalClusterSettings(
        host=arguments.host,
        port=arguments.port,
        directory=arguments.dir,
        kubeconfig=arguments.kubeconfig,
        token=None if arguments.no_token else token,
        namespaces=tuple(arguments.namespace or ("kubeprobe",)),
        manifests=arguments.apply,
        images=arguments.image,
        image_listing=arguments.images,
        clusters=arguments.clusters,
        script=arguments.script,
    )


def _kept_token(directory: Path | None) -> str:
    """A random token; with a directory, the same one at the next start, so that stored credentials stay valid."""
    token = secrets.token_urlsafe(24)
    if directory is None:
        return token
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = directory / "token"
    if file.exists() and (kept := file.read_text(errors="replace").strip()):
        return kept
    draft = file.with_suffix(f".{os.getpid()}")  # renamed when it is complete: an empty file has no token
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(token)
    draft.replace(file)
    return token


def _image(text: str) -> Image:
    name, equals, directory = text.partition("=")
    if not equals or not name or not Path(directory).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is invalid: expected NAME=DIR with an existing directory")
    return Image.from_directory(name, Path(directory))


def _script(text: str) -> Script:
    try:
        return DEFAULT_SCRIPT.evolve(json.loads(text))
    except (json.JSONDecodeError, ScriptError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    main()
