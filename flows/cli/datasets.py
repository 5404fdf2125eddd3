"""The commands of `ddflows` for datasets that are there: `report`, `export`, `push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import report_errors

if TYPE_CHECKING:
    from dd_core.designer.results import DatasetCreationResults


_dataset = click.argument("dataset", type=click.Path(exists=True, file_okay=False))


@click.command()
@_dataset
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="An .html or .svg file.")
@report_errors
def report(dataset: str, output: str | None) -> None:
    """Show what the rows of the folder DATASET are like."""
    _opened(dataset).load_analysis().to_report(output)


@click.command()
@_dataset
@click.argument("file", type=click.Path(dir_okay=False))
@report_errors
def export(dataset: str, file: str) -> None:
    """Write the rows of the folder DATASET to FILE (.jsonl, .csv or .parquet)."""
    results = _opened(dataset)
    click.echo(f"{results.count_records():,} rows written to {results.export(file)}")


@click.command()
@_dataset
@click.argument("repository")
@click.option("--description", default="Synthetic data.", help="First words of its README.")
@click.option("--token", help="Environment variable with the token, if it is not HF_TOKEN.")
@click.option("--private", is_flag=True, help="If the repository is new, make it private.")
@click.option("--tag", "tags", multiple=True, help="May be repeated.")
@report_errors
def push(
    dataset: str,
    repository: str,
    description: str,
    token: str | None,
    private: bool,
    tags: tuple[str, ...],
) -> None:
    """Upload the folder DATASET to REPOSITORY (user/name) on Hugging Face."""
    results = _opened(dataset)
    url = results.push_to_hub(repository, description, token=token, private=private, tags=tags)
    click.echo(f"{results.count_records():,} rows are at {url}")


def _opened(dataset: str) -> DatasetCreationResults:
    from dd_core import DataDesigner

    path = Path(dataset).resolve()
    return DataDesigner(path.parent).open(path.name)
