"""Commands that run something or mend it: up, collector, web, shell, migrate, doctor."""

# ruff: noqa: PLC0415 - imports inside commands keep every start fast; options are declared as parameters
from typing import Annotated

import typer

from kubeprobe.cli.arguments import Output, OutputOption, settings


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(up)
    app.command()(migrate)
    app.command()(collector)
    app.command()(web)
    app.command()(shell)
    app.command()(doctor)


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
    """Make the store, or bring it up to date.

    Changes nothing where it is already.
    """
    from kubeprobe.clock import utc_now
    from kubeprobe.store import open_store as open_any
    from kubeprobe.store.migrate import installation_id
    from kubeprobe.store.migrate import migrate as upgrade

    store = open_any(settings().database())
    upgrade(store, utc_now())
    typer.echo(f"The store is ready: {store.engine.url.render_as_string(hide_password=True)}")
    typer.echo(f"Installation {installation_id(store)}")
    store.close()


def collector(
    name: Annotated[str, typer.Option(help="Its name among collectors; default: HOST-PID.")] = "",
) -> None:
    """Run a collector, until SIGTERM or Ctrl-C.

    It watches clusters, judges the pods that end and stores their outcomes.
    """
    from kubeprobe.cli.collecting import collect

    collect(name)


def web(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="The port.")] = 8080,
) -> None:
    """Serve the REST API, until SIGTERM or Ctrl-C.

    So far: signed pushes to sources, and /healthz. Put a TLS proxy before it.
    """
    from kubeprobe.cli.serving import serve

    serve(host, port)


def shell() -> None:
    """Open a Python shell with KubeProbe's verbs at hand."""
    from kubeprobe.cli.python_shell import open_shell

    open_shell(settings())


def doctor(output: OutputOption = Output.TABLE) -> None:
    """Tell what is wrong here, and how to mend it.

    Exit code 1 if there is a problem.
    """
    from kubeprobe.cli.doctor import examine

    raise typer.Exit(examine(settings(), output))
