"""Stores tables as Prefect results: plain Parquet files under readable keys (`keys.py`).

A key does not contain the run. A later run, a retry or another worker therefore finds the values
that were generated before, and Prefect shows the task of the column as Cached.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultStore, aget_default_result_storage, get_result_store
from prefect.serializers import Serializer
from pydantic import Field, PrivateAttr

from dd_core.errors import ArtifactStorageError
from dd_core.storage.files.parquet import read_parquet, write_parquet


class ParquetSerializer(Serializer):
    """Serializes Arrow tables as Parquet. Registered with Prefect under the name `parquet`."""

    type: str = Field(default="parquet", frozen=True)

    def dumps(self, obj: Any) -> bytes:
        """Convert a table to the content of a Parquet file."""
        if not isinstance(obj, pa.Table):
            raise TypeError(
                f"the parquet serializer expects an Arrow table, not a {type(obj).__name__}"
            )
        sink = io.BytesIO()
        write_parquet(obj, sink)
        return sink.getvalue()

    def loads(self, blob: bytes) -> pa.Table:
        """Read a table from the content of a Parquet file."""
        return read_parquet(io.BytesIO(blob))


class ResultMetadataStorage(WritableFileSystem):
    """Stores Prefect's metadata for a result next to it, with `.json` appended to the key."""

    _block_type_name = "Records beside results"
    _storage: WritableFileSystem = PrivateAttr()

    @classmethod
    def of(cls, storage: WritableFileSystem) -> ResultMetadataStorage:
        """The metadata storage for the results in `storage`."""
        metadata_storage = cls()
        metadata_storage._storage = storage
        return metadata_storage

    async def read_path(self, path: str) -> bytes:
        """Read the metadata of a result."""
        return await read_file(self._storage, f"{path}.json")

    async def write_path(self, path: str, content: bytes) -> None:
        """Write the metadata of a result."""
        written: Any = self._storage.write_path(f"{path}.json", content)
        if hasattr(written, "__await__"):
            await written


@dataclass
class ExplicitKey(CachePolicy):
    """Uses the task's parameter `key` as the cache key."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """The value of the task's parameter `key`."""
        return inputs.get("key")


async def read_file(storage: WritableFileSystem, path: str) -> bytes:
    """Read a file of a storage block, whether its methods are asynchronous or not."""
    content: Any = storage.read_path(path)
    return await content if hasattr(content, "__await__") else content


async def get_result_storage() -> WritableFileSystem:
    """The result storage of the current flow run."""
    store: ResultStore = get_result_store()
    return store.result_storage or await aget_default_result_storage()


async def require_results(storage: WritableFileSystem, keys: Iterable[str]) -> None:
    """Raise if a result was not written. Prefect only logs when it cannot write a result."""
    for key in keys:
        try:
            await read_file(storage, f"{key}.json")
        except Exception as error:
            raise ArtifactStorageError(
                f"the result {key!r} was not written to Prefect's result storage "
                f"({type(error).__name__}: {error}); check the storage's space and permissions"
            ) from error
