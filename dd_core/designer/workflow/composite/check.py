"""Checks all stages of a composite workflow before the first of them costs anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dd_core.dataset.compile import compile_plan
from dd_core.dataset.config import DataDesignerConfig
from dd_core.dataset.plan import Plan
from dd_core.dataset.run_config import RunConfig
from dd_core.dataset.workflow.plan import ExpectedTable
from dd_core.dataset.workflow.steps import Columns
from dd_core.designer.workflow.composite.output_files import read_output_schema
from dd_core.designer.workflow.composite.stage import CompositeStage
from dd_core.errors import InvalidConfigError, Problem
from dd_core.models.providers import Providers
from dd_core.storage.location import Location

Types = Mapping[str, Any]
"""Arrow types by column; None where the type follows from the values."""


class StagePlanner:
    """Compiles the configurations of stages with the settings of a designer."""

    def __init__(
        self, providers: Providers, settings: RunConfig, managed_assets: Path | None
    ) -> None:
        self._providers = providers
        self._settings = settings
        self._managed_assets = managed_assets

    def compile(self, config: DataDesignerConfig, seed_types: Types | None = None) -> Plan:
        """Check a configuration; raises `InvalidConfigError`.

        With `seed_types`, only the columns of its seed dataset are known.
        """
        expected = None
        if seed_types is not None:
            expected = ExpectedTable(Columns(types=seed_types, lineage=(), depth=1))
        return compile_plan(
            config,
            self._providers,
            0,
            rendering=self._settings.jinja_rendering_engine.value,
            managed_assets=self._managed_assets,
            table=expected,
        )

    def check(self, stages: Sequence[CompositeStage], overrides: Mapping[str, Location]) -> None:
        """Check stages as far as the columns that they receive are known.

        Raises `InvalidConfigError` with the problems of all of them. The columns of the output of a
        callback are not known, nor are those of the stages after it.
        """
        problems: list[Problem] = []
        types: Types | None = None
        for stage in stages:
            if stage.upstream is None or types is not None:
                try:
                    types = self._check_stage(stage, types)
                except InvalidConfigError as error:
                    place = f"stages.{stage.name}"
                    found = [replace(p, where=f"{place}.{p.where}") for p in error.problems]
                    problems += found
                    types = None
            if stage.name in overrides:
                types = _read_types(overrides[stage.name])
        if problems:
            raise InvalidConfigError(problems)

    def _check_stage(self, stage: CompositeStage, types: Types | None) -> Types | None:
        """Check a stage, and return the columns of its output; None if they are not known."""
        config = stage.config if types is None else stage.seed_with(Path("rows.parquet"))
        plan = self.compile(config, types)
        found: Types = {name: plan.types.declared.get(name) for name in plan.output_columns}
        if stage.output_processors:
            later = self.compile(stage.configure_processing(Path("rows.parquet")), found)
            if stage.is_output_made_later:
                found = {name: found.get(name) for name in later.output_columns}
        if stage.on_success is not None:
            return None
        if (name := stage.output_processor) is not None:
            processors = [*(stage.config.processors or ()), *stage.output_processors]
            side = next(each.side_columns for each in processors if each.name == name)
            return None if side is None else dict.fromkeys(side)
        return found


def _read_types(output: Location) -> Types:
    schema: Any = read_output_schema(output)
    return {field.name: field.type for field in schema}
