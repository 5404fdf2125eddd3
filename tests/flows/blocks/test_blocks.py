"""Providers and storages that are kept in Prefect's blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.blocks.fields import SecretDict
from pydantic import SecretStr

import dd_core.config as dd
from dd_core.errors import (
    ArtifactStorageError,
    DataDesignerGenerationError,
    SecretResolutionError,
)
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import parse_location, remove_tree
from flows import DataDesignerProvider, DatasetStorage, generate_dataset
from flows.blocks.storage import resolve_location
from tests.conftest import ServerFactory
from tests.datasets import model, topics

pytestmark = pytest.mark.slow


async def test_a_run_takes_its_provider_and_its_storage_from_blocks(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    url = f"memory://{tmp_path.name}"
    key, headers = SecretStr("sk-from-block"), SecretDict({"x-team": "red"})
    provider = DataDesignerProvider(endpoint=server.url, api_key=key, extra_headers=headers)
    await provider.save("ours-in-block", overwrite=True)  # type: ignore[misc]
    await DatasetStorage(url=url).save("in-memory", overwrite=True)  # type: ignore[misc]
    builder = topics(model(server.url, provider="ours-in-block", base_url=None))
    builder.add_column(
        name="text", column_type="llm-text", model_alias="m", prompt="On {{ topic }}"
    )
    summary = await generate_dataset(
        builder.build(),
        num_records=4,
        artifact_path="block:in-memory",
        model_providers=["block:ours-in-block"],
        run_config=dd.RunConfig(seed=5),
    )
    assert summary.path == f"{url}/dataset"
    assert DatasetDirectory.place(url, "dataset").count_rows() == 4
    remove_tree(parse_location(url))


async def test_references_lead_nowhere_else(tmp_path: Path) -> None:
    await DatasetStorage(url=str(tmp_path)).save("on-disk", overwrite=True)  # type: ignore[misc]
    place = await resolve_location("block:on-disk")
    address = place.address_of(place.location / "rows")
    assert address == "block:on-disk//rows"
    assert (await resolve_location(address)).location == tmp_path / "rows"
    deeper = await resolve_location("block:on-disk//a")
    assert deeper.address_of(tmp_path / "a" / "b") == "block:on-disk//a/b"
    for wrong in ("block:on-disk//../x", "block:no-such", "block:"):
        with pytest.raises(ArtifactStorageError):
            await resolve_location(wrong)
    with pytest.raises(DataDesignerGenerationError, match="must be block:<name>"):
        await generate_dataset(topics().build(), model_providers=["sk-key"])
    with pytest.raises(SecretResolutionError, match="cannot be loaded"):
        await generate_dataset(topics().build(), model_providers=["block:no-such"])


async def test_file_system_blocks_of_prefect_are_storages_too(tmp_path: Path) -> None:
    from prefect.filesystems import LocalFileSystem, RemoteFileSystem

    remote = f"memory://{tmp_path.name}-remote"
    await LocalFileSystem(basepath=str(tmp_path)).save("disk-of-ours", overwrite=True)  # type: ignore[misc]
    await RemoteFileSystem(basepath=remote).save("shared-by-us", overwrite=True)  # type: ignore[misc]
    for named, place in [
        ("local-file-system/disk-of-ours", str(tmp_path)),
        ("remote-file-system/shared-by-us", remote),
    ]:
        summary = await generate_dataset(
            topics().build(), num_records=3, artifact_path=f"block:{named}"
        )
        assert summary.path == f"{place}/dataset"
        assert DatasetDirectory.place(place, "dataset").count_rows() == 3
    remove_tree(parse_location(remote))
