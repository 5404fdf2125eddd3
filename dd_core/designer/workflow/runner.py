"""The entry point of workflows: validate, preview, estimate and run them without Prefect."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dd_core.dataset.run_config import RunConfig
from dd_core.dataset.workflow.config import WorkflowConfig
from dd_core.dataset.workflow.plan import WorkflowPlan, compile_workflow
from dd_core.designer.blocking import run_blocking
from dd_core.designer.workflow.manifest import read_manifest
from dd_core.designer.workflow.preview import WorkflowPreview, preview_workflow
from dd_core.designer.workflow.results import WorkflowResults
from dd_core.designer.workflow.review import Decided, Reviews, export_rows, import_rows
from dd_core.designer.workflow.run import WorkflowRun
from dd_core.errors import DataDesignerWorkflowError, convert_errors
from dd_core.models.providers import Providers
from dd_core.redaction.registry import mask_errors
from dd_core.storage.directory import VERSIONS, DatasetDirectory, require_folder_name
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

    def export_review(
        self, stage: str, path: str | Path, *, version: str | None = None, pending_only: bool = True
    ) -> int:
        """Write the rows of a stage that have to be reviewed to a `.jsonl` or `.csv` file.

        The file has the columns `review_decision` (`accept`, `edit` or `reject`) and
        `review_comment`. Returns the number of rows. Raises `DataDesignerWorkflowError`.
        """
        directory, reviews = self._open_review(stage, version)
        return export_rows(directory, reviews, Path(path), pending_only=pending_only)

    def import_review(
        self,
        stage: str,
        path: str | Path | None = None,
        *,
        by: str,
        rest: Decided | None = None,
        version: str | None = None,
    ) -> Counter[str]:
        """Store the decisions in an edited file, and who made them; returns the numbers of rows.

        Rows whose values were changed are edited. `rest` is the decision about all rows without
        one, those included that are not in the file. The next run of the workflow continues with
        the decisions. Raises `DataDesignerWorkflowError`.
        """
        directory, reviews = self._open_review(stage, version)
        return import_rows(directory, reviews, None if path is None else Path(path), by, rest)

    def _open_review(self, stage: str, version: str | None) -> tuple[DatasetDirectory, Reviews]:
        reviewed = [each.name for each in self.config.stages if each.review]
        if stage not in reviewed:
            raise DataDesignerWorkflowError(
                f"stage {stage!r} is not reviewed; stages with `review: true`: {reviewed}"
            )
        folder = self.locate(version)
        manifest = read_manifest(folder)
        record = manifest.stages.get(stage) if manifest is not None else None
        if record is None or not record.folder:
            raise DataDesignerWorkflowError(f"stage {stage!r} has no rows yet; run the workflow")
        return DatasetDirectory(folder / stage / record.folder), Reviews(folder / stage)

    def locate(self, version: str | None = None) -> Location:
        """The folder of the workflow, or of one of its versions."""
        folder = parse_location(self._artifact_path) / self.config.workflow
        if version is None:
            return folder
        require_folder_name("version", version)
        return folder / VERSIONS / version
