"""What the values of a stage depend on, as hashes of content: paths and versions do not count."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_core.dataset.compile import reseed
from dd_core.dataset.plan import Plan, digest
from dd_core.designer.workflow.composite.stage import CompositeStage
from dd_core.kinds.seeds.seed import SamplingStrategy, SeedRows, SeedTable
from dd_core.storage.arrow import ArrowValues, Values, to_array
from dd_core.storage.batch import Batch


class _AnyRows(SeedTable):
    """The columns of a table, whatever its rows are."""

    def __init__(self, table: SeedTable) -> None:
        self._table = table
        self.columns = table.columns
        self.num_rows = table.num_rows

    def take(self, column: str, rows: NDArray[np.int64]) -> Values:
        """The values of the table."""
        return self._table.take(column, rows)

    def column_type(self, column: str) -> Any:
        """Type of the column in the table."""
        return self._table.column_type(column)

    def content_hash(self) -> str:
        """The same for all rows."""
        return "any rows"


def hash_stage(stage: CompositeStage, plan: Plan) -> str:
    """Hash everything that the values depend on, except for the rows that the stage uses."""
    if plan.seed_table is not None:
        plan = reseed(replace(plan, seed_table=_AnyRows(plan.seed_table)), 0)
    accept = plan.config.accept
    return digest(
        [
            plan.fingerprint,
            [each.identity() for each in plan.config.processors or ()],
            None if accept is None else accept.model_dump(mode="json"),
        ]
    )


def hash_output(stage: CompositeStage) -> str | None:
    """Hash what chooses the output; None if a callback without a version does."""
    if stage.on_success is not None and stage.on_success_version is None:
        return None
    processors = [each.identity() for each in stage.output_processors]
    return digest([processors, stage.output, stage.on_success_version])


def hash_inputs(plan: Plan, count: int) -> str:
    """Hash the seed rows that the first `count` rows use, in this order.

    If it stays the same while the seed dataset changes, for example because it grew, the rows stay
    what they are.
    """
    config, table = plan.config.seed_config, plan.seed_table
    if config is None or table is None:
        return ""
    seed_rows = SeedRows(config, table, 0)
    selected = seed_rows.selected
    needs_all = (
        config.sampling_strategy is SamplingStrategy.SHUFFLE
        or plan.config.accept is not None
        or any(column.reads_all_seed_rows for column in plan.config.columns)
    )
    if needs_all or count > len(selected):
        rows = np.arange(selected.start, selected.stop, dtype=np.int64)
        return digest([_hash_values(table, rows), len(selected)])
    return digest([_hash_values(table, seed_rows.indexes(Batch(0, 0, count)))])


def count_selected(plan: Plan) -> int | None:
    """The number of seed rows that a plan uses; None if it has no seed dataset."""
    config, table = plan.config.seed_config, plan.seed_table
    if config is None or table is None:
        return None
    return len(SeedRows(config, table, 0).selected)


def _hash_values(table: SeedTable, rows: NDArray[np.int64]) -> str:
    """Hash the values of rows, whichever files and row groups they come from."""
    import pyarrow as pa

    found = hashlib.blake2b(digest_size=16)
    for name in table.columns:
        values = table.take(name, rows)
        array: Any = values.array if isinstance(values, ArrowValues) else to_array([*values])
        sink = pa.BufferOutputStream()
        column = pa.table({name: array})
        with pa.ipc.new_stream(sink, column.schema) as stream:
            stream.write_table(column)
        found.update(sink.getvalue())
    return found.hexdigest()
