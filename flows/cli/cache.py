"""`ddflows cache`: what Prefect's result storage holds of columns, and its removal."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from .options import report_errors

if TYPE_CHECKING:
    from ..cache.listing import Listing
    from ..cache.retention import StoredFingerprint


_AGES = {"h": 3600, "d": 86_400, "w": 604_800}
_SIZES = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_RANGES_SHOWN = 3


class _Measure(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A number with a unit."""

    def __init__(self, name: str, units: Mapping[str, float], example: str) -> None:
        self.name = name
        self._units = units
        self._example = example

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number in the smallest unit."""
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", value)
        units = {unit.upper(): size for unit, size in self._units.items()}
        if found is None or found[2].upper() not in units:
            known = ", ".join(self._units)
            self.fail(f"{value!r} must be like {self._example}, in {known}", param, ctx)
        return float(found[1]) * units[found[2].upper()]


_block = click.option(
    "--block", metavar="TYPE/NAME", help="Storage block, if it is not Prefect's default."
)


@click.group()
def cache() -> None:
    """The column values that runs have kept in Prefect's result storage."""


@cache.command("list")
@click.option("--column", help="Only this column.")
@click.option(
    "-o", "--artifact-path", default="artifacts", show_default=True, help="Where datasets are."
)
@_block
@report_errors
def list_(column: str | None, artifact_path: str, block: str | None) -> None:
    """Show what is kept, by column and fingerprint, and which datasets in the folder use it."""
    from rich.console import Console
    from rich.table import Table

    from ..cache.retention import find_datasets
    from .run_here import locate_datasets

    datasets, now = find_datasets(locate_datasets(artifact_path)), time.time()
    table = Table("column", "fingerprint", "rows", "ranges", "size", "age", "datasets")
    for each in _stored(_listing(block), column):
        covered = each.covered()
        ranges = [f"{start:,}-{stop - 1:,}" for start, stop in covered[:_RANGES_SHOWN]]
        ranges += [f"and {len(covered) - _RANGES_SHOWN} more"][: len(covered) > _RANGES_SHOWN]
        table.add_row(
            each.column or "(rows of batches)",
            each.fingerprint,
            f"{sum(stop - start for start, stop in covered):,}",
            ", ".join(ranges),
            _shown(each.size),
            _age(now - each.modified),
            ", ".join(datasets.get(each.fingerprint[:16], [])),
        )
    Console().print(table) if table.row_count else click.echo("Nothing is kept.")


@cache.command()
@_block
@report_errors
def size(block: str | None) -> None:
    """Show how much each column takes."""
    sizes = Counter[str]()
    for each in _stored(_listing(block), None):
        sizes[each.column or "(rows of batches)"] += each.size
    for name, taken in sizes.most_common():
        click.echo(f"{_shown(taken):>10}  {name}")
    click.echo(f"{_shown(sizes.total()):>10}  in all")


@cache.command()
@click.option(
    "--older-than", type=_Measure("AGE", _AGES, "30d"), help="Remove what was written before."
)
@click.option(
    "--keep-latest", type=click.IntRange(min=0), help="Fingerprints of each column that stay."
)
@click.option(
    "--max-size", type=_Measure("SIZE", _SIZES, "10GB"), help="Remove the oldest until this fits."
)
@click.option("--column", help="Only this column; with no other option all that is kept of it.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@_block
@report_errors
def prune(
    older_than: float | None,
    keep_latest: int | None,
    max_size: float | None,
    column: str | None,
    dry_run: bool,
    block: str | None,
) -> None:
    """Remove column values that are no longer wanted, and rows of batches.

    Datasets stay as they are. What is removed is asked for again when a run needs it. Do not prune
    what a run is using just now.
    """
    from ..cache.retention import Retention, remove

    rules = (older_than, keep_latest, max_size)
    if column is None and all(rule is None for rule in rules):
        raise click.UsageError("say what to remove: --older-than, --keep-latest, --max-size ...")
    if all(rule is None for rule in rules):
        keep_latest = 0
    listing = _listing(block)
    rule = Retention(older_than, keep_latest, None if max_size is None else int(max_size))
    expired = rule.expired(_stored(listing, column), time.time())
    counted = Counter[tuple[str, str]]()
    for each in expired:
        counted[each.folder, each.fingerprint] += each.size
    for (folder, fingerprint), taken in sorted(counted.items()):
        click.echo(f"{_shown(taken):>10}  {folder}/{fingerprint}")
    total = _shown(counted.total())
    if dry_run:
        click.echo(f"{len(expired)} results of {total} would be removed")
    else:
        remove(listing, expired)
        click.echo(f"{len(expired)} results of {total} removed")


def _listing(block: str | None) -> Listing:
    from prefect.blocks.core import Block
    from prefect.filesystems import WritableFileSystem
    from prefect.results import aget_default_result_storage

    from ..cache.listing import make_listing

    async def storage() -> object:
        return await (Block.aload(block) if block else aget_default_result_storage())

    try:
        found = asyncio.run(storage())
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    listing = make_listing(found) if isinstance(found, WritableFileSystem) else None
    if listing is None:
        raise click.ClickException(
            f"a {type(found).__name__} cannot be listed; remove files with the storage's own tools"
        )
    return listing


def _stored(listing: Listing, column: str | None) -> list[StoredFingerprint]:
    from ..cache.retention import list_stored

    found = list_stored(listing)
    return [each for each in found if column is None or each.column == column]


def _shown(size: float) -> str:
    units = [unit for unit, least in _SIZES.items() if size >= least] or ["B"]
    return f"{size / _SIZES[units[-1]]:,.{0 if units[-1] == 'B' else 1}f} {units[-1]}"


def _age(seconds: float) -> str:
    if seconds < _AGES["h"]:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < _AGES["d"] else f"{seconds / _AGES['d']:.0f} d"
