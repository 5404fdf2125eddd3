"""`ddflows show`: shows the records of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..options import ROW_COUNT
from .browser import Records, View, add_view_options, show_records

if TYPE_CHECKING:
    from dd_core.storage.directory import DatasetDirectory


_FEW = 10
"""Records that are shown if nobody can page through them."""


@click.command()
@click.argument("dataset")
@click.argument("record", type=click.IntRange(min=1), required=False)
@click.option(
    "-n",
    "--num-records",
    type=ROW_COUNT,
    help="Number of records to show; default: all in a terminal; otherwise RECORD, or the "
    "first 10.",
)
@add_view_options
def show(dataset: str, record: int | None, num_records: int | None, view: View) -> None:
    """Show the records of a dataset in full.

    DATASET is the folder or storage URL of a dataset or of a version, or block:NAME//PATH.
    RECORD is the number of the first record to show; default: 1.

    In a terminal, shows one record at a time: n or Enter for the next one, p for the previous one,
    g to go to a number, q to quit. Does not change the dataset. A dataset that is still being
    generated shows the batches that are finished.
    """
    from dd_core.designer.results import open_results
    from dd_core.designer.verification import require_dataset

    directory = locate_dataset(dataset)
    require_dataset(directory)
    results = open_results(directory)
    total, first = results.count_records(), (record or 1) - 1
    if total == 0:
        raise click.ClickException(f"{dataset!r} has no rows yet")
    if first >= total:
        raise click.UsageError(f"there is no record {record}; the dataset has {total:,}")
    if num_records is None and view.is_interactive and view.save_html is None:
        records = Records(results, total, range(total), first)
    else:
        count = num_records or (_FEW if record is None else 1)
        records = Records(results, total, range(first, min(total, first + count)))
    show_records(records, view, dataset)


def locate_dataset(dataset: str) -> DatasetDirectory:
    """The directory of a dataset, or of its latest version if it has versions."""
    from dd_core.storage.directory import VERSIONS, DatasetDirectory
    from dd_core.storage.location import parse_location
    from dd_core.storage.versions import find_current

    from ..run_here import locate_datasets

    path = parse_location(locate_datasets(dataset))
    if path.parent.name == VERSIONS:
        return DatasetDirectory(path, path.name)
    return find_current(DatasetDirectory(path))
