"""Runs a workflow: all stages at the same time, each on the rows that have arrived so far."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dd_core.dataset.plan import Plan
from dd_core.dataset.run_config import RunConfig
from dd_core.dataset.workflow.plan import WorkflowPlan
from dd_core.designer.dataset_run import complete_run
from dd_core.designer.results import DatasetCreationResults
from dd_core.designer.workflow.manifest import (
    StageRecord,
    StageStatus,
    WorkflowManifest,
    describe_losses,
    read_manifest,
)
from dd_core.designer.workflow.results import WorkflowResults
from dd_core.designer.workflow.review import ReviewPendingError
from dd_core.designer.workflow.stage import StageRun, StageSteps
from dd_core.engine.engine import Engine, SharedLimits
from dd_core.engine.run import open_dataset
from dd_core.errors import (
    DataDesignerError,
    DataDesignerGenerationError,
    DataDesignerWorkflowError,
)
from dd_core.models.providers import Providers
from dd_core.models.wire.telemetry import serve_metrics
from dd_core.quality.acceptance import require_passed
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.access.ownership import DatasetOwnership
from dd_core.storage.location import Location
from dd_core.storage.resume import ResumeMode

if TYPE_CHECKING:
    import httpx

_logger = logging.getLogger(__name__)


class WorkflowRun:
    """A run of a workflow in its folder."""

    def __init__(
        self,
        plan: WorkflowPlan,
        providers: Providers,
        settings: RunConfig,
        folder: Location,
        *,
        version: str | None = None,
        retry_failed: bool = False,
        managed_assets: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.providers = providers
        self._settings = settings
        self._retry_failed = retry_failed
        self._managed_assets = managed_assets
        self._transport = transport
        self._shared = SharedLimits(settings.budget)
        self.stages: dict[str, StageRun] = {}
        self.results: dict[str, DatasetCreationResults] = {}
        self.manifest = WorkflowManifest(workflow=plan.config.workflow, version=version)

    async def run(self) -> WorkflowResults:
        """Run all stages. Raises `DataDesignerWorkflowError`, which names the stage that failed."""
        ownership = DatasetOwnership(self.folder, None)
        await ownership.acquire(self._settings.wait_for_owner)
        try:
            with report_storage_errors(self.folder):
                await self._prepare()
            with serve_metrics(self._settings.otel_metrics_port):
                await self._run_stages()
            waits = any(each.status == "waiting" for each in self.manifest.stages.values())
            self._end("waiting" if waits else "completed")
        except BaseException:
            self._end("failed")
            raise
        finally:
            ownership.release()
        return WorkflowResults(self.plan, self.manifest, self.results, self.folder)

    async def _prepare(self) -> None:
        """Find the dataset of each stage, and what is left to do."""
        if (known := read_manifest(self.folder)) is not None:
            known.version = self.manifest.version
            self.manifest = known
        given = self._settings.seed
        if given is None:
            given = self.manifest.seed if known is not None else secrets.randbits(32)
        self.manifest.seed = given
        self.manifest.config = self.plan.config.to_dict()
        self.manifest.library_version = version_of("prefect-data-designer")
        self.manifest.started_at = _now()
        self.manifest.ended_at, self.manifest.status = None, "running"
        records = self.manifest.stages
        self.manifest.stages = {name: records.get(name, StageRecord()) for name in self.plan.stages}
        for name, plan in self.plan.stages.items():
            sources = [self.stages[source] for source in plan.stage.from_]
            record = self.manifest.stages[name]
            stage = StageRun(plan, sources, self.folder / name, record, given)
            await stage.prepare(retry_failed=self._retry_failed)
            record.status = "pending"
            self.stages[name] = stage
        self.manifest.write(self.folder)

    async def _run_stages(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for stage in self.stages.values():
                    group.create_task(self._run_stage(stage))
        except BaseExceptionGroup as failures:  # the first failure has cancelled the others
            first = failures.exceptions[0]
            raise first from first.__cause__

    async def _run_stage(self, stage: StageRun) -> None:
        name, record = stage.name, stage.record
        if stage.is_unchanged:
            self._conclude(stage, "unchanged")
            self.results[name] = stage.open_results()
            return
        record.status = "running"
        try:
            self.results[name] = await self.generate_stage(stage)
            stage.feed.finish()
            rows = stage.directory.count_rows()
            if not rows and not stage.plan.stage.allow_empty:
                raise DataDesignerGenerationError(_explain_empty(stage))
            self._conclude(stage, "completed" if rows else "empty")
        except ReviewPendingError as error:
            record.status = "waiting"
            stage.feed.stop(error)
        except DataDesignerError as error:
            record.status = "failed"
            raise DataDesignerWorkflowError(f"stage {name!r} failed: {error}") from error
        finally:
            if record.status == "running":
                record.status = "failed"

    async def generate_stage(self, stage: StageRun) -> DatasetCreationResults:
        """Generate the rows of a stage as they arrive."""
        async with (
            self.open_stage(stage) as plan,
            Engine(
                plan,
                self.providers,
                stage.settings,
                self._transport,
                stage.directory,
                self.share_limits(stage),
            ) as engine,
        ):
            steps = StageSteps(engine, stage)
            result = await complete_run(steps, stage.find_batches())
            require_complete(engine)
            require_passed(stage.directory, result.gates)
            usage = engine.usage().to_dict()
            return DatasetCreationResults(
                stage.directory, plan, steps.requested, usage, tuple(steps.dropped)
            )

    def share_limits(self, stage: StageRun) -> SharedLimits:
        """The limits of models, and the budget unless the stage has settings of its own."""
        if stage.plan.stage.run_config is None:
            return self._shared
        return SharedLimits(None, self._shared.limiters)

    @asynccontextmanager
    async def open_stage(self, stage: StageRun, **options: Any) -> AsyncGenerator[Plan]:
        """Own the dataset of a stage in this context. `options` are those of `open_dataset`."""
        has_content = stage.directory.has_content
        target = max(stage.directory.metadata.target_num_records, stage.requested)
        async with open_dataset(
            stage.plan.config,
            self.providers,
            stage.settings,
            artifact_path=stage.folder,
            dataset_name=stage.directory.path.name,
            num_records=target,
            resume=ResumeMode.ALWAYS if has_content else ResumeMode.NEVER,
            managed_assets=self._managed_assets,
            table=stage.inputs,
            **options,
        ) as (plan, directory):
            stage.use(plan, directory)
            yield plan

    def _conclude(self, stage: StageRun, status: StageStatus) -> None:
        """Record what a stage came to."""
        record, metadata = stage.record, stage.directory.metadata
        record.status = status
        if stage.edge is not None and (status != "unchanged" or not record.arrived):
            record.arrived = dict(stage.edge.arrived)
            record.left_out = stage.edge.list_losses()
        record.requested = metadata.target_num_records
        record.rows = metadata.actual_num_records or 0
        record.usage = dict(metadata.usage)
        record.dollars = dict(metadata.dollars)
        record.accepted = metadata.accepted
        if stage.feed.reviews is not None:
            record.review = dict(stage.feed.reviews.count(stage.directory.tables()))
        _logger.info("stage %s: %s, %d rows", stage.name, status, record.rows)
        self.manifest.write(self.folder)

    def _end(self, status: Any) -> None:
        self.manifest.status = status
        self.manifest.ended_at = _now()
        if self.manifest.started_at is not None:  # otherwise nothing has begun
            self.manifest.write(self.folder)


def require_complete(engine: Engine) -> None:
    """Raise if a stage was stopped early: other stages must not use a part of its rows."""
    if engine.stopped_by is not None:
        raise engine.stopped_by


def _explain_empty(stage: StageRun) -> str:
    edge = stage.edge
    if edge is None or sum(edge.arrived.values()) == 0:
        return "it has no rows; set allow_empty if that is right"
    lost = describe_losses(edge.list_losses())
    return (
        f"it has no rows, although {sum(edge.arrived.values())} arrived ({lost or 'all failed'}); "
        "set allow_empty if that is right"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
