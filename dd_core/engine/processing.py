"""Runs the processors: on a batch's draws, on its finished rows, on the whole dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dd_core.dataset.plan import Plan
from dd_core.engine.outcome import BatchOutcome
from dd_core.errors import DataDesignerGenerationError
from dd_core.kinds.processors.processor import ProcessorConfig, select_stage
from dd_core.storage.arrow import Values, read_parquet, read_parquet_facts, to_array, write_parquet
from dd_core.storage.batch import BatchTables
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location, list_files, stamp_files
from dd_core.templates.template import RenderingMode

if TYPE_CHECKING:
    import pyarrow as pa


def process_draws(
    processors: Sequence[ProcessorConfig], draws: Mapping[str, Values]
) -> dict[str, Values]:
    """The sampled and seeded columns of a batch as the processors want them."""
    import pyarrow as pa

    arrays: list[Any] = [to_array(values) for values in draws.values()]
    table = pa.Table.from_arrays(arrays, names=[*draws])
    for processor in processors:
        table = _same_shape(processor, table, _guarded(processor, processor.before_batch, table))
    return {name: table.column(name).to_pylist() for name in draws}


def build_tables(
    outcome: BatchOutcome, plan: Plan, rendering: RenderingMode, *, preserve_dropped: bool
) -> BatchTables:
    """The tables of a batch as they are stored, after its processors."""
    has_rows = len(outcome.rows) > 0
    keeps_dropped = preserve_dropped and has_rows and plan.dropped_columns
    return BatchTables(
        batch=outcome.batch,
        is_complete=outcome.is_complete,
        rows=build_output_table(outcome, plan) if has_rows else _empty_table(plan),
        dropped_columns=outcome.table(plan.dropped_columns) if keeps_dropped else None,
        side_tables=build_side_tables(outcome, plan, rendering) if has_rows else {},
        dropped_rows=outcome.dropped_rows,
    )


def _empty_table(plan: Plan) -> pa.Table:
    """A table without rows; a stopped batch may not have values for every column."""
    import pyarrow as pa

    return pa.table({name: pa.nulls(0) for name in plan.stored_columns})


def build_output_table(outcome: BatchOutcome, plan: Plan) -> pa.Table:
    """The finished rows of a batch, after the `after_batch` processors."""
    table = outcome.table(plan.stored_columns)
    for processor in select_stage(plan.config.processors, "after_batch"):
        table = _same_shape(processor, table, _guarded(processor, processor.after_batch, table))
    return table


def build_side_tables(
    outcome: BatchOutcome, plan: Plan, rendering: RenderingMode
) -> dict[str, pa.Table]:
    """What processors make of the finished rows beside the dataset, by processor name."""
    import pyarrow as pa

    tables: dict[str, pa.Table] = {}
    for processor in plan.config.processors or ():
        records = processor.transformed(outcome.records(processor.reads), rendering)
        if records is not None:
            tables[processor.name] = pa.Table.from_pylist(records)
    return tables


def process_in_memory(plan: Plan, table: pa.Table) -> pa.Table:
    """A dataset that is one table in memory, as processors want it."""
    import pyarrow as pa

    for processor in select_stage(plan.config.processors, "after_generation"):
        changed = [*_guarded(processor, processor.after_generation, [table])]
        table = pa.concat_tables(changed, promote_options="permissive") if changed else table[:0]
    return _output(plan, table)


def process_dataset(directory: DatasetDirectory, plan: Plan) -> None:
    """Write the dataset anew from what was generated, if processors change it as a whole.

    What was generated stays. Each processor reads what the one before it wrote, a batch at a time.
    """
    processors = select_stage(plan.config.processors, "after_generation")
    if not processors:
        return
    generated = [part.path for part in directory.parts() if part.rows]
    found = stamp_files(list_files(directory.path / directory.parts_folder, "batch_*.parquet"))
    if not generated or directory.metadata.processed.get("of") == found:
        return
    steps: list[dict[str, Any]] = []
    here = directory.path if isinstance(directory.path, Path) else None
    with TemporaryDirectory(prefix=".processing-", dir=here) as folder:
        tables = _Tables(generated)
        for number, processor in enumerate(processors):
            changed = _guarded(processor, processor.after_generation, tables)
            last = number == len(processors) - 1
            tables = _Tables(
                _written(processor, changed, Path(folder, str(number)), plan if last else None)
            )
            steps.append({"name": processor.name, "rows": tables.rows()})
        directory.replace_files(Path(folder, str(len(processors) - 1)))
    directory.write_metadata(processed={"of": found, "steps": steps})


class _Tables:
    """Tables in files, read again each time they are gone through."""

    def __init__(self, paths: Iterable[Location]) -> None:
        self._paths = [*paths]

    def __iter__(self) -> Iterator[pa.Table]:
        for path in self._paths:
            yield read_parquet(path)

    def rows(self) -> int:
        return sum(read_parquet_facts(path)[0] for path in self._paths)


def _written(
    processor: ProcessorConfig, tables: Iterable[pa.Table], folder: Path, plan: Plan | None
) -> Iterator[Path]:
    """Files with the tables; an empty one is written only if there is no other."""
    folder.mkdir()
    empty = None
    count = 0
    iterator = iter(tables)
    while (table := _guarded(processor, next, iterator, None)) is not None:
        table = table if plan is None else _output(plan, table)
        if not table.num_rows:
            empty = table
            continue
        path = folder / f"batch_{count:05d}.parquet"
        write_parquet(table, path)
        count += 1
        yield path
    if not count and empty is not None:
        path = folder / "batch_00000.parquet"
        write_parquet(empty, path)
        yield path


def _output(plan: Plan, table: pa.Table) -> pa.Table:
    """Without columns that were stored only because processors read them."""
    spare = {*plan.stored_columns} - {*plan.output_columns}
    return table.select([name for name in table.column_names if name not in spare])


def _same_shape(processor: ProcessorConfig, before: pa.Table, after: pa.Table) -> pa.Table:
    missing = {*before.column_names} - {*after.column_names}
    if after.num_rows != before.num_rows or missing:
        raise DataDesignerGenerationError(
            f"processor {processor.name!r} was given {before.num_rows} rows and columns "
            f"{before.column_names} and gave {after.num_rows} rows and {after.column_names}; "
            "a stage of a batch must keep them all; filter in after_generation"
        )
    return after


def _guarded(processor: ProcessorConfig, stage: Any, *given: Any) -> Any:
    try:
        return stage(*given)
    except Exception as error:
        raise DataDesignerGenerationError(
            f"processor {processor.name!r} failed: {type(error).__name__}: {error}. "
            "What was generated is kept; correct the processor and resume"
        ) from error
