"""Pushes a few rows through all stages of a workflow, in memory."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dd_core.dataset.compile import compile_plan
from dd_core.dataset.run_config import RunConfig
from dd_core.dataset.workflow.plan import StagePlan, WorkflowPlan
from dd_core.dataset.workflow.steps import ADDRESS, Losses, replace_addresses
from dd_core.designer.in_memory import generate_preview
from dd_core.designer.results import PreviewResults
from dd_core.designer.workflow.edges import Edge
from dd_core.designer.workflow.feed import StageFeed
from dd_core.designer.workflow.inputs import RowsInMemory
from dd_core.designer.workflow.stage import derive_seed
from dd_core.engine.engine import Engine
from dd_core.errors import DataDesignerError, DataDesignerWorkflowError
from dd_core.models.providers import Providers
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
    for name, stage in plan.stages.items():
        sources = stage.stage.from_
        if any(source not in previews for source in sources):
            continue  # no rows arrive
        table: pa.Table | None = None
        if sources:
            feeds = [_PreviewFeed(previews[source].table) for source in sources]
            edge = Edge(stage, [plan.stages[source] for source in sources], feeds)
            tables = [table async for table in edge.read()]
            left_out[name] = edge.list_losses()
            if not tables:
                continue
            table = concatenate(tables).slice(0, rows)
        count = rows if table is None else table.num_rows
        try:
            previews[name] = await _preview_stage(
                stage, table, count, derive_seed(seed, name), providers, transport
            )
        except DataDesignerError as error:
            raise DataDesignerWorkflowError(f"stage {name!r} failed: {error}") from error
    return WorkflowPreview(previews, left_out)


async def _preview_stage(
    stage: StagePlan,
    table: pa.Table | None,
    rows: int,
    seed: int,
    providers: Providers,
    transport: httpx.AsyncBaseTransport | None,
) -> PreviewResults:
    settings = stage.run_config
    plan = compile_plan(
        stage.config,
        providers,
        seed,
        rendering=settings.jinja_rendering_engine.value,
        table=RowsInMemory(stage.inputs, table) if stage.inputs and table is not None else None,
    )
    async with Engine(plan, providers, settings, transport) as engine:
        return await generate_preview(engine, rows)
