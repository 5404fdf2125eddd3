"""The entry point of workflows: validate, preview, estimate and run them without Prefect."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from dd_core.dataset.run_config import RunConfig
from dd_core.dataset.workflow.config import WorkflowConfig
from dd_core.dataset.workflow.plan import WorkflowPlan, compile_workflow
from dd_core.designer.blocking import run_blocking
from dd_core.designer.workflow.preview import WorkflowPreview, preview_workflow
from dd_core.designer.workflow.results import WorkflowResults
from dd_core.designer.workflow.run import WorkflowRun
from dd_core.errors import DataDesignerWorkflowError, convert_errors
from dd_core.models.providers import Providers
from dd_core.redaction.registry import mask_errors
from dd_core.storage.directory import VERSIONS, require_folder_name
from dd_core.storage.location import Location, parse_location

if TYPE_CHECKING:
    import httpx

_logger = logging.getLogger(__name__)
_FAILED = "the workflow cannot be run"


class Workflow:
    """A workflow with the settings of a `DataDesigner`, whose method `workflow` makes it."""

    def __init__(
        self,
        config: WorkflowConfig,
        providers: Providers,
        settings: RunConfig,
        artifact_path: str | Location,
        *,
        managed_assets: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.config = config
        self._providers = providers
        self._settings = settings
        self._artifact_path = artifact_path
        self._managed_assets = managed_assets
        self._transport = transport

    @mask_errors
    def validate(self) -> WorkflowPlan:
        """Check all stages without sending requests; raises `InvalidConfigError`."""
        plan = compile_workflow(
            self.config.resolve_paths(),
            self._providers,
            self._settings,
            managed_assets=self._managed_assets,
        )
        for warning in plan.warnings:
            _logger.warning("%s", warning)
        return plan

    @mask_errors
    def preview(self, *, num_records: int = 10) -> WorkflowPreview:
        """Generate a few rows of the first stages, and what the others make of them, in memory."""
        return run_blocking(lambda: self.apreview(num_records=num_records))

    @mask_errors
    async def apreview(self, *, num_records: int = 10) -> WorkflowPreview:
        """Like `preview`, for callers with a running event loop."""
        plan = self.validate()
        with convert_errors(DataDesignerWorkflowError, _FAILED):
            return await preview_workflow(
                plan, self._providers, self._settings, num_records, self._transport
            )

    @mask_errors
    def run(self, *, version: str | None = None, retry_failed: bool = False) -> WorkflowResults:
        """Generate the datasets of all stages, or what is missing of them.

        What earlier runs have generated is kept as far as nothing that it depends on has changed.
        With `retry_failed`, rows that failed are generated again. Each `version` of a workflow has
        a folder of its own. Raises `InvalidConfigError` before anything is spent, and
        `DataDesignerWorkflowError` with the name of the stage that failed.
        """
        return run_blocking(lambda: self.arun(version=version, retry_failed=retry_failed))

    @mask_errors
    async def arun(
        self, *, version: str | None = None, retry_failed: bool = False
    ) -> WorkflowResults:
        """Like `run`, for callers with a running event loop."""
        plan = self.validate()
        run = WorkflowRun(
            plan,
            self._providers,
            self._settings,
            self.locate(version),
            version=version,
            retry_failed=retry_failed,
            managed_assets=self._managed_assets,
            transport=self._transport,
        )
        with convert_errors(DataDesignerWorkflowError, _FAILED):
            return await run.run()

    def locate(self, version: str | None = None) -> Location:
        """The folder of the workflow, or of one of its versions."""
        folder = parse_location(self._artifact_path) / self.config.workflow
        if version is None:
            return folder
        require_folder_name("version", version)
        return folder / VERSIONS / version
