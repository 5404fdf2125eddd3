"""Records accepted datasets as assets, whose lineage Prefect Cloud shows."""

from __future__ import annotations

import re

from prefect.assets import Asset, AssetProperties, materialize
from prefect.cache_policies import NO_CACHE

from dd_core.quality.acceptance import GateResult
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import is_remote

_NOT_IN_KEYS = re.compile(r"[\s#?&%\"'<>\[\]{}|\\^`\x00]")
_LONGEST_KEY = 512


async def record_asset(
    dataset: str, directory: DatasetDirectory, results: list[GateResult]
) -> None:
    """Record that an accepted dataset or version was written, as a task run."""
    asset = Asset(key=make_asset_key(directory), properties=AssetProperties(name=dataset))
    facts = {
        "version": directory.version,
        "path": str(directory.path),
        "rows": directory.metadata.actual_num_records,
        "gates": {each.gate: each.shown for each in results},
    }

    @materialize(asset, by="prefect-data-designer", name="accept-dataset", cache_policy=NO_CACHE)
    async def accept() -> None:
        asset.add_metadata(facts)

    await accept()


def make_asset_key(directory: DatasetDirectory) -> str:
    """The key of a dataset's asset: the address of its folder, which is the same for all versions.

    Characters that Prefect does not allow in keys become underscores.
    """
    folder = directory.dataset_path
    address = str(folder) if is_remote(folder) else f"file://{folder.absolute().as_posix()}"
    return _NOT_IN_KEYS.sub("_", address)[:_LONGEST_KEY]
