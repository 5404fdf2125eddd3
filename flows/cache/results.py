"""Column values as Prefect results: plain Parquet files under readable keys (`keys.py`).

A key does not name the run, so that a later run, a retry and another worker all find what was
generated; Prefect then shows the column's task as Cached.
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
from dd_core.storage.arrow import read_parquet, write_parquet


class ParquetSerializer(Serializer):
    """Arrow tables as Parquet. Registered with Prefect under the name `parquet`."""

    type: str = Field(default="parquet", frozen=True)

    def dumps(self, obj: Any) -> bytes:
        """The Parquet file of a table."""
        if not isinstance(obj, pa.Table):
            raise TypeError(f"the parquet serializer takes Arrow tables, not {type(obj).__name__}")
        sink = io.BytesIO()
        write_parquet(obj, sink)
        return sink.getvalue()

    def loads(self, blob: bytes) -> pa.Table:
        """The table of a Parquet file."""
        return read_parquet(io.BytesIO(blob))


class BesideResults(WritableFileSystem):
    """Prefect's record of a result, stored next to the result itself with `.json` appended."""

    _block_type_name = "Records beside results"
    _storage: WritableFileSystem = PrivateAttr()

    @classmethod
    def of(cls, storage: WritableFileSystem) -> BesideResults:
        """Records beside the results of a storage."""
        beside = cls()
        beside._storage = storage
        return beside

    async def read_path(self, path: str) -> bytes:
        """A record's bytes."""
        return await read_file(self._storage, f"{path}.json")

    async def write_path(self, path: str, content: bytes) -> None:
        """Write a record."""
        written: Any = self._storage.write_path(f"{path}.json", content)
        if hasattr(written, "__await__"):
            await written


@dataclass
class GivenKey(CachePolicy):
    """The cache key is what the caller passes as `key`."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """The `key` parameter of the task."""
        return inputs.get("key")


async def read_file(storage: WritableFileSystem, path: str) -> bytes:
    """A file of a storage block, whether its methods are asynchronous or not."""
    content: Any = storage.read_path(path)
    return await content if hasattr(content, "__await__") else content


async def get_result_storage() -> WritableFileSystem:
    """Where the current flow run keeps its results."""
    store: ResultStore = get_result_store()
    return store.result_storage or await aget_default_result_storage()


async def require_results(storage: WritableFileSystem, keys: Iterable[str]) -> None:
    """Prefect only logs it when it cannot write a result: see that each record is there."""
    for key in keys:
        try:
            await read_file(storage, f"{key}.json")
        except Exception as error:
            raise ArtifactStorageError(
                f"the result {key!r} was not written to Prefect's result storage "
                f"({type(error).__name__}: {error}); check the storage's space and permissions"
            ) from error
