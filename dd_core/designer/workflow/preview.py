"""Pushes a few rows through all stages of a workflow, in memory."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dd_core.dataset.compile import compile_plan
from dd_core.dataset.run_config import RunConfig
from dd_core.dataset.workflow.plan import DEFAULT_ROWS, StagePlan, WorkflowPlan
from dd_core.dataset.workflow.steps import ADDRESS, Losses, replace_addresses
from dd_core.designer.estimate import Estimate, scale_usage
from dd_core.designer.in_memory import generate_preview
from dd_core.designer.results import PreviewResults
from dd_core.designer.workflow.edges import Edge
from dd_core.designer.workflow.feed import StageFeed
from dd_core.designer.workflow.inputs import RowsInMemory
from dd_core.designer.workflow.stage import derive_seed
from dd_core.engine.engine import Engine
from dd_core.errors import DataDesignerError, DataDesignerWorkflowError
from dd_core.models.providers import Providers
from dd_core.models.usage import sum_costs
from dd_core.storage.unify import concatenate

if TYPE_CHECKING:
    import httpx
    import pyarrow as pa


@dataclass(frozen=True)
class WorkflowPreview:
    """The previews of all stages that rows arrived in."""

    stages: Mapping[str, PreviewResults]
    left_out: Mapping[str, Mapping[str, Mapping[str, int]]]
    """Rows that steps left out, by stage, step and reason."""
    estimates: Mapping[str, Estimate]
    """What the stages will cost with all of their rows, extrapolated from these few."""

    @property
    def dollars(self) -> float | None:
        """Cost of all stages in dollars; None if a price is unknown."""
        return sum_costs(each.dollars for each in self.estimates.values())


class _PreviewFeed(StageFeed):
    """The rows of a stage's preview."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    async def read(self, losses: Losses, *, wait: bool) -> AsyncIterator[pa.Table]:
        addresses = [str(address) for address in self._table.column(ADDRESS).to_pylist()]
        yield replace_addresses(self._table, addresses)


async def preview_workflow(
    plan: WorkflowPlan,
    providers: Providers,
    settings: RunConfig,
    rows: int,
    transport: httpx.AsyncBaseTransport | None,
) -> WorkflowPreview:
    """Generate `rows` rows of each first stage, and up to as many of each other one."""
    seed = secrets.randbits(32) if settings.seed is None else settings.seed
    previews: dict[str, PreviewResults] = {}
    left_out: dict[str, Any] = {}
    estimates: dict[str, Estimate] = {}
    expected: dict[str, float] = {}
    """Rows of each stage, if as many fail, are left out and are multiplied as in the preview."""
    for name, stage in plan.stages.items():
        sources = stage.stage.from_
        if any(source not in previews for source in sources):
            continue  # no rows arrive
        table: pa.Table | None = None
        count, arrived = rows, float(stage.stage.num_records or DEFAULT_ROWS)
        if sources:
            feeds = [_PreviewFeed(previews[source].table) for source in sources]
            edge = Edge(stage, [plan.stages[source] for source in sources], feeds)
            tables = [table async for table in edge.read()]
            left_out[name] = edge.list_losses()
            if not tables:
                continue
            made = sum(each.num_rows for each in tables)
            arrived = expected[sources[0]] * made / max(1, previews[sources[0]].table.num_rows)
            table = concatenate(tables).slice(0, rows)
            count = table.num_rows
        try:
            preview, estimate = await _preview_stage(
                stage, table, count, arrived, derive_seed(seed, name), providers, transport
            )
        except DataDesignerError as error:
            raise DataDesignerWorkflowError(f"stage {name!r} failed: {error}") from error
        previews[name], estimates[name] = preview, estimate
        expected[name] = arrived * preview.table.num_rows / count
    return WorkflowPreview(previews, left_out, estimates)


async def _preview_stage(
    stage: StagePlan,
    table: pa.Table | None,
    rows: int,
    expected: float,
    seed: int,
    providers: Providers,
    transport: httpx.AsyncBaseTransport | None,
) -> tuple[PreviewResults, Estimate]:
    settings = stage.run_config
    plan = compile_plan(
        stage.config,
        providers,
        seed,
        rendering=settings.jinja_rendering_engine.value,
        table=RowsInMemory(stage.inputs, table) if stage.inputs and table is not None else None,
    )
    async with Engine(plan, providers, settings, transport) as engine:
        preview = await generate_preview(engine, rows)
        return preview, scale_usage(engine, rows, round(expected), expected / rows)
