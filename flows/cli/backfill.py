"""The command of `ddflows` for versions of past days: `backfill`."""

from __future__ import annotations

import sys
from datetime import date
from typing import TYPE_CHECKING

import click

from .options import (
    add_config_argument,
    artifacts_option,
    dataset_option,
    providers_option,
    read_providers,
    read_settings,
    report_errors,
    run_config_option,
)

if TYPE_CHECKING:
    from dd_core.dataset.config import DataDesignerConfig


@click.command()
@add_config_argument
@click.option("--from", "first", required=True, metavar="DATE", help="First day, as 2026-11-01.")
@click.option("--to", "last", metavar="DATE", help="Last day; today, if not given.")
@click.option("-n", "--num-records", default=10, show_default=True, help="Rows of each version.")
@dataset_option
@artifacts_option
@run_config_option
@providers_option
@report_errors
def backfill(
    config: DataDesignerConfig | str,
    first: str,
    last: str | None,
    num_records: int,
    dataset_name: str,
    artifact_path: str,
    run_config: str | None,
    providers: str | None,
) -> None:
    """Make the versions of past days that a dataset lacks, one after the other.

    Days whose version is accepted are left alone; versions that were begun are continued. The
    latest version stays the latest. The exit code is 0 only when every day has its rows and passed
    its gates.
    """
    from dd_core.errors import GatesFailedError
    from dd_core.storage.directory import DatasetDirectory
    from dd_core.storage.versions import list_dates

    from .run_here import locate_datasets, run_here

    wanted = [*list_dates(first, last or date.today().isoformat())]
    if not wanted:
        raise click.UsageError(f"--from {first} is after --to {last}")
    short: list[str] = []
    placed = locate_datasets(artifact_path)
    for day in wanted:
        if DatasetDirectory.place(placed, dataset_name, day).accepted:
            click.echo(f"{day} is there")
            continue
        click.echo(f"{day}")
        try:
            is_complete = run_here(
                config=config,
                num_records=num_records,
                dataset_name=dataset_name,
                artifact_path=artifact_path,
                version=day,
                run_config=read_settings(run_config),
                model_providers=read_providers(providers),
            )
        except GatesFailedError as error:
            click.echo(str(error), err=True)
            is_complete = False
        short += [] if is_complete else [day]
    if short:
        click.echo(f"not as asked for: {', '.join(short)}", err=True)
    sys.exit(1 if short else 0)
