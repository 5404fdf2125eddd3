"""The library's door: preview, create and validate datasets without an orchestrator."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from dd_core.acceptance import judge, require_passed
from dd_core.analysis import judge_profiles, profile_in_run
from dd_core.blocking import blocking
from dd_core.builder import DataDesignerConfigBuilder
from dd_core.column import Batch
from dd_core.config_file import ConfigSource, load_config
from dd_core.dataset_config import DataDesignerConfig
from dd_core.engine import Engine
from dd_core.errors import BuilderConfigurationError
from dd_core.estimate import Estimate, estimate_from
from dd_core.execute import BatchRun
from dd_core.failed_rows import dropped_rows
from dd_core.generate import finish_columns, generate_batches
from dd_core.location import Location
from dd_core.models.config import ModelConfig, ModelProvider
from dd_core.models.defaults import default_model_configs
from dd_core.models.providers import Providers, default_providers
from dd_core.models.secret import SecretResolver
from dd_core.models.workbench import Workbench
from dd_core.plan import Plan, compile_plan
from dd_core.processing import output_table, process_dataset, processed_rows, side_tables
from dd_core.results import DatasetCreationResults, DroppedRow, PreviewResults, opened
from dd_core.run import note_progress, open_dataset, record_outcome, require_ready, require_rows
from dd_core.run_config import ResumeMode, RunConfig
from dd_core.storage import DatasetDirectory
from dd_core.tools import LocalStdioMCPProvider, MCPProvider
from dd_core.versions import current

if TYPE_CHECKING:
    from dd_core.info import Info

_logger = logging.getLogger(__name__)

Configured = DataDesignerConfigBuilder | ConfigSource
"""Whatever says what to generate: a builder, a config, or where one is written."""


class DataDesigner:
    """Generates datasets from declarations.

    `artifact_path` is the folder that datasets are written to. `model_providers` replaces the
    default providers, `secret_resolver` the way in which their keys are found (environment
    variables, then the text itself). `managed_assets_path` is the folder of managed datasets, if
    not the environment's. `transport` takes the place of the network in tests.
    `mcp_providers` are kept for tools, which are not run yet; `auto_configure_logging` changes
    nothing, because logging is the application's business.
    """

    def __init__(
        self,
        artifact_path: str | Path | None = None,
        *,
        model_providers: Sequence[ModelProvider] | None = None,
        secret_resolver: SecretResolver | None = None,
        run_config: RunConfig | None = None,
        managed_assets_path: str | Path | None = None,
        seed_readers: None = None,
        person_reader: None = None,
        mcp_providers: Sequence[MCPProvider | LocalStdioMCPProvider] | None = None,
        auto_configure_logging: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.artifact_path = artifact_path or "artifacts"
        self.secret_resolver = secret_resolver
        self.providers = Providers(model_providers, secret_resolver)
        self.managed_assets_path = Path(managed_assets_path) if managed_assets_path else None
        if seed_readers is not None or person_reader is not None:
            raise BuilderConfigurationError(
                "seed_readers and person_reader are not used; declare a seed source or a sampler "
                "of your own, see docs/own-kinds.md"
            )
        self.mcp_providers = [*(mcp_providers or ())]
        self._run_config = run_config or RunConfig()
        self._transport = transport

    @property
    def info(self) -> Info:
        """Help in the terminal, such as `info.display("model_providers")`."""
        from dd_core.info import Info

        return Info(default_model_configs, lambda: [*self.providers.all()])

    @property
    def run_config(self) -> RunConfig:
        """How runs are carried out."""
        return self._run_config

    def set_run_config(self, run_config: RunConfig) -> None:
        """Change how later runs are carried out."""
        self._run_config = run_config

    def validate(self, config: Configured) -> None:
        """Check a configuration without asking any model; raises `InvalidConfigError`."""
        self._plan(config, seed=0)

    def check_models(
        self, config: Configured, *, max_attempts: int = 1, retry_backoff_seconds: float = 0.0
    ) -> None:
        """Ask every model that the columns use one small question; raises what it answers.

        What may pass is tried `max_attempts` times, after pauses of attempt x backoff seconds.
        """
        if max_attempts < 1 or retry_backoff_seconds < 0:
            raise ValueError("max_attempts must be at least 1, retry_backoff_seconds at least 0")
        plan = self._plan(config, seed=0)

        async def check() -> None:
            async with Engine(plan, self.providers, self._run_config, self._transport) as engine:
                await engine.models.check(
                    images=True, attempts=max_attempts, backoff=retry_backoff_seconds
                )

        blocking(check)

    def get_models(self, aliases: Sequence[str]) -> Workbench:
        """Default models by alias, to try functions for custom columns with."""
        configs = self.get_default_model_configs()
        return Workbench(aliases, configs, self.providers, self._run_config)

    def get_default_model_configs(self) -> list[ModelConfig]:
        """The models of configurations that name none."""
        return default_model_configs()

    def get_default_model_providers(self) -> list[ModelProvider]:
        """The providers of designers that are given none."""
        return default_providers()

    @property
    def model_provider_registry(self) -> Providers:
        """The providers by name."""
        return self.providers

    def preview(self, config: Configured, *, num_records: int = 10) -> PreviewResults:
        """Generate a few rows in memory."""
        return blocking(lambda: self.apreview(config, num_records=num_records))

    async def apreview(self, config: Configured, *, num_records: int = 10) -> PreviewResults:
        """Like `preview`, for callers with an event loop."""
        seed = self._run_config.seed
        plan = self._plan(config, secrets.randbits(32) if seed is None else seed)
        async with Engine(plan, self.providers, self._run_config, self._transport) as engine:
            await require_ready(engine)
            run = await self._generated(engine, num_records)
            rows = run.surviving_rows()
            require_rows(engine, bool(rows), dropped_rows(run))
            made = {name: table.to_pylist() for name, table in side_tables(run, rows).items()}
            table = processed_rows(plan, output_table(run, rows))
            return PreviewResults(
                table=table,
                plan=plan,
                seed=plan.seed,
                usage=engine.usage(),
                dropped=dropped_rows(run),
                processor_artifacts=made,
                num_requested=num_records,
                profiles=await judge_profiles(engine, table),
            )

    def estimate(self, config: Configured, *, num_records: int, probe_rows: int = 5) -> Estimate:
        """Generate a few rows and say what `num_records` will take: time, tokens, dollars."""

        async def probe() -> Estimate:
            plan = self._plan(config, seed=0)
            async with Engine(plan, self.providers, self._run_config, self._transport) as engine:
                await require_ready(engine)
                run = await self._generated(engine, probe_rows)
                require_rows(engine, bool(run.surviving_rows()), dropped_rows(run))
                return estimate_from(engine, probe_rows, num_records)

        return blocking(probe)

    async def _generated(self, engine: Engine, rows: int) -> BatchRun:
        run = engine.batch_run(Batch(0, 0, rows))
        run.start()
        try:
            await finish_columns(run)
        finally:
            await run.close()
        return run

    def create(
        self,
        config: Configured,
        *,
        num_records: int = 10,
        dataset_name: str = "dataset",
        resume: ResumeMode | str = ResumeMode.NEVER,
        artifact_path: str | Path | None = None,
        on_batch_complete: Callable[[Location], None] | None = None,
        retry_failed: bool = False,
    ) -> DatasetCreationResults:
        """Generate a dataset on disk.

        `resume` says what to do when the dataset exists: `never` makes a new one beside it,
        `always` and `if_possible` continue it; `retry_failed` then also generates rows anew that
        were given up before. `on_batch_complete` gets each written file.
        Raises `InvalidConfigError` before anything is spent, `DataDesignerGenerationError` when
        the run was stopped or ended without rows, `GatesFailedError` when the dataset did not pass
        its gates; what was finished is kept.
        """
        return blocking(
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

    async def acreate(
        self,
        config: Configured,
        *,
        num_records: int = 10,
        dataset_name: str = "dataset",
        resume: ResumeMode | str = ResumeMode.NEVER,
        artifact_path: str | Path | None = None,
        on_batch_complete: Callable[[Location], None] | None = None,
        retry_failed: bool = False,
    ) -> DatasetCreationResults:
        """Like `create`, for callers with an event loop."""
        plan, directory = open_dataset(
            self._config_of(config),
            self.providers,
            self._run_config,
            artifact_path=artifact_path or self.artifact_path,
            dataset_name=dataset_name,
            num_records=num_records,
            resume=ResumeMode(resume),
            managed_assets=self.managed_assets_path,
        )
        batches = directory.missing(
            num_records, self._run_config.buffer_size, retry_failed=retry_failed
        )
        dropped: list[DroppedRow] = []
        settings = self._run_config
        async with Engine(plan, self.providers, settings, self._transport, directory) as engine:
            if batches:
                await require_ready(engine)

            def written(run: BatchRun, path: Location | None) -> None:
                dropped.extend(dropped_rows(run))
                note_progress(directory, engine)
                if on_batch_complete is not None and path is not None:
                    on_batch_complete(path)

            await generate_batches(engine, directory, batches, written)
            await engine.in_thread(process_dataset, directory, plan)
            await profile_in_run(engine, directory, num_records)
            count = record_outcome(directory, engine)
            require_rows(engine, bool(count), tuple(dropped))
            if count < num_records:
                _logger.warning("%d of %d rows were generated", count, num_records)
            require_passed(directory, await engine.in_thread(judge, directory, engine))
            return DatasetCreationResults(
                directory, plan, num_records, engine.usage(), tuple(dropped)
            )

    def open(self, dataset_name: str, version: str | None = None) -> DatasetCreationResults:
        """The results of a dataset that is there already, made by whatever run: the latest version
        if it has versions and none is named. Raises `ArtifactStorageError` if there is none.
        """
        return opened(current(DatasetDirectory.place(self.artifact_path, dataset_name, version)))

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
            return config.build()
        return load_config(config, self.providers, self.managed_assets_path)
