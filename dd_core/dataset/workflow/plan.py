"""Checks a workflow as a whole: the columns of all stages are known before any row is generated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_core.dataset.compile import compile_plan
from dd_core.dataset.config import DataDesignerConfig
from dd_core.dataset.plan import Plan, digest
from dd_core.dataset.run_config import RunConfig
from dd_core.dataset.workflow.config import WorkflowConfig, WorkflowStage
from dd_core.dataset.workflow.steps import ADDRESS, Columns, JoinStep, Step, UnionStep
from dd_core.errors import InvalidConfigError, Problem, SeedDatasetError
from dd_core.kinds.columns.column import Column
from dd_core.kinds.seeds.seed import SeedConfig, SeedSource, SeedTable
from dd_core.models.providers import Providers
from dd_core.storage.arrow import Values

DEFAULT_ROWS = 10
"""Rows of a stage that neither uses the rows of other stages nor says how many it has."""
INPUT_FOLDER = "input"
"""Folder of a stage with the rows that arrived from other stages."""


class ExpectedTable(SeedTable):
    """Rows that are still to be generated, of which only the columns are known."""

    has_keys = True

    def __init__(self, columns: Columns) -> None:
        self._types = columns.types
        self.columns = [*columns.types]
        self.num_rows = 1 << 40  # more than any stage has

    def take(self, column: str, rows: NDArray[np.int64]) -> Values:
        """Raise `SeedDatasetError`, because there are no rows yet."""
        raise SeedDatasetError("the rows of the other stages have not been generated yet")

    def column_type(self, column: str) -> Any:
        """Type of the column; None if it follows from the values."""
        return self._types[column]

    def content_hash(self) -> str:
        """The same for all rows: whether a row has changed is decided row by row."""
        return "rows of other stages"


@dataclass(frozen=True)
class StagePlan:
    """A checked stage."""

    stage: WorkflowStage
    config: DataDesignerConfig
    """The configuration, with the rows of other stages as its seed dataset."""
    run_config: RunConfig
    plan: Plan
    """The plan with a seed of 0."""
    inputs: Columns | None
    """The rows that arrive from other stages; None if there are none."""
    outputs: Columns
    """The rows of the stage."""

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def identity(self) -> str:
        """Hash of everything that the values depend on, except for the rows that arrive."""
        steps = [step.model_dump(mode="json") for step in self.stage.steps]
        size = self.stage.num_records if self.stage.from_ else None
        return digest([self.plan.fingerprint, self.stage.from_, steps, size])[:10]

    @property
    def is_streamed(self) -> bool:
        """Whether other stages can use a batch as soon as it is written."""
        return not self.plan.list_late_processors(None)


@dataclass(frozen=True)
class WorkflowPlan:
    """A checked workflow."""

    config: WorkflowConfig
    stages: Mapping[str, StagePlan]
    """The stages by name, each after those whose rows it uses."""
    warnings: tuple[Problem, ...] = ()


def compile_workflow(
    config: WorkflowConfig, providers: Providers, run_config: RunConfig, **options: Any
) -> WorkflowPlan:
    """Check all stages; raises `InvalidConfigError` with the problems of all of them.

    `options` are those of `compile_plan`.
    """
    stages: dict[str, StagePlan] = {}
    problems: list[Problem] = []
    failed: set[str] = set()
    for stage in config.stages:
        if failed & {*stage.from_}:  # its columns are not known
            failed.add(stage.name)
            continue
        try:
            stages[stage.name] = _plan_stage(stage, stages, providers, run_config, options)
        except InvalidConfigError as error:
            failed.add(stage.name)
            place = f"stages.{stage.name}"
            problems += [replace(each, where=f"{place}.{each.where}") for each in error.problems]
    if problems:
        raise InvalidConfigError(problems)
    warnings = [
        replace(each, where=f"stages.{name}.{each.where}")
        for name, stage in stages.items()
        for each in stage.plan.warnings
    ]
    return WorkflowPlan(config, stages, tuple(warnings))


def _plan_stage(
    stage: WorkflowStage,
    known: Mapping[str, StagePlan],
    providers: Providers,
    run_config: RunConfig,
    options: Mapping[str, Any],
) -> StagePlan:
    settings = stage.run_config or run_config
    inputs: Columns | None = None
    config = stage.config
    if stage.from_:
        inputs = list_input_columns(stage, [known[name].outputs for name in stage.from_])
        config = config.model_copy(update={"seed_config": _input_config()})
    else:
        config = _add_addresses(config)
    if problems := [*_check_stage(stage)]:
        raise InvalidConfigError(problems)
    plan = compile_plan(
        config,
        providers,
        0,
        rendering=settings.jinja_rendering_engine.value,
        table=None if inputs is None else ExpectedTable(inputs),
        **options,
    )
    types = {name: plan.types.declared.get(name) for name in plan.output_columns}
    if ADDRESS not in types:
        raise InvalidConfigError(
            [Problem("processors", f"keep the column {ADDRESS}, which identifies the rows")]
        )
    lineage = () if inputs is None else inputs.lineage
    depth = 1 if inputs is None else inputs.depth
    known_origins: Mapping[str, str] = {} if inputs is None else inputs.origins
    origins = {name: known_origins.get(name, stage.name) for name in types}
    is_ordered = (inputs is None or inputs.is_ordered) and not plan.list_late_processors(None)
    outputs = Columns(types, (*lineage, (stage.name, depth)), depth, origins, is_ordered)
    return StagePlan(stage, config, settings, plan, inputs, outputs)


def _check_stage(stage: WorkflowStage) -> Iterator[Problem]:
    config = stage.config
    if stage.from_ and config.accept is not None:
        yield Problem(
            "accept",
            "is only available in a stage without from, because the number of rows of this stage "
            "depends on those that arrive; use filter_rows or a step of the type filter",
        )
    for column in config.columns:
        if stage.from_ and column.reads_all_seed_rows:
            yield Problem(
                f"columns.{column.name}",
                "needs all rows of its seed dataset at once; generate the rows in a workflow of "
                "their own, and use them with the seed_type dataset",
            )
        if column.name == ADDRESS:
            yield Problem(f"columns.{ADDRESS}", "is the name of the rows' addresses; rename it")


def _add_addresses(config: DataDesignerConfig) -> DataDesignerConfig:
    column = Column.read({"column_type": "row-number", "name": ADDRESS})
    return config.model_copy(update={"columns": [column, *config.columns]})


def _input_config() -> SeedConfig:
    source = SeedSource.read({"seed_type": "local", "path": f"{INPUT_FOLDER}/*.parquet"})
    return SeedConfig(source=source)


def list_input_columns(stage: WorkflowStage, sources: list[Columns]) -> Columns:
    """The columns of the rows that arrive in a stage; raises `InvalidConfigError`."""
    steps: list[Step] = [*stage.steps]
    columns = replace(sources[0], problems=[])
    if len(sources) > 1:
        merge = steps.pop(0)
        assert isinstance(merge, JoinStep | UnionStep)
        combine = _join if isinstance(merge, JoinStep) else _unite
        columns = combine(merge, stage.from_, sources)  # pyright: ignore[reportArgumentType]
    first = len(stage.steps) - len(steps)
    for number, step in enumerate(steps, first):
        columns = step.change_columns(f"steps.{number}", columns)
    if columns.problems:
        raise InvalidConfigError(columns.problems)
    types = {**columns.types, ADDRESS: _text()}
    if stage.num_records is not None:  # rows that are used again have one more part
        return replace(columns, types=types, depth=columns.depth + 1, is_ordered=False)
    return replace(columns, types=types)


def find_common_depth(left: Columns, right: Columns) -> int | None:
    """Number of parts of the addresses of the last stage that the rows of both come from."""
    common = [depth for name, depth in left.lineage if right.find_depth(name) == depth]
    return max(common, default=None)


def is_one_to_one(columns: Columns, depth: int) -> bool:
    """Whether there is at most one row for each row of the stage with addresses of this depth."""
    return columns.depth == depth


def _join(step: JoinStep, names: list[str], sources: list[Columns]) -> Columns:
    left, *others = sources
    problems: list[Problem] = []
    types, depth = dict(left.types), left.depth
    for name, right in zip(names[1:], others, strict=True):
        common = find_common_depth(left, right)
        if step.on is None and common is None:
            message = f"{names[0]!r} and {name!r} come from no common stage; say which columns to "
            problems.append(Problem("steps.0.on", f"{message}join on"))
            continue
        for column in step.on or []:
            if column not in left.types or column not in right.types:
                message = f"refers to {column!r}, which {names[0]!r} and {name!r} do not both have"
                problems.append(Problem("steps.0.on", message))
        added = {column: right.types[column] for column in step.list_added(left, right)}
        for column in sorted(added.keys() & types.keys()):
            message = (
                f"{name!r} also has a column {column!r} that other stages of the join have; rename "
                f"it in {name!r}"
            )
            problems.append(Problem("steps.0", message))
        types |= added
        if step.on is not None or common is None or not is_one_to_one(right, common):
            depth += 1
    origins = {name: stage for each in reversed(sources) for name, stage in each.origins.items()}
    return Columns(types, left.lineage, depth, origins, left.is_ordered, problems)


def _unite(step: UnionStep, names: list[str], sources: list[Columns]) -> Columns:
    first, *others = sources
    problems: list[Problem] = []
    types = dict(first.types)
    for name, other in zip(names[1:], others, strict=True):
        missing = sorted(types.keys() ^ other.types.keys())
        if missing:
            message = (
                f"{names[0]!r} and {name!r} have different columns ({', '.join(missing)}); select "
                "or rename columns in a stage before"
            )
            problems.append(Problem("steps.0", message))
        types = {n: kind if kind == other.types.get(n) else None for n, kind in types.items()}
    if step.source is not None:
        types[step.source] = _text()
    shared = [pair for pair in first.lineage if all(pair in other.lineage for other in others)]
    depth = max(each.depth for each in sources) + 1
    return Columns(types, tuple(shared), depth, first.origins, False, problems)


def _text() -> Any:
    import pyarrow as pa

    return pa.string()
