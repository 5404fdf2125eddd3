"""`ddflows preview`: generates a few rows in memory and shows them."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..options import (
    add_config_argument,
    num_records_option,
    providers_option,
    read_servers,
    read_settings,
    run_config_option,
    seed_option,
)
from .browser import Records, View, add_view_options, show_records
from .workflow import preview_workflow

if TYPE_CHECKING:
    from dd_core.dataset.config import DataDesignerConfig


@click.command()
@partial(add_config_argument, on_workflow=preview_workflow)
@num_records_option
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="Write the rows to this .jsonl, .csv or .parquet file.",
)
@add_view_options
@run_config_option
@seed_option
@providers_option
def preview(
    config: DataDesignerConfig,
    num_records: int,
    output: str | None,
    view: View,
    run_config: str | None,
    seed: int | None,
    providers: str | None,
) -> None:
    """Generate a few rows and show them in full, with a profile.

    CONFIG is a YAML, JSON or Python file; see `ddflows run --help`.

    Generates the rows in memory, without Prefect. In a terminal, shows one record at a time: n or
    Enter for the next one, p for the previous one, g to go to a number, q to quit. The exit code is
    0 only if no row failed; rows that processors removed do not count.
    """
    from dd_core import DataDesigner
    from dd_core.storage.export import export as write_file, require_target

    from ..terminal import describe_dropped, explain_source

    if output is not None:  # before anything is spent
        if Path(output).suffix.lower() not in (".jsonl", ".csv", ".parquet"):
            raise click.UsageError(f"{output!r} must end with .jsonl, .csv or .parquet")
        require_target(output)
    settings = read_settings(run_config, seed, shown=True)
    designer = DataDesigner(**read_servers(providers), run_config=settings)
    results = designer.preview(config, num_records=num_records)
    rows = results.table.num_rows
    if output is not None:  # before anybody can interrupt it
        write_file(lambda: [results.table], output)
    show_records(Records(results, rows, range(rows)), view, f"Preview of {rows} records")
    results.analysis.to_report()
    for dropped in results.dropped:
        click.echo(describe_dropped(dropped), err=True)
    click.echo(explain_source(results.plan))
    if output is not None:
        click.echo(f"{rows} rows written to {output}")
    sys.exit(0 if results.num_generated == num_records else 1)
