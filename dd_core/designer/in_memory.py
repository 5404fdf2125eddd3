"""Generates a few rows in memory, for previews and estimates."""

from __future__ import annotations

import logging

from dd_core.designer.results import PreviewResults
from dd_core.designer.view.run_progress import RunProgress
from dd_core.engine.batches import finish_columns
from dd_core.engine.engine import Engine
from dd_core.engine.outcome import BatchOutcome
from dd_core.engine.processing import build_output_table, build_side_tables, process_in_memory
from dd_core.engine.run import require_ready, require_rows
from dd_core.quality.analysis import profile_judges
from dd_core.storage.batch import Batch

_logger = logging.getLogger(__name__)


async def generate_in_memory(engine: Engine, rows: int) -> BatchOutcome:
    """Generate rows as a single batch; raises if none is complete."""
    await require_ready(engine)
    run = engine.batch_run(Batch(0, 0, rows))
    run.start()
    progress = RunProgress(engine, rows)
    async with progress.shown():
        try:
            await finish_columns(run)
        finally:
            progress.count(run)
            await run.close()
    outcome = run.outcome()
    require_rows(engine, bool(outcome.rows or outcome.rejected), outcome.dropped_rows)
    if engine.plan.config.accept is not None:
        _logger.info("%d of %d rows are accepted", len(outcome.rows), rows)
    return outcome


async def generate_preview(engine: Engine, rows: int) -> PreviewResults:
    """Generate rows in memory, and run the processors on them."""
    plan = engine.plan
    outcome = await generate_in_memory(engine, rows)
    side = build_side_tables(outcome, plan, engine.run_config.jinja_rendering_engine.value)
    table, steps = process_in_memory(plan, build_output_table(outcome, plan))
    return PreviewResults(
        table=table,
        plan=plan,
        seed=plan.seed,
        usage=engine.usage().to_dict(),
        dropped=outcome.dropped_rows,
        processed=steps,
        processor_artifacts={name: each.to_pylist() for name, each in side.items()},
        num_requested=rows,
        num_generated=len(outcome.rows) + len(outcome.rejected),
        profiles=await profile_judges(plan, table, engine.models, engine.run_in_thread),
    )
