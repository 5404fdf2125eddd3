"""The `ddflows` command line. Its modules start without Prefect and import it when needed."""

from __future__ import annotations


def run_program() -> None:
    """Entry point of the console script."""
    try:  # Ctrl+C may come while the commands are being imported
        from .boundary import run_command_line
        from .main import cli
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run_command_line(cli, "ddflows")
