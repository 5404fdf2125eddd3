"""`ddflows resume`: dataset runs that were cut off go on."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID

import click

from flows.cli_errors import reports_errors


@click.command()
@click.argument("run_ids", metavar="[RUN_ID]...", nargs=-1, type=click.UUID)
@click.option("--all", "every", is_flag=True, help="Resume all that were cut off.")
@reports_errors
def resume(run_ids: tuple[UUID, ...], every: bool) -> None:
    """Let dataset runs that were cut off go on: those named, or list them.

    A run of a deployment goes on on its work pool, another one here. Its finished batches and
    answers are kept.
    """
    sys.exit(asyncio.run(_resume(run_ids, every)))


async def _resume(run_ids: tuple[UUID, ...], every: bool) -> int:
    from prefect.client.orchestration import get_client

    from flows.resume import interrupted_runs, resume

    async with get_client() as client:
        found = [] if run_ids else await interrupted_runs(client)
        if not (run_ids or every):
            for run in found:
                state = run.state_name if run.state_name == "Crashed" else "its process is gone"
                click.echo(f"{run.id}  {run.name}: {state}")
            click.echo("Resume them with `ddflows resume RUN_ID` or --all." if found else "None.")
            return 0
        missing = 0
        for run_id in run_ids or [run.id for run in found]:
            summary = await resume(client, run_id)
            if summary is None:
                click.echo(f"{run_id} will go on on its work pool.")
            else:
                click.echo(f"{run_id}: {summary.rows_written} of {summary.rows_asked} rows")
                missing += summary.rows_asked - summary.rows_written
        return 1 if missing else 0
