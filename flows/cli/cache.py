"""`ddflows cache`: lists and removes column values in Prefect's result storage."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..cache.listing import Listing
    from ..cache.retention import StoredFingerprint


_AGES = {"h": 3600, "d": 86_400, "w": 604_800}
_SIZES = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_MAX_RANGES = 3


class _Measure(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A number with a unit."""

    def __init__(self, name: str, units: Mapping[str, float], example: str) -> None:
        self.name = name
        self._units = units
        self._example = example

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert the value to the smallest unit."""
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", value)
        units = {unit.upper(): size for unit, size in self._units.items()}
        if found is None or found[2].upper() not in units:
            known = ", ".join(self._units)
            self.fail(
                f"{value!r} is not valid; use a number and one of the units {known}, such as "
                f"{self._example}",
                param,
                ctx,
            )
        return float(found[1]) * units[found[2].upper()]


_block = click.option(
    "--block",
    metavar="TYPE/NAME",
    help="Storage block; default: Prefect's default result storage.",
)


@click.group()
def cache() -> None:
    """List and remove column values in Prefect's result storage."""


@cache.command("list")
@click.option("--column", help="List only this column.")
@click.option(
    "-o",
    "--artifact-path",
    default="artifacts",
    show_default=True,
    help="Folder or storage URL of the datasets, or block:NAME for a storage block.",
)
@_block
def list_(column: str | None, artifact_path: str, block: str | None) -> None:
    """List stored values by column and fingerprint.

    Also shows which datasets in the artifact path use them.
    """
    from rich.console import Console
    from rich.table import Table

    from ..cache.retention import find_datasets
    from .run_here import locate_datasets

    datasets, now = find_datasets(locate_datasets(artifact_path)), time.time()
    table = Table("column", "fingerprint", "rows", "ranges", "size", "age", "datasets")
    for each in _list_stored(_open_listing(block), column):
        covered = each.covered()
        ranges = [f"{start:,}-{stop - 1:,}" for start, stop in covered[:_MAX_RANGES]]
        if len(covered) > _MAX_RANGES:
            ranges.append(f"and {len(covered) - _MAX_RANGES} more")
        table.add_row(
            each.column or "(rows of batches)",
            each.fingerprint,
            f"{sum(stop - start for start, stop in covered):,}",
            ", ".join(ranges),
            _format_size(each.size),
            _format_age(now - each.modified),
            ", ".join(datasets.get(each.fingerprint[:16], [])),
        )
    Console().print(table) if table.row_count else click.echo("Nothing is stored.")


@cache.command()
@_block
def size(block: str | None) -> None:
    """Show the stored size of each column."""
    sizes = Counter[str]()
    for each in _list_stored(_open_listing(block), None):
        sizes[each.column or "(rows of batches)"] += each.size
    for name, total in sizes.most_common():
        click.echo(f"{_format_size(total):>10}  {name}")
    click.echo(f"{_format_size(sizes.total()):>10}  in total")


@cache.command()
@click.option(
    "--older-than",
    type=_Measure("AGE", _AGES, "30d"),
    help="Remove results that are older than this, such as 30d.",
)
@click.option(
    "--keep-latest",
    type=click.IntRange(min=0),
    help="Keep only this many of the latest fingerprints of each column.",
)
@click.option(
    "--max-size",
    type=_Measure("SIZE", _SIZES, "10GB"),
    help="Remove the oldest results until the rest fits in this size, such as 10GB.",
)
@click.option(
    "--column",
    help="Prune only this column. Without other options, remove everything stored for it.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@_block
def prune(
    older_than: float | None,
    keep_latest: int | None,
    max_size: float | None,
    column: str | None,
    dry_run: bool,
    block: str | None,
) -> None:
    """Remove column values and rows of batches from the result storage.

    Datasets do not change. If a run needs values that were removed, it generates them again. Do not
    prune values that a run is using.
    """
    from ..cache.retention import Retention, remove

    rules = (older_than, keep_latest, max_size)
    if column is None and all(rule is None for rule in rules):
        raise click.UsageError(
            "specify what to remove: --older-than, --keep-latest, --max-size or --column"
        )
    if all(rule is None for rule in rules):
        keep_latest = 0
    listing = _open_listing(block)
    retention = Retention(older_than, keep_latest, None if max_size is None else int(max_size))
    expired = retention.expired(_list_stored(listing, column), time.time())
    sizes = Counter[tuple[str, str]]()
    for each in expired:
        sizes[each.folder, each.fingerprint] += each.size
    for (folder, fingerprint), total in sorted(sizes.items()):
        click.echo(f"{_format_size(total):>10}  {folder}/{fingerprint}")
    removed = f"{len(expired)} results ({_format_size(sizes.total())})"
    if dry_run:
        click.echo(f"{removed} would be removed")
    else:
        remove(listing, expired)
        click.echo(f"{removed} removed")


def _open_listing(block: str | None) -> Listing:
    from prefect.blocks.core import Block
    from prefect.filesystems import WritableFileSystem
    from prefect.results import aget_default_result_storage

    from ..cache.listing import make_listing

    async def load_storage() -> object:
        return await (Block.aload(block) if block else aget_default_result_storage())

    try:
        storage = asyncio.run(load_storage())
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    listing = make_listing(storage) if isinstance(storage, WritableFileSystem) else None
    if listing is None:
        raise click.ClickException(
            f"storage of type {type(storage).__name__} cannot list its files; use the tools of the "
            "storage instead"
        )
    return listing


def _list_stored(listing: Listing, column: str | None) -> list[StoredFingerprint]:
    from ..cache.retention import list_stored

    found = list_stored(listing)
    return [each for each in found if column is None or each.column == column]


def _format_size(size: float) -> str:
    units = [unit for unit, least in _SIZES.items() if size >= least] or ["B"]
    return f"{size / _SIZES[units[-1]]:,.{0 if units[-1] == 'B' else 1}f} {units[-1]}"


def _format_age(seconds: float) -> str:
    if seconds < _AGES["h"]:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < _AGES["d"] else f"{seconds / _AGES['d']:.0f} d"
