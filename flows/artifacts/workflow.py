"""Shows the stages of a workflow in Prefect's UI, in one artifact that is kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from dd_core.designer.workflow.manifest import (
    StageRecord,
    WorkflowManifest,
    describe_losses,
)
from dd_core.models.usage import sum_costs

from .markdown import make_artifact_key

_REFRESH_SECONDS = 5.0


@asynccontextmanager
async def publish_stages(
    workflow: str, read: Callable[[], WorkflowManifest]
) -> AsyncGenerator[None]:
    """Keep a table of the stages up to date while a workflow runs; `read` returns its manifest."""
    shown: list[dict[str, Any]] = []
    artifact = await acreate_table_artifact(
        table=shown,
        key=make_artifact_key(workflow, "stages"),
        description=f"Stages of {workflow}",
    )

    async def update() -> None:
        nonlocal shown
        rows = [*list_stages(read().stages)]
        if rows != shown:
            async with get_client() as client:
                await client.update_artifact(
                    artifact, ArtifactUpdate(data=orjson.dumps(rows).decode())
                )
            shown = rows

    async def keep_updated() -> None:
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            with suppress(Exception):  # the run does not depend on its artifacts
                await update()

    updating = asyncio.create_task(keep_updated())
    try:
        yield
    finally:
        updating.cancel()
        await asyncio.gather(updating, return_exceptions=True)
        with suppress(Exception):
            await update()


def list_stages(stages: Mapping[str, StageRecord]) -> Iterator[dict[str, Any]]:
    """Yield what is known about each stage, as cells of a table."""
    for name, record in stages.items():
        dollars = sum_costs(record.dollars.values())
        yield {
            "stage": name,
            "status": record.status,
            "rows arrived": ", ".join(f"{source}: {n:,}" for source, n in record.arrived.items()),
            "rows left out": describe_losses(record.left_out),
            "rows": record.rows,
            "dollars": "unknown" if dollars is None else round(dollars, 4),
        }
