"""Commands that run processes or maintain the installation: up, collector, web, shell, migrate, doctor, key."""

# ruff: noqa: PLC0415 - imports inside commands keep every start fast; options are declared as parameters
from typing import Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, open_installation, settings
from kubeprobe.cli.frame import echo

key_app = typer.Typer(
    help="Rotate the secret key that encrypts credentials, without a stop.", no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(up)
    app.command()(migrate)
    app.command()(collector)
    app.command()(web)
    app.command()(shell)
    app.command()(doctor)
    app.add_typer(key_app, name="key")


def up(
    image: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DIR", help="A folder that is an image of the local cluster.")
    ] = None,
) -> None:
    """Start everything on this machine, until Ctrl-C.

    Broker, local cluster, beat, launcher, collector, responder, web and Flower; verdicts are printed as they arrive.
    """
    from kubeprobe.errors import extra

    with extra("local", "kubeprobe up"):
        from kubeprobe.up import up as start
    raise typer.Exit(start(settings(), tuple(image or ())))


def migrate() -> None:
    """Create the store, or upgrade it to this version.

    Changes nothing where it is up to date.
    """
    from kubeprobe.app import migrate_store

    address, installation = migrate_store(settings())
    echo(f"The store is ready: {address}")
    echo(f"Installation {installation}")


def collector(
    name: Annotated[str, typer.Option(help="Its name among collectors; default: HOST-PID.")] = "",
) -> None:
    """Run a collector, until SIGTERM or Ctrl-C.

    It watches clusters, judges the pods that end and stores their outcomes.
    """
    from kubeprobe.cli.collector import collect

    collect(name)


def web(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="The port.")] = 8080,
) -> None:
    """Serve the REST API, until SIGTERM or Ctrl-C.

    So far: signed pushes to sources, /healthz and /metrics. Put a TLS proxy before it.
    """
    from kubeprobe.cli.web import serve

    serve(host, port)


def shell() -> None:
    """Open a Python shell with KubeProbe's functions imported."""
    from kubeprobe.cli.python_shell import open_shell

    open_shell(settings())


def doctor(output: OutputOption = Output.TABLE) -> None:
    """Diagnose this installation and suggest fixes.

    Exit code 1 if there is a problem.
    """
    from kubeprobe.cli.cluster_text import print_findings
    from kubeprobe.cli.frame import BAD_NEWS
    from kubeprobe.cli.output import print_json, working
    from kubeprobe.health import diagnose

    with working("Checking ..."):
        findings = list(diagnose(settings()))
    if output is Output.JSON:
        print_json(findings)
    else:
        print_findings(findings)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else BAD_NEWS)


@key_app.command("rotate")
def rotate_key() -> None:
    """Put a new key before the others, and encrypt every stored credential with it.

    Processes go on meanwhile. The old keys go on decrypting until `kubeprobe key retire`. Where KUBEPROBE_SECRET_KEY is
    set, first set it to OLD,NEW for every process, and then to NEW,OLD, each time restarting one after the other.
    """
    from kubeprobe.app import rotate_key as rotate
    from kubeprobe.cli.key_text import print_rotation

    with open_installation() as installation:
        print_rotation(rotate(installation))


@key_app.command("retire")
def retire_keys() -> None:
    """Remove the old keys; refused while a credential needs one.

    Not right after a rotation: a process may be storing what it encrypted with an old key.
    """
    from kubeprobe.app import retire_keys as retire
    from kubeprobe.cli.key_text import print_retirement

    with open_installation() as installation:
        print_retirement(retire(installation))
