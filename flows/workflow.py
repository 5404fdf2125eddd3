"""The flow `generate-workflow`: a workflow in Prefect, with one subflow per stage."""

from contextvars import ContextVar
from typing import Any, cast

from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import BaseModel, Field

# Imported from the facade, which declares every kind before the parameter schema is created.
from dd_core.config import (
    LocalStdioMCPProvider,
    MCPProvider,
    ModelProvider,
    RunConfig,
    WorkflowConfig,
    load_workflow,
)
from dd_core.dataset.workflow.plan import compile_workflow
from dd_core.designer.dataset_run import complete_run
from dd_core.designer.results import DatasetCreationResults
from dd_core.designer.workflow.manifest import StageRecord, WorkflowManifest
from dd_core.designer.workflow.run import WorkflowRun, require_complete
from dd_core.designer.workflow.stage import StageRun
from dd_core.errors import DataDesignerGenerationError
from dd_core.models.usage import sum_costs
from dd_core.quality.acceptance import require_passed
from dd_core.redaction.registry import mask_raised
from dd_core.storage.batch import Batch
from dd_core.storage.directory import VERSIONS

from .artifacts.labels import label_flow_run, list_tags
from .artifacts.workflow import publish_stages
from .blocks.providers import GivenServers, load_providers
from .blocks.storage import resolve_location
from .blocks.types import BlockReference
from .process.keyless_flow import keyless_flow
from .process.packaged_flow import RESULTS, packaged_flow
from .process.timeouts import cancel_once
from .session import DATASET_TAG, DatasetRun, get_run_id, open_run
from .steps import FlowSteps, announce_start
from .versions import resolve_version

_current: ContextVar["FlowWorkflowRun"] = ContextVar("workflow_run")


class StageSummary(BaseModel):
    """The result of a stage."""

    status: str
    path: str
    """Folder of the stage's dataset."""
    rows: int
    """Rows of the dataset."""
    arrived: dict[str, int] = Field(default_factory=dict)
    """Rows that arrived, by stage."""
    left_out: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Rows that steps left out, by step and reason."""
    dollars: float | None = None
    """Cost of the dataset, of all runs; None if the price of a model is unknown."""


class WorkflowSummary(BaseModel):
    """The result of a workflow."""

    path: str
    """Folder of the workflow or of its version."""
    stages: dict[str, StageSummary]


@keyless_flow(
    name="generate-workflow",
    persist_result=True,
    result_serializer=RESULTS,
)
async def generate_workflow(
    workflow: WorkflowConfig | str,
    artifact_path: str = "artifacts",
    run_config: RunConfig | None = None,
    model_providers: list[ModelProvider | BlockReference] | None = None,
    mcp_providers: list[MCPProvider | LocalStdioMCPProvider | BlockReference] | None = None,
    version: str | None = None,
    retry_failed: bool = False,
) -> WorkflowSummary:
    """Generate the datasets of all stages of a workflow.

    What earlier runs have generated is kept as far as nothing that it depends on has changed.

    Args:
        workflow: The workflow, or the path of a YAML or JSON file that contains it.
        artifact_path: Folder or storage URL that the workflow is written to, or `block:<name>` for
            a storage block. See docs/storage.md.
        run_config: Settings of the runs of all stages that have no settings of their own. The
            budget is that of all these stages together.
        model_providers: Model servers; default: the configured or built-in providers. For API keys,
            enter the name of an environment variable, not the key itself. `block:<name>` uses a
            provider block.
        mcp_providers: Tool servers; default: those in `mcp_providers.yaml` on the machine that
            generates the rows. Enter keys as in `model_providers`. `block:<name>` uses a block
            of the type Data Designer Tool Server.
        version: Version of the workflow to generate or continue, for example "2026-11-24". Each
            version has its own folder. "scheduled" stands for the date of the scheduled start,
            and "scheduled:%Y-%m-%dT%H" for its date and hour.
        retry_failed: Retry the rows that failed in an earlier run.
    """

    async def generate() -> Any:
        settings = run_config or RunConfig()
        servers = GivenServers(model_providers=model_providers, mcp_providers=mcp_providers)
        providers = await load_providers(servers)
        storage = await resolve_location(artifact_path)
        version_name = await resolve_version(version)
        config = load_workflow(workflow).resolve_paths()
        plan = compile_workflow(config, providers, settings)
        for warning in plan.warnings:
            get_run_logger().warning("%s", warning)
        folder = storage.location / config.workflow
        if version_name is not None:
            folder = folder / VERSIONS / version_name
        run = FlowWorkflowRun(
            plan,
            providers,
            settings,
            folder,
            version=version_name,
            retry_failed=retry_failed,
            flow_run=str(get_run_id()),
        )
        _current.set(run)
        shown = f"{config.workflow} {version_name}" if version_name else config.workflow
        await label_flow_run(DATASET_TAG, config.workflow, name=shown)
        async with publish_stages(run.manifest.workflow, lambda: run.manifest):
            await run.run()
        return _report(run.manifest, str(folder))

    with mask_raised():  # Prefect reads the annotations of the function, so it has no decorator
        return await cancel_once(generate())


@packaged_flow(
    name="generate-stage",
    flow_run_name="{workflow}: {stage}",
    persist_result=True,
    result_serializer=RESULTS,
)
async def generate_stage(workflow: str, stage: str) -> StageSummary:
    """Generate the dataset of one stage of a workflow.

    `generate_workflow` calls this flow as a subflow. You do not have to start it yourself.

    Args:
        workflow: Name of the workflow.
        stage: Name of the stage.
    """
    run = _current.get(None)
    if run is None:
        raise DataDesignerGenerationError(
            "generate_stage runs inside generate_workflow; start generate_workflow instead"
        )
    with mask_raised():
        return await cancel_once(run.generate_in_subflow(run.stages[stage]))


class FlowWorkflowRun(WorkflowRun):
    """A run of a workflow whose stages are subflows."""

    def __init__(self, *given: Any, flow_run: str, **options: Any) -> None:
        super().__init__(*given, **options)
        self._flow_run = flow_run

    async def generate_stage(self, stage: StageRun) -> DatasetCreationResults:
        name = self.manifest.workflow
        call = cast("Any", generate_stage)  # its types do not fit an awaited state
        state: State[Any] = await call(name, stage.name, return_state=True)
        if not state.is_completed():
            await state.aresult()  # raises
        if stage.name not in self.results:  # an earlier attempt of this flow run generated it
            stage.reopen()
            return stage.open_results()
        return self.results[stage.name]

    async def generate_in_subflow(self, stage: StageRun) -> StageSummary:
        """Generate the rows of a stage in the subflow that calls this."""
        name = self.manifest.workflow
        label = f"{name}-{stage.name}"
        await label_flow_run(DATASET_TAG, name, *list_tags(stage.plan.config))
        batches = stage.find_batches()
        known = cast("list[Batch]", batches) if stage.edge is None else []
        async with (
            self.open_stage(stage, flow_run=self._flow_run) as plan,
            open_run(
                plan,
                self.providers,
                stage.settings,
                stage.directory,
                known,
                self.share_limits(stage),
            ) as session,
        ):
            steps = StageFlowSteps(session, stage, label)
            announce_start(session, len(known))
            result = await complete_run(steps, batches)
            require_complete(session.engine)
            require_passed(stage.directory, result.gates)
            usage = session.engine.usage().to_dict()
            self.results[stage.name] = DatasetCreationResults(
                stage.directory, plan, steps.requested, usage, tuple(session.dropped)
            )
        record = StageRecord(
            status="completed",
            rows=stage.directory.metadata.actual_num_records or 0,
            dollars=stage.directory.metadata.dollars,
        )
        return _summarize_stage(record, str(stage.directory.path))


class StageFlowSteps(FlowSteps):
    """The steps of a stage: its batches come from the stages before."""

    def __init__(self, session: DatasetRun, stage: StageRun, label: str) -> None:
        super().__init__(
            session,
            stage.requested,
            label,
            batches_on=None,
            needs_approval=False,
            retry_failed=False,
        )
        self._stage = stage

    def written(self, batch: Batch) -> None:
        part = self._session.parts.get(batch.index)
        has_rows = part is not None and part.rows > 0
        self._stage.feed.add_batch(batch, part.path if part is not None and has_rows else None)

    async def generate(self, batches: Any) -> None:
        await super().generate(batches)
        self.requested = self._stage.settle_size()


def _report(manifest: WorkflowManifest, folder: str) -> Any:
    """The summary, or a state that says which stages wait for a review."""
    summary = summarize(manifest, folder)
    waiting = [name for name, record in manifest.stages.items() if record.status == "waiting"]
    if not waiting:
        return summary
    message = f"Review the rows that {waiting[0]!r} uses, then run the workflow again"
    get_run_logger().warning("%s", message)
    state: State[WorkflowSummary] = Completed(
        name="Waiting for review", message=message, data=summary
    )
    return state


def summarize(manifest: WorkflowManifest, folder: str) -> WorkflowSummary:
    """The result of a workflow."""
    return WorkflowSummary(
        path=folder,
        stages={
            name: _summarize_stage(record, f"{folder}/{name}/{record.folder}")
            for name, record in manifest.stages.items()
        },
    )


def _summarize_stage(record: StageRecord, path: str) -> StageSummary:
    return StageSummary(
        status=record.status,
        path=path,
        rows=record.rows,
        arrived=record.arrived,
        left_out=record.left_out,
        dollars=sum_costs(record.dollars.values()),
    )
