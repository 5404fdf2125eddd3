"""The library's entry point: validate, preview, estimate and create datasets without Prefect."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dd_core.dataset.builder import DataDesignerConfigBuilder
from dd_core.dataset.checks import check_row_counts
from dd_core.dataset.compatibility import accept_keyword
from dd_core.dataset.compile import compile_plan
from dd_core.dataset.config import DataDesignerConfig
from dd_core.dataset.files import ConfigSource, load_config
from dd_core.dataset.plan import Plan
from dd_core.dataset.planning.demand import find_batches
from dd_core.dataset.run_config import RunConfig
from dd_core.dataset.workflow.config import WorkflowSource, load_workflow
from dd_core.declaration.secrets import SecretResolver, default_resolver
from dd_core.designer.blocking import run_blocking
from dd_core.designer.dataset_run import complete_run
from dd_core.designer.estimate import Estimate, make_estimate
from dd_core.designer.in_memory import generate_in_memory, generate_preview
from dd_core.designer.library_steps import LibrarySteps, repair_dataset
from dd_core.designer.logging_setup import ensure_logging
from dd_core.designer.results import DatasetCreationResults, PreviewResults, open_results
from dd_core.designer.verification import require_dataset
from dd_core.designer.workbench import Workbench
from dd_core.designer.workflow.composite.workflow import CompositeWorkflow
from dd_core.designer.workflow.runner import Workflow
from dd_core.engine.engine import Engine
from dd_core.engine.run import open_dataset
from dd_core.errors import (
    BuilderConfigurationError,
    DataDesignerGenerationError,
    InvalidConfigError,
    convert_errors,
)
from dd_core.kinds.seeds.seed import SourceReader, collect_readers
from dd_core.models.config import ModelConfig, ModelProvider
from dd_core.models.providers import Providers, load_default_models, load_default_providers
from dd_core.models.tools.providers import ToolProvider, choose_tool_providers
from dd_core.models.tools.toolbox import ToolServers
from dd_core.quality.acceptance import require_passed
from dd_core.redaction.registry import mask_errors
from dd_core.storage.access.failures import report_storage_errors
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location
from dd_core.storage.resume import ResumeMode, parse_resume
from dd_core.storage.versions import find_current

if TYPE_CHECKING:
    import httpx

    from dd_core.dataset.info import Info


_logger = logging.getLogger(__name__)
_FAILED = "the dataset cannot be generated"

Configured = DataDesignerConfigBuilder | ConfigSource
"""A builder, a configuration, or the place where a configuration is stored."""


class DataDesigner:
    """Generates datasets from declarations.

    `artifact_path` is the folder that datasets are written to; default: `artifacts`.
    `model_providers` replaces the default providers. `secret_resolver` resolves their keys; by
    default, a key is the name of an environment variable or else the key itself.
    `managed_assets_path` is the folder of managed datasets; default: the environment variable
    `DATA_DESIGNER_MANAGED_ASSETS_PATH`. `transport` replaces the network in tests. `mcp_providers`
    are the servers of tools; default: those in the user's `mcp_providers.yaml`. `trust_config` lets
    configurations from URLs import code, read files and choose keys on this machine.
    `auto_configure_logging` writes log records to stderr if the program has not configured logging;
    by default, logging is left to the program. `seed_readers` read seed sources in place of the
    sources themselves.
    """

    def __init__(
        self,
        artifact_path: str | Location | None = None,
        *,
        model_providers: Sequence[ModelProvider] | None = None,
        secret_resolver: SecretResolver | None = None,
        run_config: RunConfig | None = None,
        managed_assets_path: str | Path | None = None,
        seed_readers: Sequence[SourceReader] | None = None,
        person_reader: None = None,
        mcp_providers: Sequence[ToolProvider] | None = None,
        auto_configure_logging: bool = False,
        trust_config: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if auto_configure_logging:
            ensure_logging()
        given = artifact_path or "artifacts"
        self.artifact_path = Path(given) if isinstance(given, str) and "://" not in given else given
        """The folder as a `Path`; an address of object storage as it was given."""
        self.secret_resolver = secret_resolver or default_resolver
        tool_providers = choose_tool_providers(mcp_providers)
        self.providers = Providers(model_providers, secret_resolver, tool_providers)
        self.managed_assets_path = Path(managed_assets_path) if managed_assets_path else None
        self._seed_readers = collect_readers(seed_readers or ())
        if person_reader is not None:
            raise BuilderConfigurationError(
                "person_reader is not used; declare your own sampler, see docs/own-kinds.md"
            )
        self._run_config = run_config or RunConfig()
        self._transport = transport
        self._trust_config = trust_config

    @property
    def info(self) -> Info:
        """Help for the terminal, for example `info.display("model_providers")`."""
        from dd_core.dataset.info import Info

        return Info(load_default_models, lambda: [*self.providers.all()])

    @property
    def run_config(self) -> RunConfig:
        """The settings of runs."""
        return self._run_config

    def set_run_config(self, run_config: RunConfig) -> None:
        """Change the settings of later runs."""
        self._run_config = run_config

    @accept_keyword(config_builder="config")
    @mask_errors
    def validate(self, config: Configured) -> None:
        """Check a configuration without sending requests; raises `InvalidConfigError`."""
        self._plan(config, seed=0)

    @mask_errors
    def count_requests(self, config: Configured) -> dict[str, int]:
        """Return the most requests to models that a row takes, by column.

        Retries, calls of tools and requests of custom functions are not counted. Raises
        `InvalidConfigError`.
        """
        return self._plan(config, seed=0).requests_per_row

    @accept_keyword(config_builder="config")
    @mask_errors
    def check_models(
        self, config: Configured, *, max_attempts: int = 1, retry_backoff_seconds: float = 0.0
    ) -> dict[str, list[str]]:
        """Ask every model and every tool server that the columns use; raises the first error.

        Returns the names of the tools by alias. Transient errors of models are retried, up to
        `max_attempts` attempts in total, after pauses of attempt x backoff seconds.
        """
        if max_attempts < 1 or retry_backoff_seconds < 0:
            raise ValueError("max_attempts must be at least 1 and retry_backoff_seconds at least 0")
        plan = self._plan(config, seed=0)

        async def check() -> dict[str, list[str]]:
            async with Engine(plan, self.providers, self._run_config, self._transport) as engine:
                return await engine.check_all(max_attempts, retry_backoff_seconds)

        return run_blocking(check)

    @accept_keyword(model_aliases="aliases")
    def get_models(self, aliases: Sequence[str]) -> Workbench:
        """Return default models by alias, for trying out functions of custom columns."""
        configs = self.get_default_model_configs()
        return Workbench(aliases, configs, self.providers, self._run_config)

    def get_default_model_configs(self) -> list[ModelConfig]:
        """Return the models that are used if a configuration defines none."""
        return load_default_models()

    def get_default_model_providers(self) -> list[ModelProvider]:
        """Return the providers that are used if a `DataDesigner` receives none."""
        return load_default_providers()

    @mask_errors
    def list_mcp_tool_names(
        self, mcp_provider_name: str, *, timeout_sec: float = 10.0
    ) -> list[str]:
        """Ask a tool server for the names of its tools; raises `MCPError`."""
        servers = ToolServers(self.providers.tool_providers, self.secret_resolver)
        return run_blocking(lambda: servers.list_names(mcp_provider_name, timeout_sec))

    @property
    def model_provider_registry(self) -> Providers:
        """The providers by name."""
        return self.providers

    @accept_keyword(config_builder="config")
    @mask_errors
    def preview(self, config: Configured, *, num_records: int = 10) -> PreviewResults:
        """Generate a few rows in memory."""
        return run_blocking(lambda: self.apreview(config, num_records=num_records))

    @accept_keyword(config_builder="config")
    @mask_errors
    async def apreview(self, config: Configured, *, num_records: int = 10) -> PreviewResults:
        """Like `preview`, for callers with a running event loop."""
        with convert_errors(DataDesignerGenerationError, _FAILED):
            _require_counts(num_records=num_records)
            seed = self._run_config.seed
            plan = self._plan(config, secrets.randbits(32) if seed is None else seed)
            async with Engine(plan, self.providers, self._run_config, self._transport) as engine:
                return await generate_preview(engine, num_records)

    @accept_keyword(config_builder="config")
    @mask_errors
    def estimate(self, config: Configured, *, num_records: int, probe_rows: int = 5) -> Estimate:
        """Generate a few rows and estimate the time, tokens and dollars for `num_records`."""
        _require_counts(num_records=num_records, probe_rows=probe_rows)

        async def probe() -> Estimate:
            plan = self._plan(config, seed=0)
            async with Engine(plan, self.providers, self._run_config, self._transport) as engine:
                outcome = await generate_in_memory(engine, probe_rows)
                return make_estimate(engine, outcome, num_records)

        return run_blocking(probe)

    @accept_keyword(config_builder="config")
    @mask_errors
    def create(
        self,
        config: Configured,
        *,
        num_records: int = 10,
        dataset_name: str = "dataset",
        resume: ResumeMode | str = ResumeMode.NEVER,
        artifact_path: str | Location | None = None,
        on_batch_complete: Callable[[Location], None] | None = None,
        retry_failed: bool = False,
    ) -> DatasetCreationResults:
        """Generate a dataset on disk.

        `resume` says what to do if the dataset exists: `never` creates a new dataset next to it,
        `always` continues it, and `if_possible` continues it unless its configuration has changed.
        When continuing, `retry_failed` also retries rows that failed in an earlier run.
        `on_batch_complete` is called with each written file.

        Raises `InvalidConfigError` before anything is spent, and so `DatasetInUseError` if another
        process is generating the dataset. Raises `ArtifactStorageError` if the dataset cannot be
        opened, `DataDesignerProfilingError` if it cannot be profiled, and otherwise subclasses of
        `DataDesignerGenerationError`, such as `GatesFailedError`. Finished work is kept.
        """
        return run_blocking(
            lambda: self.acreate(
                config,
                num_records=num_records,
                dataset_name=dataset_name,
                resume=resume,
                artifact_path=artifact_path,
                on_batch_complete=on_batch_complete,
                retry_failed=retry_failed,
            )
        )

    @accept_keyword(config_builder="config")
    @mask_errors
    async def acreate(
        self,
        config: Configured,
        *,
        num_records: int = 10,
        dataset_name: str = "dataset",
        resume: ResumeMode | str = ResumeMode.NEVER,
        artifact_path: str | Location | None = None,
        on_batch_complete: Callable[[Location], None] | None = None,
        retry_failed: bool = False,
    ) -> DatasetCreationResults:
        """Like `create`, for callers with a running event loop."""
        with convert_errors(DataDesignerGenerationError, _FAILED):
            _require_counts(num_records=num_records)
            num_records = int(num_records)  # metadata cannot hold an integer of NumPy
            settings = self._run_config
            async with open_dataset(
                self._config_of(config),
                self.providers,
                settings,
                artifact_path=artifact_path or self.artifact_path,
                dataset_name=dataset_name,
                num_records=num_records,
                resume=parse_resume(resume),
                managed_assets=self.managed_assets_path,
            ) as (plan, directory):
                batches = find_batches(
                    plan, directory, num_records, settings.buffer_size, retry_failed=retry_failed
                )
                async with Engine(
                    plan, self.providers, settings, self._transport, directory
                ) as engine:
                    steps = LibrarySteps(engine, directory, num_records, on_batch_complete)
                    result = await complete_run(steps, batches)
                    rows = result.rows_written
                    if rows < num_records:
                        _logger.warning("%d of %d rows were generated", rows, num_records)
                    require_passed(directory, result.gates)
                    return DatasetCreationResults(
                        directory, plan, num_records, engine.usage().to_dict(), tuple(steps.dropped)
                    )

    def workflow(self, workflow: WorkflowSource) -> Workflow:
        """Return a workflow to validate, preview or run; raises `InvalidConfigError`."""
        return Workflow(
            load_workflow(workflow),
            self.providers,
            self._run_config,
            self.artifact_path,
            managed_assets=self.managed_assets_path,
            transport=self._transport,
        )

    def compose_workflow(self, *, name: str) -> CompositeWorkflow:
        """Return a workflow without stages, which run one after the other."""
        return CompositeWorkflow(name=name, data_designer=self)

    def open(self, dataset_name: str, version: str | None = None) -> DatasetCreationResults:
        """Open the results of an existing dataset, whichever run created it.

        If the dataset has versions, `version` defaults to the latest. Raises `ArtifactStorageError`
        if the dataset does not exist.
        """
        with report_storage_errors(f"{self.artifact_path}/{dataset_name}"):
            return open_results(
                find_current(DatasetDirectory.place(self.artifact_path, dataset_name, version))
            )

    @mask_errors
    def repair(self, dataset_name: str, version: str | None = None) -> DatasetCreationResults:
        """Regenerate what is lost or damaged in a dataset, with its own configuration and seed.

        `DatasetCreationResults.verify` says what is damaged and what this costs. Damaged files are
        moved to the folder `damaged-files`. All other rows, and rows that no run has come to yet,
        stay as they are. Raises `ArtifactStorageError` if the seed data or the code of the dataset
        has changed, because its rows would be others.
        """
        with report_storage_errors(f"{self.artifact_path}/{dataset_name}"):
            place = DatasetDirectory.place(self.artifact_path, dataset_name, version)
            directory = find_current(place)
            require_dataset(directory)
            config = self._config_of(directory.config())
            return run_blocking(
                lambda: repair_dataset(
                    directory,
                    config,
                    self.providers,
                    self._run_config,
                    transport=self._transport,
                    artifact_path=self.artifact_path,
                    dataset_name=dataset_name,
                    managed_assets=self.managed_assets_path,
                )
            )

    def _plan(self, config: Configured, seed: int) -> Plan:
        plan = compile_plan(
            self._config_of(config),
            self.providers,
            seed,
            rendering=self._run_config.jinja_rendering_engine.value,
            managed_assets=self.managed_assets_path,
        )
        for warning in plan.warnings:
            _logger.warning("%s", warning)
        return plan

    def _config_of(self, config: Configured) -> DataDesignerConfig:
        if isinstance(config, DataDesignerConfigBuilder):
            with convert_errors(InvalidConfigError, "it cannot be built"):
                found = config.build()
        else:
            found = load_config(
                config, self.providers, self.managed_assets_path, trust=self._trust_config
            )
        return found.use_readers(self._seed_readers, self.secret_resolver)


def _require_counts(**counts: int) -> None:
    if problems := check_row_counts(**counts):
        raise InvalidConfigError(problems)
