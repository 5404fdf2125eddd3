"""A stage of a composite workflow, as it was declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dd_core.dataset.builder import DataDesignerConfigBuilder
from dd_core.dataset.config import DataDesignerConfig
from dd_core.declaration.kind import find_repeated
from dd_core.errors import ArtifactStorageError, DataDesignerWorkflowError
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.seeds.seed import (
    IndexRange,
    PartitionBlock,
    SamplingStrategy,
    SeedConfig,
    SeedSource,
)
from dd_core.storage.directory import require_folder_name
from dd_core.storage.location import Location

OnSuccess = Callable[[Any], "Path | str"]
"""Receives the folder of a stage's dataset, and returns a Parquet file or a folder of them."""
FINAL = "final"
PROCESSOR = "processor:"
PROCESSED = "output-processors"
"""Folder of a stage with the dataset that its output processors make."""


@dataclass(frozen=True)
class CompositeStage:
    """A dataset that is generated from the rows of the stage before."""

    index: int
    name: str
    upstream: str | None
    """The stage before; None in the first one."""
    config: DataDesignerConfig
    num_records: int | None
    on_success: OnSuccess | None
    on_success_version: str | None
    output_processors: tuple[ProcessorConfig, ...]
    output: str
    allow_empty: bool
    sampling_strategy: SamplingStrategy
    selection_strategy: IndexRange | PartitionBlock | None

    def __post_init__(self) -> None:
        """Raise `DataDesignerWorkflowError` if a field is not valid."""
        check_name("the stage name", self.name)
        place = f"stage {self.name!r}"
        if self.num_records is not None:
            if not isinstance(self.num_records, int) or isinstance(self.num_records, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DataDesignerWorkflowError(f"{place}: num_records must be an integer or None")
            if self.num_records < 1:
                raise DataDesignerWorkflowError(f"{place}: num_records must be at least 1")
        version: Any = self.on_success_version
        empty: Any = self.allow_empty
        if version is not None and not isinstance(version, str):
            raise DataDesignerWorkflowError(f"{place}: on_success_version must be a string or None")
        if not isinstance(empty, bool):
            raise DataDesignerWorkflowError(f"{place}: allow_empty must be a boolean")
        self._check_strategies(place)
        self._check_output(place)

    @property
    def folder(self) -> str:
        """Name of the folder of the stage's first dataset."""
        return f"stage-{self.index}-{self.name}"

    @property
    def output_processor(self) -> str | None:
        """The processor whose side dataset is the stage's output; None if there is none."""
        return self.output.removeprefix(PROCESSOR) if self.output != FINAL else None

    @property
    def is_output_made_later(self) -> bool:
        """Whether the output comes from the output processors rather than from the dataset."""
        names = [each.name for each in self.output_processors]
        return self.output_processor in names or (self.output == FINAL and bool(names))

    def describe(self) -> dict[str, Any]:
        """The fields of the stage's metadata that do not depend on a run."""
        chosen = self.selection_strategy
        return {
            "index": self.index,
            "name": self.name,
            "depends_on": [self.upstream] if self.upstream is not None else [],
            "allow_empty": self.allow_empty,
            "on_success_version": self.on_success_version,
            "output_processors": [each.model_dump(mode="json") for each in self.output_processors],
            "output": self.output,
            "sampling_strategy": self.sampling_strategy.value,
            "selection_strategy": chosen.model_dump(mode="json") if chosen is not None else None,
        }

    def seed_with(self, source: Location) -> DataDesignerConfig:
        """The configuration with the rows of a file, or of a folder of files, as its seed."""
        seed = SeedConfig(
            source=read_local_source(source),
            sampling_strategy=self.sampling_strategy,
            selection_strategy=self.selection_strategy,
        )
        return self.config.model_copy(update={"seed_config": seed})

    def configure_processing(self, source: Location) -> DataDesignerConfig:
        """The configuration of the dataset that the output processors make of a folder."""
        return DataDesignerConfig(
            columns=[],
            model_configs=self.config.model_configs,
            tool_configs=self.config.tool_configs,
            seed_config=SeedConfig(source=read_local_source(source)),
            processors=[*self.output_processors],
        )

    def _check_strategies(self, place: str) -> None:
        sampling: Any = self.sampling_strategy
        selection: Any = self.selection_strategy
        if not isinstance(sampling, SamplingStrategy):
            raise DataDesignerWorkflowError(
                f"{place}: sampling_strategy must be a SamplingStrategy, such as "
                "SamplingStrategy.ORDERED"
            )
        if selection is not None and not isinstance(selection, IndexRange | PartitionBlock):
            raise DataDesignerWorkflowError(
                f"{place}: selection_strategy must be an IndexRange or PartitionBlock, or None"
            )

    def _check_output(self, place: str) -> None:
        own = [each.name for each in self.config.processors or ()]
        added = [each.name for each in self.output_processors]
        if repeated := find_repeated(added):
            raise DataDesignerWorkflowError(
                f"{place}: names must be distinct within output_processors, but {repeated[0]!r} is "
                "used more than once; rename one"
            )
        if shared := sorted({*own} & {*added}):
            raise DataDesignerWorkflowError(
                f"{place}: names of output_processors must be distinct from those of the "
                f"configuration's processors; rename {shared[0]!r}"
            )
        if self.output == FINAL:
            return
        if not self.output.startswith(PROCESSOR):
            raise DataDesignerWorkflowError(
                f"{place}: output must be 'final' or 'processor:<name>', not {self.output!r}"
            )
        name = self.output.removeprefix(PROCESSOR)
        check_name("the processor in output", name)
        if name not in own + added:
            raise DataDesignerWorkflowError(
                f"{place}: output names the processor {name!r}, which is not configured on this "
                f"stage; its processors are {own + added}"
            )


def check_name(what: str, name: str) -> None:
    """Raise `DataDesignerWorkflowError` unless a folder can have this name."""
    given: Any = name
    if not isinstance(given, str):
        raise DataDesignerWorkflowError(f"{what} must be a string, not {given!r}")
    try:
        require_folder_name(what, given)
    except ArtifactStorageError as error:
        raise DataDesignerWorkflowError(str(error)) from None


def build_config(given: DataDesignerConfigBuilder | DataDesignerConfig) -> DataDesignerConfig:
    """A configuration that later changes of a builder do not affect."""
    return given.build() if isinstance(given, DataDesignerConfigBuilder) else given


def read_local_source(source: Location) -> SeedSource:
    """The seed source with the rows of a Parquet file or of a folder of such files."""
    path = source / "*.parquet" if source.is_dir() else source
    return SeedSource.read({"seed_type": "local", "path": str(path)})
