"""Runs processors: on the drawn columns of a batch, on its finished rows, on the whole dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dd_core.dataset.plan import Plan
from dd_core.engine.outcome import BatchOutcome
from dd_core.errors import DataDesignerGenerationError, describe_error
from dd_core.kinds.processors.processor import ProcessorConfig, Tables, select_stage
from dd_core.storage.arrow import ArrowValues, Values, combine_chunks, make_field, to_array
from dd_core.storage.batch import BatchTables
from dd_core.storage.directory import ROWS_FOLDER, DatasetDirectory
from dd_core.storage.files.inventory import require_intact
from dd_core.storage.files.parquet import read_parquet, read_parquet_facts, write_parquet
from dd_core.storage.files.removed_rows import list_row_numbers
from dd_core.storage.location import Location, list_files, stamp_files
from dd_core.storage.unify import concatenate, unify_folder
from dd_core.storage.values import admit_value
from dd_core.templates.template import RenderingMode

if TYPE_CHECKING:
    import pyarrow as pa


def process_draws(
    processors: Sequence[ProcessorConfig], draws: Mapping[str, Values]
) -> dict[str, Values]:
    """Run processors on the sampled and seeded columns of a batch; returns the new values."""
    import pyarrow as pa

    arrays: list[Any] = [
        values.array if isinstance(values, ArrowValues) else to_array(values)
        for values in draws.values()
    ]
    table = pa.Table.from_arrays(arrays, names=[*draws])
    for processor in processors:
        changed = _call(processor, processor.before_batch, table)
        table = _require_same_shape(processor, table, changed)
    columns: dict[str, Any] = {name: table.column(name) for name in draws}
    return {name: ArrowValues(combine_chunks(column)) for name, column in columns.items()}


def build_tables(
    outcome: BatchOutcome, plan: Plan, rendering: RenderingMode, *, preserve_dropped: bool
) -> BatchTables:
    """Run the processors of a batch and build the tables that are stored."""
    has_rows = len(outcome.rows) > 0
    keeps_dropped = preserve_dropped and has_rows and plan.dropped_columns
    return BatchTables(
        batch=outcome.batch,
        is_complete=outcome.is_complete,
        rows=build_output_table(outcome, plan) if has_rows else _empty_table(plan),
        dropped_columns=outcome.table(plan.dropped_columns, plan.types) if keeps_dropped else None,
        side_tables=build_side_tables(outcome, plan, rendering) if has_rows else {},
        dropped_rows=outcome.dropped_rows,
        rejected=outcome.rejected,
    )


def _empty_table(plan: Plan) -> pa.Table:
    """A table without rows; a stopped batch may not have values for every column."""
    import pyarrow as pa

    return pa.table({name: pa.nulls(0) for name in plan.stored_columns})


def build_output_table(outcome: BatchOutcome, plan: Plan) -> pa.Table:
    """Build the table of a batch's finished rows with the `after_batch` processors."""
    table = outcome.table(plan.stored_columns, plan.types)
    for processor in select_stage(plan.config.processors, "after_batch"):
        changed = _call(processor, processor.after_batch, table)
        table = _require_same_shape(processor, table, changed)
    return table


def build_side_tables(
    outcome: BatchOutcome, plan: Plan, rendering: RenderingMode
) -> dict[str, pa.Table]:
    """Build the additional tables that processors make from the rows, by processor name."""
    tables: dict[str, pa.Table] = {}
    for processor in plan.config.processors or ():
        records = processor.transformed(outcome.records(processor.reads, processor.name), rendering)
        if records is not None:
            table = _call(processor, _tabulate, records)
            if table.num_columns:  # nobody can read a file without columns
                tables[processor.name] = table
    return tables


def _tabulate(given: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Build a table of records, whose members may differ."""
    import pyarrow as pa

    records = [*given]
    names = dict.fromkeys(name for record in records for name in record)
    arrays: list[Any] = []
    fields: list[Any] = []
    for name in names:
        values = [admit_value(record.get(name)) for record in records]
        arrays.append(to_array(values))
        fields.append(make_field(str(name), arrays[-1], values))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def process_in_memory(plan: Plan, table: pa.Table) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Run the `after_generation` processors on a dataset that is one table in memory.

    Returns the rows, and what each processor left and removed.
    """
    steps: list[dict[str, Any]] = []
    numbers = np.arange(table.num_rows)
    for processor in plan.list_late_processors(None):
        tables = _MemoryTables(plan.seed, numbers, table)
        changed = [*_call(processor, processor.after_generation, tables)]
        for each in changed:
            _require_storable(processor, each)
        table = concatenate(changed) if changed else table[:0]
        steps.append(_describe(processor, tables, table.num_rows))
        numbers = tables.removed.number_kept(table.num_rows)
    return _output(plan, table), steps


def unify_dataset(directory: DatasetDirectory, plan: Plan) -> None:
    """Give the parts, and every other table of the dataset, one schema each."""
    directory.unify_tables(plan.stored_columns)


def process_dataset(directory: DatasetDirectory, plan: Plan) -> None:
    """Rewrite the dataset from the generated rows, if processors change it as a whole.

    The generated rows stay. Each processor reads what the previous one wrote, one batch at a time.
    """
    requested = directory.metadata.target_num_records
    processors = plan.list_late_processors(requested)
    if not processors:
        return
    inventory = directory.inspect(directory.parts_folder)
    # A run that was stopped early may have left lost parts to the next one.
    require_intact(directory.path, [each for each in inventory.damage if not each.is_missing])
    parts = [part for part in inventory.parts if part.rows]
    found = stamp_files(list_files(directory.path / directory.parts_folder, "batch_*.parquet"))
    known, plan_hash = directory.metadata.processed, plan.hash_processing(requested)
    # Nothing to do if an earlier run has processed the same files in the same way.
    if not parts or (known.get("of") == found and known.get("by", plan_hash) == plan_hash):
        return
    steps: list[dict[str, Any]] = []
    types: dict[str, str] = {}
    here = directory.path if isinstance(directory.path, Path) else None
    with TemporaryDirectory(prefix=".processing-", dir=here) as folder:
        numbers, paths = list_row_numbers(parts), [part.path for part in parts]
        removed = Path(folder, "removed")
        removed.mkdir()
        for step, processor in enumerate(processors):
            last = step == len(processors) - 1
            tables = _StoredTables(plan.seed, numbers, paths)
            paths = [
                *_write_tables(processor, tables, Path(folder, str(step)), plan if last else None)
            ]
            types = unify_folder(Path(folder, str(step)))
            rows = sum(read_parquet_facts(path)[0] for path in paths)
            steps.append(_describe(processor, tables, rows))
            numbers = tables.removed.number_kept(rows)
            if (listed := tables.removed.to_table()) is not None:
                write_parquet(listed, removed / f"{processor.name}.parquet")
        directory.replace_files(Path(folder, str(len(processors) - 1)))
        directory.replace_removed(removed)
    directory.record_types({ROWS_FOLDER: types})
    files = directory.record_files({ROWS_FOLDER: directory.inspect(ROWS_FOLDER)})
    processed = {"of": found, "by": plan_hash, "steps": steps}
    directory.write_metadata(processed=processed, files=files)


def _describe(processor: ProcessorConfig, tables: Tables, rows: int) -> dict[str, Any]:
    """What a processor did, as JSON types."""
    removed = tables.removed.count()
    return {"name": processor.name, "rows": rows, **({"removed": removed} if removed else {})}


class _MemoryTables(Tables):
    """One table in memory."""

    def __init__(self, seed: int, numbers: NDArray[np.int64], table: pa.Table) -> None:
        super().__init__(seed, numbers)
        self._table = table

    def __iter__(self) -> Iterator[pa.Table]:
        yield self._table


class _StoredTables(Tables):
    """Tables in files, which are read again on each iteration."""

    def __init__(self, seed: int, numbers: NDArray[np.int64], paths: Sequence[Location]) -> None:
        super().__init__(seed, numbers)
        self._paths = paths

    def __iter__(self) -> Iterator[pa.Table]:
        for path in self._paths:
            yield read_parquet(path)


def _write_tables(
    processor: ProcessorConfig, tables: Tables, folder: Path, plan: Plan | None
) -> Iterator[Path]:
    """Process tables, write them to files and yield their paths.

    Empty tables are skipped unless all are empty.
    """
    folder.mkdir()
    empty = next(iter(tables))[:0]  # in case the processor returns no table at all
    count = 0
    iterator = iter(_call(processor, processor.after_generation, tables))
    while (table := _call(processor, next, iterator, None)) is not None:
        _require_storable(processor, table)
        # Processors may change which rows a table has, so it does not keep the part's metadata.
        table = (table if plan is None else _output(plan, table)).replace_schema_metadata(None)
        _require_storable(processor, table)
        if not table.num_rows:
            empty = table
            continue
        path = folder / f"batch_{count:05d}.parquet"
        write_parquet(table, path)
        count += 1
        yield path
    if not count:
        path = folder / "batch_00000.parquet"
        write_parquet(empty, path)
        yield path


def _output(plan: Plan, table: pa.Table) -> pa.Table:
    """Remove the columns that were stored only because processors read them."""
    spare = {*plan.stored_columns} - {*plan.output_columns}
    return table.select([name for name in table.column_names if name not in spare])


def _require_same_shape(processor: ProcessorConfig, before: pa.Table, after: pa.Table) -> pa.Table:
    _require_storable(processor, after)
    missing = {*before.column_names} - {*after.column_names}
    if after.num_rows != before.num_rows or missing:
        raise DataDesignerGenerationError(
            f"processor {processor.name!r} received {before.num_rows} rows with columns "
            f"{before.column_names} and returned {after.num_rows} rows with columns "
            f"{after.column_names}; before_batch and after_batch must keep all rows and columns; "
            "filter in after_generation"
        )
    return after


def _require_storable(processor: ProcessorConfig, table: Any) -> None:
    """Raise unless a processor returned a table that can be stored, with at least one column."""
    import pyarrow as pa

    problem = None
    if not isinstance(table, pa.Table):
        problem = f"{type(table).__name__}; return a pyarrow.Table"
    elif not table.num_columns:
        problem = "a table without columns; keep at least one"
    elif not _is_writable(table):
        fields: Any = table.schema
        numbers = [n for n in range(table.num_columns) if not _is_writable(table.select([n]))]
        found = ", ".join(f"{fields.field(n).name!r} ({fields.field(n).type})" for n in numbers)
        problem = f"types that cannot be stored, in columns {found}; cast them to other types"
    if problem is not None:
        raise DataDesignerGenerationError(f"processor {processor.name!r} returned {problem}")


def _is_writable(table: pa.Table) -> bool:
    """Whether a table has types that Parquet files can hold."""
    import pyarrow as pa

    try:
        write_parquet(table[:0], BytesIO())
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError):
        return False
    return True


def _call(processor: ProcessorConfig, stage: Any, *arguments: Any) -> Any:
    """Call a processor's stage; an error in it becomes one that names the processor."""
    try:
        return stage(*arguments)
    except Exception as error:
        raise DataDesignerGenerationError(
            f"processor {processor.name!r} failed: {describe_error(error)}. "
            "Generated rows are kept; fix the processor and resume"
        ) from error
