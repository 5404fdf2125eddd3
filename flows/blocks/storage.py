"""Where datasets go, as runs name it: an address, or a block that holds one and its credentials.

`block:<name>` is a DatasetStorage, `block:<type>/<name>` any block with a filesystem's base path.
What follows `//` is a path within. Only the reference travels through Prefect and the dataset's
storage; every process reads the block for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from prefect.blocks.core import Block
from prefect.filesystems import LocalFileSystem
from pydantic import ValidationError

from dd_core.errors import ArtifactStorageError
from dd_core.models.secrets import BLOCK_PREFIX
from dd_core.storage.location import Location, is_below, parse_location, resolve_within

from .types import DatasetStorage, parse_block_reference, require_place


@dataclass(frozen=True)
class StorageLocation:
    """A folder or prefix, and how other processes are told of it."""

    address: str
    """As it was given."""
    location: Location

    def address_of(self, below: Location) -> str:
        """How other processes find a folder that is in this one."""
        if not self.address.startswith(BLOCK_PREFIX):
            return str(below)
        if not is_below(below, self.location):
            raise ArtifactStorageError(f"{below} is not in {self.address}")
        steps = str(below).removeprefix(str(self.location).rstrip("/")).strip("/")
        whole = self.address.rstrip("/")
        within_block = "//" in whole.removeprefix(BLOCK_PREFIX)
        return f"{whole}/{steps}" if within_block else f"{whole}//{steps}"


async def resolve_location(address: str) -> StorageLocation:
    """The place that an address or a reference to a block means."""
    if not address.startswith(BLOCK_PREFIX):
        return StorageLocation(address, parse_location(address))
    named = parse_block_reference(address)
    if named is None:
        raise ArtifactStorageError(
            f"{address!r} must be block:<name of a DatasetStorage> or block:<type>/<name>"
        )
    kind, name, below = named
    slug = kind or DatasetStorage.get_block_type_slug()
    url, options = _contents(await _loaded(f"{slug}/{name}"), f"{slug}/{name}")
    found = resolve_within(_reached(url, options, address), below) if below else None
    if below and found is None:
        raise ArtifactStorageError(f"{address!r} leads out of the block's storage")
    return StorageLocation(address, found or _reached(url, options, address))


def resolve_location_here(address: str) -> Location:
    """The same for commands, which are not part of a run."""
    return asyncio.run(resolve_location(address)).location


async def _loaded(slug: str) -> Any:
    kind, name = slug.split("/")
    try:
        if kind == DatasetStorage.get_block_type_slug():
            block: Any = DatasetStorage
            return await block.aload(name)
        anything: Any = Block
        return await anything.aload(slug)
    except ValidationError as error:  # whose text may hold what is in the block
        fields = ", ".join(sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]}))
        raise ArtifactStorageError(f"block {slug!r} is not valid; see its {fields}") from None
    except ValueError:
        raise ArtifactStorageError(
            f"there is no block {slug!r}; save it in Prefect, or see `prefect block ls` for those "
            "that there are"
        ) from None


def _contents(block: Any, slug: str) -> tuple[str, Mapping[str, Any]]:
    """Address and fsspec options of a block."""
    if isinstance(block, DatasetStorage):
        return block.url, block.options.get_secret_value()
    base: Any = getattr(block, "basepath", None)
    settings: Any = {} if isinstance(block, LocalFileSystem) else getattr(block, "settings", None)
    if not isinstance(base, str) or not isinstance(settings, dict):
        raise ArtifactStorageError(
            f"block {slug!r} does not say where and how its files are kept; datasets go to blocks "
            "that have a basepath: Local File System, Remote File System, or DatasetStorage"
        )
    require_place(base)
    return base, cast("dict[str, Any]", settings)


def _reached(url: str, options: Mapping[str, Any], address: str) -> Location:
    try:
        return parse_location(url, options)
    except ArtifactStorageError as error:
        if not options:
            raise
        complaint = error
    except Exception as error:  # filesystems raise what they like for options they do not know
        complaint = error
    # What they say may repeat an option.
    raise ArtifactStorageError(
        f"the storage {address!r} at {url} cannot be reached with the block's options "
        f"({type(complaint.__cause__ or complaint).__name__}); check them, and that the fsspec "
        "package for its scheme is installed"
    ) from None
