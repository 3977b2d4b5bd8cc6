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
from kubeprobe.localcluster.server import LocalCluster, Settings
from kubeprobe.localcluster.simulate import DEFAULT_SCRIPT, Script, ScriptError

_EPILOG = """\
Pods of the plain cluster are processes of this machine. Pods of simulated clusters only pretend; the annotation
localcluster.kubeprobe.io/script of a pod, or --script for all, says how: a JSON object with any of
start, after (seconds), exitCode, message, reason, log, waiting, unschedulable, evicted, preempted, nodeLost, vanish.

Nothing is kept when it stops: neither pods nor secrets, namespaces or custom resources.
"""


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    settings = _settings(_parser().parse_args())
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with LocalCluster(settings) as cluster:
        told = f"local cluster ready: {cluster.url} kubeconfig {cluster.kubeconfig}"
        if settings.clusters:
            told += f" ({settings.clusters} simulated clusters)"
        sys.stdout.write(f"{told}\n")
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
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0, the default, finds a free one")
    parser.add_argument("--dir", type=Path, help="where containers live (default: a temporary directory)")
    parser.add_argument("--kubeconfig", type=Path, help="where to write the kubeconfig (default: in --dir)")
    parser.add_argument(
        "--token", help="what clients must show (default: a random one, kept in --dir; it is in the kubeconfig)"
    )
    parser.add_argument("--no-token", action="store_true", help="let every local user in")
    parser.add_argument(
        "--namespace", action="append", metavar="NAME",
        help="a namespace that exists from the start; repeatable (default: kubeprobe)",
    )  # fmt: skip
    parser.add_argument(
        "--apply", action="append", default=[], metavar="FILE", type=Path,
        help="YAML of objects that exist from the start, as kubectl apply -f takes it; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--image", action="append", default=[], metavar="NAME=DIR", type=_image,
        help="an image whose content is a directory: working directory, head of PATH and PYTHONPATH; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--images", metavar="FILE", type=Path, help="a file of further images, NAME=DIR a line, read at every pull"
    )
    parser.add_argument(
        "--clusters", type=int, default=0, metavar="N",
        help="simulated clusters beside the plain one, at /clusters/c0001 and so on; contexts c0001, ...",
    )  # fmt: skip
    parser.add_argument("--script", type=_script, default=DEFAULT_SCRIPT, metavar="JSON", help="see below")
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    token = arguments.token or _kept_token(arguments.dir)
    return Settings(
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
    """A random token; with a directory, the same one at the next start, so that stored credentials stay good."""
    token = secrets.token_urlsafe(24)
    if directory is None:
        return token
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "token"
    if file.exists():
        return file.read_text().strip()
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(token)
    return token


def _image(text: str) -> Image:
    name, equals, directory = text.partition("=")
    if not equals or not name or not Path(directory).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR with an existing directory")
    return Image.from_directory(name, Path(directory))


def _script(text: str) -> Script:
    try:
        return DEFAULT_SCRIPT.evolve(json.loads(text))
    except (json.JSONDecodeError, ScriptError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    main()
