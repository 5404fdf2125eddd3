"""The commands of `ddflows` for existing datasets: `report`, `export` and `push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dd_core.designer.results import DatasetCreationResults


_dataset = click.argument("dataset", type=click.Path(exists=True, file_okay=False))


@click.command()
@_dataset
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="Write the report to this .html or .svg file.",
)
def report(dataset: str, output: str | None) -> None:
    """Show a statistical report on a dataset.

    DATASET is the folder of a dataset or of a version.
    """
    if output is not None and Path(output).suffix not in (".html", ".svg"):
        raise click.UsageError(f"{output!r} must end with .html or .svg")
    _open_dataset(dataset).load_analysis().to_report(output)


@click.command()
@_dataset
@click.argument("file", type=click.Path(dir_okay=False))
def export(dataset: str, file: str) -> None:
    """Export a dataset to a file.

    Writes the dataset or version in the folder DATASET to FILE (.jsonl, .csv or .parquet).
    """
    from dd_core.storage.export import require_target

    require_target(file)
    results = _open_dataset(dataset)
    path = results.export(file)
    click.echo(f"{results.count_records():,} rows written to {path}")


@click.command()
@_dataset
@click.argument("repository")
@click.option(
    "--description",
    default="Synthetic data.",
    help="Text at the beginning of the README in the repository.",
)
@click.option("--token", help="Name of the environment variable with the token; default: HF_TOKEN.")
@click.option("--private", is_flag=True, help="Make the repository private if it is new.")
@click.option("--tag", "tags", multiple=True, help="Tag of the repository. Can be repeated.")
def push(
    dataset: str,
    repository: str,
    description: str,
    token: str | None,
    private: bool,
    tags: tuple[str, ...],
) -> None:
    """Upload a dataset to Hugging Face.

    Uploads the dataset or version in the folder DATASET to REPOSITORY (user/name).
    """
    results = _open_dataset(dataset)
    url = results.push_to_hub(repository, description, token=token, private=private, tags=tags)
    click.echo(f"{results.count_records():,} rows uploaded to {url}")


def _open_dataset(dataset: str) -> DatasetCreationResults:
    from dd_core import DataDesigner

    path = Path(dataset).resolve()
    return DataDesigner(path.parent).open(path.name)
