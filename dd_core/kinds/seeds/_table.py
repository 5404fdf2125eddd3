"""Seed tables that are Arrow tables in memory."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false
# (pyarrow has no type annotations)

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dd_core.kinds.seeds.seed import SeedTable

if TYPE_CHECKING:
    import pyarrow as pa


class ArrowSeedTable(SeedTable):
    """An Arrow table, with the hash of its files if it was read from files."""

    def __init__(self, table: pa.Table, content_hash: str | None = None) -> None:
        self.columns = [*table.column_names]
        self.num_rows = table.num_rows
        self._table = table
        self._content_hash = content_hash

    def take(self, column: str, rows: NDArray[np.int64]) -> list[Any]:
        """Python values; dates and times are those of the `datetime` module."""
        import pyarrow as pa

        indices: Any = pa.array(rows)
        taken = self._table.column(column).take(indices)
        values = taken.to_pylist()
        if pa.types.is_floating(taken.type):
            return [None if value != value else value for value in values]
        return values

    def content_hash(self) -> str:
        """Hash of the files that the table was read from; default: hash of its columns."""
        return self._content_hash or _table_hash(self._table)


def _table_hash(table: pa.Table) -> str:
    import pyarrow as pa

    digest = hashlib.blake2b(digest_size=16)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as stream:
        for batch in table.replace_schema_metadata(None).combine_chunks().to_batches():
            stream.write_batch(batch)
    digest.update(sink.getvalue())
    return digest.hexdigest()
