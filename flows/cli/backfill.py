"""`ddflows backfill`: generates the missing versions of past days."""

from __future__ import annotations

import sys
from datetime import date
from typing import TYPE_CHECKING

import click

from .options import (
    ROW_COUNT,
    add_config_argument,
    artifacts_option,
    dataset_option,
    providers_option,
    read_servers,
    read_settings,
    run_config_option,
)

if TYPE_CHECKING:
    from dd_core.dataset.config import DataDesignerConfig


@click.command()
@add_config_argument
@click.option(
    "--from", "first", required=True, metavar="DATE", help="First day, such as 2026-11-01."
)
@click.option("--to", "last", metavar="DATE", help="Last day; default: today.")
@click.option(
    "-n",
    "--num-records",
    type=ROW_COUNT,
    default=10,
    show_default=True,
    help="Number of rows in each version.",
)
@dataset_option
@artifacts_option
@run_config_option
@providers_option
def backfill(
    config: DataDesignerConfig,
    first: str,
    last: str | None,
    num_records: int,
    dataset_name: str,
    artifact_path: str,
    run_config: str | None,
    providers: str | None,
) -> None:
    """Generate the missing versions of past days.

    CONFIG is a YAML, JSON or Python file; see `ddflows run --help`.

    Generates the versions one after another. Skips days whose version is already accepted, and
    continues versions that are not finished. An older version never replaces a newer one as the
    latest. The exit code is 0 only if every version has all of its rows and passed its gates.
    """
    from dd_core.errors import GatesFailedError
    from dd_core.storage.directory import DatasetDirectory
    from dd_core.storage.versions import list_dates

    from .run_here import locate_datasets, run_here

    days = [*list_dates(first, last or date.today().isoformat())]
    if not days:
        raise click.UsageError(f"--from {first} is after --to {last}")
    incomplete: list[str] = []
    location = locate_datasets(artifact_path)
    for day in days:
        if DatasetDirectory.place(location, dataset_name, day).accepted:
            click.echo(f"{day}: already accepted")
            continue
        click.echo(day)
        try:
            is_complete = run_here(
                config=config,
                num_records=num_records,
                dataset_name=dataset_name,
                artifact_path=artifact_path,
                version=day,
                run_config=read_settings(run_config),
                **read_servers(providers),
            )
        except GatesFailedError as error:
            click.echo(str(error), err=True)
            is_complete = False
        incomplete += [] if is_complete else [day]
    if incomplete:
        click.echo(f"incomplete or rejected: {', '.join(incomplete)}", err=True)
    sys.exit(1 if incomplete else 0)
