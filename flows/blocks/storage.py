"""Resolves `artifact_path`: an address, or a block that contains an address and its credentials.

`block:<name>` is a DatasetStorage block. `block:<type>/<name>` is any block with the base path of a
file system. A path after `//` is relative to the storage of the block. Only the reference is stored
in Prefect and in the dataset; every process loads the block itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from prefect.blocks.core import Block
from prefect.filesystems import LocalFileSystem
from pydantic import ValidationError

from dd_core.declaration.secrets import BLOCK_PREFIX
from dd_core.designer.blocking import run_blocking
from dd_core.errors import ArtifactStorageError
from dd_core.redaction.registry import register_secrets
from dd_core.redaction.rules import Secrets
from dd_core.storage.location import Location, is_below, parse_location, resolve_within

from .types import DatasetStorage, parse_block_reference, require_shared_address


@dataclass(frozen=True)
class StorageLocation:
    """A folder or prefix, and the address under which other processes find it."""

    address: str
    """The address or reference that was resolved."""
    location: Location

    def address_of(self, below: Location) -> str:
        """The address under which other processes find a folder in this location."""
        if not self.address.startswith(BLOCK_PREFIX):
            return str(below)
        if not is_below(below, self.location):
            raise ArtifactStorageError(f"{below} is not in {self.address}")
        path = str(below).removeprefix(str(self.location).rstrip("/")).strip("/")
        reference = self.address.rstrip("/")
        has_path = "//" in reference.removeprefix(BLOCK_PREFIX)
        return f"{reference}/{path}" if has_path else f"{reference}//{path}"


async def resolve_location(address: str) -> StorageLocation:
    """Resolve an address or a reference to a block; raises `ArtifactStorageError`."""
    if not address.startswith(BLOCK_PREFIX):
        return StorageLocation(address, parse_location(address))
    reference = parse_block_reference(address)
    if reference is None:
        raise ArtifactStorageError(
            f"{address!r} is not a valid reference to a block; use block:<name> for a "
            "Data Designer Storage block, or block:<type>/<name>"
        )
    kind, name, below = reference
    slug = kind or DatasetStorage.get_block_type_slug()
    url, options = _read_block(await _load_block(f"{slug}/{name}"), f"{slug}/{name}")
    location = _parse_location(url, options, address)
    if below:
        within = resolve_within(location, below)
        if within is None:
            raise ArtifactStorageError(f"{address!r} is outside of the block's storage")
        location = within
    return StorageLocation(address, location)


def resolve_location_here(address: str) -> Location:
    """Resolve a location in synchronous code."""
    return run_blocking(lambda: resolve_location(address)).location


async def _load_block(slug: str) -> Any:
    kind, name = slug.split("/")
    try:
        if kind == DatasetStorage.get_block_type_slug():
            block: Any = DatasetStorage
            return await block.aload(name)
        any_block: Any = Block
        return await any_block.aload(slug)
    except ValidationError as error:  # its message may contain values of the block
        fields = ", ".join(sorted({str(each["loc"][0]) for each in error.errors() if each["loc"]}))
        raise ArtifactStorageError(f"block {slug!r} is not valid; check its {fields}") from None
    except ValueError:
        raise ArtifactStorageError(
            f"block {slug!r} does not exist; create it in Prefect, or list all blocks with "
            "`prefect block ls`"
        ) from None


def _read_block(block: Any, slug: str) -> tuple[str, Mapping[str, Any]]:
    """The address and the fsspec options of a block."""
    if isinstance(block, DatasetStorage):
        return block.url, _register_options(block.options.get_secret_value())
    base: Any = getattr(block, "basepath", None)
    settings: Any = {} if isinstance(block, LocalFileSystem) else getattr(block, "settings", None)
    if not isinstance(base, str) or not isinstance(settings, dict):
        raise ArtifactStorageError(
            f"block {slug!r} cannot store datasets, because it has no base path or no settings; "
            "use a block of the type Local File System, Remote File System or Data Designer Storage"
        )
    require_shared_address(base)
    return base, _register_options(cast("dict[str, Any]", settings))


def _register_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options, whose credentials must not show up in anything."""
    found = Secrets()
    found.add_fields(options)
    register_secrets(found)
    return options


def _parse_location(url: str, options: Mapping[str, Any], address: str) -> Location:
    try:
        return parse_location(url, options)
    except ArtifactStorageError as error:
        if not options:
            raise
        cause = error.__cause__ or error
    except Exception as error:  # file systems raise arbitrary errors for unknown options
        cause = error.__cause__ or error
    # Only the type is shown, because the message may contain the value of an option.
    raise ArtifactStorageError(
        f"the storage {address!r} at {url} cannot be reached with the block's options "
        f"({type(cause).__name__}); check the options, and that the fsspec package for its scheme "
        "is installed"
    ) from None
