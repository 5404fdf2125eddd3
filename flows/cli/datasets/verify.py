"""`ddflows verify`: checks everything that is stored of a dataset, and repairs it."""

from __future__ import annotations

import sys

import click

from ..options import providers_option, read_servers
from .show import locate_dataset


@click.command()
@click.argument("dataset")
@click.option("--repair", is_flag=True, help="Regenerate whatever is lost or damaged.")
@providers_option
def verify(dataset: str, repair: bool, providers: str | None) -> None:
    """Check all stored files of a dataset.

    DATASET is the folder or storage URL of a dataset or of a version, or block:NAME//PATH.

    Prints one line for each problem. The exit code is 0 only if there are none. With
    --repair, reports how many rows and model responses must be regenerated, and regenerates them
    with the configuration and the seed that are stored with the dataset.
    """
    from dd_core import DataDesigner
    from dd_core.designer.verification import require_dataset, verify_dataset

    directory = locate_dataset(dataset)
    require_dataset(directory)
    found = verify_dataset(directory)
    for line in [*found.problems, *found.notes]:
        click.echo(line)
    if found.is_intact:
        click.echo(f"{directory.count_rows():,} rows: no problems found")
        return
    count = len(found.problems)
    click.echo(f"{count} problem{'s' if count > 1 else ''} found; {found.cost}")
    if not repair:
        click.echo(f"Repair them with `ddflows verify {dataset} --repair`.")
        sys.exit(1)
    whole = directory.dataset_path
    designer = DataDesigner(whole.parent, **read_servers(providers))
    results = designer.repair(whole.name, directory.version)
    left = results.verify().problems
    for line in left:
        click.echo(line, err=True)
    click.echo(f"{results.count_records():,} rows, {len(left)} problems left")
    sys.exit(1 if left else 0)
