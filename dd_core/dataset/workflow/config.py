"""The declaration of a workflow: stages that generate datasets from the rows of other stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from dd_core.dataset.config import BuilderConfig, DataDesignerConfig, Exportable
from dd_core.dataset.files import find_config_problems, load_config
from dd_core.dataset.run_config import RunConfig
from dd_core.dataset.source import is_address, read_mapping
from dd_core.dataset.workflow.steps import AnyStep, JoinStep, UnionStep
from dd_core.declaration.kind import Declaration, find_repeated
from dd_core.declaration.loading import ensure_loaded
from dd_core.errors import ArtifactStorageError, InvalidConfigError, Problem, convert_errors
from dd_core.storage.directory import require_folder_name

_SHARED = ("model_configs", "tool_configs")


class WorkflowStage(Declaration):
    """A dataset within a workflow."""

    model_config = ConfigDict(populate_by_name=True)

    name: str
    """Name of the stage and of its folder."""
    config: DataDesignerConfig
    """Configuration of the stage's dataset, or the path of a file that contains it, relative to the
    workflow's file."""
    from_: list[str] = Field(default_factory=list[str], alias="from")
    """Stages whose rows are the seed dataset of this one; default: none. With several stages, the
    first step is `join` or `union`."""
    steps: list[AnyStep] = Field(default_factory=list[AnyStep])
    """What happens to these rows before the stage uses them, in this order."""
    num_records: int | None = Field(default=None, ge=1)
    """Number of rows; default: one for each row that arrives, or 10 in a stage without `from`. If
    fewer rows arrive, they are used again from the first one; if more arrive, the first are used.
    """
    run_config: RunConfig | None = None
    """Settings of the stage's run; default: those of the workflow's run."""
    allow_empty: bool = False
    """Whether the stage may end without rows. Otherwise, that is an error."""
    review: bool = False
    """Whether a person reviews the rows before other stages use them."""

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, given: str) -> str:
        try:
            require_folder_name("the name of the stage", given)
        except ArtifactStorageError as error:
            raise ValueError(str(error)) from None
        return given

    @field_validator("from_", mode="before")
    @classmethod
    def _is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _has_rows_to_change(self) -> Self:
        merges = [isinstance(step, JoinStep | UnionStep) for step in self.steps]
        if self.steps and not self.from_:
            raise ValueError("steps change the rows of other stages; name them in from")
        if len(self.from_) > 1 and not merges[:1] == [True]:
            raise ValueError(
                "from names several stages, so the first of the steps must be join or union"
            )
        if any(merges[1:]) or (merges[:1] == [True] and len(self.from_) < 2):
            raise ValueError("join and union can only be the first step, with several stages")
        if repeated := find_repeated(self.from_):
            raise ValueError(f"from lists {repeated[0]!r} more than once; list it once")
        if self.from_ and self.config.seed_config is not None:
            raise ValueError(
                "the rows of other stages are its seed dataset; remove seed_config or from"
            )
        return self


class WorkflowConfig(Exportable):
    """Stages whose datasets are generated together; see docs/workflows.md."""

    workflow: str
    """Name of the workflow and of its folder."""
    stages: list[WorkflowStage] = Field(min_length=1)
    """The stages. Each comes after those whose rows it uses."""

    @field_validator("workflow")
    @classmethod
    def _is_a_folder_name(cls, given: str) -> str:
        try:
            require_folder_name("the name of the workflow", given)
        except ArtifactStorageError as error:
            raise ValueError(str(error)) from None
        return given

    @model_validator(mode="after")
    def _comes_in_order(self) -> Self:
        known: list[str] = []
        for stage in self.stages:
            if stage.name in known:
                raise ValueError(f"more than one stage is named {stage.name!r}; rename one of them")
            if unknown := [name for name in stage.from_ if name not in known]:
                raise ValueError(
                    f"stage {stage.name!r} uses the rows of {unknown[0]!r}, but no stage before it "
                    f"has this name; known: {known}"
                )
            known.append(stage.name)
        return self

    @property
    def final_stages(self) -> list[str]:
        """The stages whose rows no other stage uses."""
        used = {name for stage in self.stages for name in stage.from_}
        return [stage.name for stage in self.stages if stage.name not in used]

    def resolve_paths(self) -> Self:
        """Return the workflow with absolute paths, for processes in other directories."""
        stages = [
            each.model_copy(update={"config": each.config.resolve_paths()}) for each in self.stages
        ]
        return self.model_copy(update={"stages": stages})


class WorkflowBuilder:
    """Builds a workflow stage by stage."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stages: list[WorkflowStage] = []

    def add_stage(
        self,
        name: str,
        config: Any,
        *,
        from_: str | list[str] | None = None,
        steps: list[AnyStep] | None = None,
        **fields: Any,
    ) -> Self:
        """Add a stage; `config` is a builder or a configuration. `fields` are those of a stage."""
        built = config.build() if hasattr(config, "build") else load_config(config)
        given = {"name": name, "config": built, "from": from_ or [], "steps": steps or [], **fields}
        with convert_errors(InvalidConfigError, f"stage {name!r} cannot be added"):
            self._stages.append(WorkflowStage.model_validate(given))
        return self

    def build(self) -> WorkflowConfig:
        """Return the workflow; raises `InvalidConfigError`."""
        with convert_errors(InvalidConfigError, "the workflow cannot be built"):
            return WorkflowConfig(workflow=self._name, stages=self._stages)


WorkflowSource = WorkflowConfig | WorkflowBuilder | Mapping[str, Any] | str | Path
"""A workflow, or the place where one is stored."""


def is_workflow(source: Mapping[str, Any]) -> bool:
    """Whether a mapping declares a workflow rather than a dataset."""
    return "stages" in source


def load_workflow(source: WorkflowSource) -> WorkflowConfig:
    """Load a workflow; raises `InvalidConfigError` with all problems.

    `source` is a workflow, a builder, a mapping, or the path of a YAML or JSON file or its text.
    Stages may inherit `model_configs` and `tool_configs` from the workflow.
    """
    if isinstance(source, WorkflowConfig):
        return source
    if isinstance(source, WorkflowBuilder):
        return source.build()
    if is_address(source):
        raise InvalidConfigError("a workflow is read from a local file; download and read it first")
    content = dict(read_mapping(source))
    if not is_workflow(content):
        raise InvalidConfigError("it has no `stages`; see docs/workflows.md for an example")
    folder = _find_folder(source)
    shared = {name: content.pop(name) for name in _SHARED if name in content}
    ensure_loaded()
    if isinstance(content["stages"], list):
        stages = cast("list[Any]", content["stages"])
        content["stages"] = [_complete_stage(stage, folder, shared) for stage in stages]
    try:
        return WorkflowConfig.model_validate(content)
    except ValidationError as error:
        raise InvalidConfigError(find_config_problems(error, content)) from None


def _find_folder(source: Any) -> Path:
    """The folder of a file; the working directory for text and mappings."""
    is_path = isinstance(source, Path) or (isinstance(source, str) and "\n" not in source)
    return Path(source).parent if is_path else Path()


def _complete_stage(given: Any, folder: Path, shared: Mapping[str, Any]) -> Any:
    """A stage with its configuration, which a file or the stage itself may contain."""
    if not isinstance(given, Mapping):
        return given
    stage: dict[str, Any] = dict(cast("Mapping[str, Any]", given))
    config: Any = stage.get("config")
    if isinstance(config, str):
        try:
            config = read_mapping(folder / config)
        except InvalidConfigError as error:
            where = f"stages.{stage.get('name')}.config"
            problems = [Problem(where, each.message) for each in error.problems]
            raise InvalidConfigError(problems) from None
        config = dict(config.get("data_designer", config))
    elif config is None:
        fields = [name for name in DataDesignerConfig.model_fields if name in stage]
        config = {name: stage.pop(name) for name in fields}
    elif isinstance(config, BuilderConfig):
        config = config.data_designer
    if isinstance(config, dict):
        config = {"columns": [], **shared, **cast("dict[str, Any]", config)}
    return {**stage, "config": config}
