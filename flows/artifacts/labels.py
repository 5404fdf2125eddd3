"""The name and the tags by which a run is found in Prefect's UI."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TagsContext

from dd_core.dataset.config import DataDesignerConfig

from ..limits.tag_limits import make_tag, make_tool_tag
from ..session import DATASET_TAG, DatasetRun

RUN_NAME = "{dataset_name} ({num_records} rows)"
"""The name that Prefect gives a dataset run when it starts."""


@asynccontextmanager
async def label_run(dataset: str, rows: int, version: str | None) -> AsyncGenerator[set[str]]:
    """Label a dataset run with its dataset, its version, and the tags of its models and tools.

    The block loads the configuration and adds the tags. If it fails, the run can still be found by
    its dataset.
    """
    tags: set[str] = set()
    try:
        yield tags
    finally:
        await _label(dataset, rows, version, tags)


def list_tags(config: DataDesignerConfig) -> set[str]:
    """The tags of the models and the tools that columns use."""
    tools = [alias for column in config.columns for alias in column.get_tool_aliases()]
    return {*map(make_tag, config.get_model_aliases()), *map(make_tool_tag, tools)}


async def _label(dataset: str, rows: int, version: str | None, tags: set[str]) -> None:
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    flow_run = context.flow_run
    own = [DATASET_TAG, dataset, *sorted(tags)]
    has_own_name = flow_run.name != RUN_NAME.format(dataset_name=dataset, num_records=rows)
    labelled = RUN_NAME.format(dataset_name=f"{dataset} {version}", num_records=rows)
    name = None if has_own_name or version is None else labelled
    async with get_client() as client:
        existing = (await client.read_flow_run(flow_run.id)).tags
        await client.update_flow_run(
            flow_run.id, name=name, tags=[*dict.fromkeys([*existing, *own])]
        )


async def label_flow_run(*tags: str, name: str | None = None) -> None:
    """Add tags to the current flow run, which its tasks do not inherit, and name it."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    async with get_client() as client:
        existing = (await client.read_flow_run(context.flow_run.id)).tags
        merged = [*dict.fromkeys([*existing, *tags])]
        await client.update_flow_run(context.flow_run.id, name=name, tags=merged)


@contextmanager
def untag_tasks(session: DatasetRun) -> Generator[None]:
    """Run the tasks of a batch without its tags.

    Prefect asks the server for slots of every tag of a task before it runs the task.
    """
    with TagsContext(current_tags={*session.tags}):
        yield
