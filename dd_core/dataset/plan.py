"""The plan of a run: a checked configuration with ordered columns, fingerprints, models and seed.

`dd_core/dataset/compile.py` compiles plans.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_core.dataset.config import DataDesignerConfig, encode_canonical
from dd_core.dataset.planning.acceptance import AcceptedRows
from dd_core.dataset.planning.repeat import list_rounds_columns
from dd_core.dataset.run_config import RunConfig
from dd_core.errors import Problem
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import Generator
from dd_core.kinds.processors.processor import ProcessorConfig, select_stage
from dd_core.kinds.seeds.seed import SeedRows, SeedTable
from dd_core.models.config import ModelConfig, Price
from dd_core.models.conversation import ConversationLimits
from dd_core.models.model import Model
from dd_core.models.probe import Probe
from dd_core.models.tools.config import ToolConfig
from dd_core.models.tools.toolbox import Toolbox
from dd_core.storage.arrow import ColumnTypes
from dd_core.storage.batch import Batch
from dd_core.storage.files.stored_files import GENERATED_FOLDER, ROWS_FOLDER
from dd_core.storage.journal import TurnJournal
from dd_core.storage.location import Location

_FINGERPRINT_LENGTH = 16


@dataclass(frozen=True)
class PlannedColumn:
    """A column with its position in the dependency graph."""

    column: Column
    owner: str
    """The declared column for which it is generated: its own name, unless it is hidden."""
    reads: tuple[str, ...]
    """Names whose values the column needs, including side-effect columns of other columns."""
    producers: tuple[str, ...]
    """Columns that must be finished in a row before this one, for its values or for `skip.when`."""
    required: tuple[str, ...]
    """The producers whose skipped cells cause this column's cells to be skipped."""
    fingerprint: str
    rank: int
    """Number of model cells on the longest path from this column to the end of a row, inclusive."""
    gate: str | None = None
    """Column that must be true in a row, or this column skips the row; None if there is none."""

    @property
    def name(self) -> str:
        return self.column.name

    @cached_property  # every cell needs it
    def outputs(self) -> tuple[str, ...]:
        """Names that the column produces: its own and those of its side-effect columns."""
        return (self.column.name, *self.column.side_effect_columns)


@dataclass(frozen=True)
class Plan:
    """A checked configuration, ready to run."""

    config: DataDesignerConfig
    """The configuration, with a `seed-dataset` column added for each column of the seed dataset."""
    columns: Mapping[str, PlannedColumn]
    """Columns by name, each after the columns that it needs, including hidden ones."""
    models: tuple[ModelConfig, ...]
    """The models that columns and profilers use, and their fallbacks."""
    seed: int
    warnings: tuple[Problem, ...]
    seed_table: SeedTable | None = None
    tools: tuple[ToolConfig, ...] = ()
    """All tool configurations. Custom columns may use any of them."""

    @property
    def shown_columns(self) -> list[Column]:
        """The columns of the configuration, and those with numbers of rounds."""
        counts = list_rounds_columns(self.config.repeats)
        return [*self.config.columns, *(self.columns[name].column for name in counts)]

    @property
    def visible_columns(self) -> list[str]:
        """Names of the columns that progress and Prefect show."""
        return [name for name, each in self.columns.items() if not each.column.is_internal]

    @property
    def output_columns(self) -> list[str]:
        """Names in the dataset, in the order of declaration.

        Side-effect columns follow the column that produces them.
        """
        return [
            name
            for column in self.shown_columns
            if not column.drop
            for name in (column.name, *column.side_effect_columns)
            if not any(processor.drops(name) for processor in self.config.processors or ())
        ]

    @property
    def stored_columns(self) -> list[str]:
        """The output columns, and dropped columns that processors of the dataset still need."""
        late = self.list_late_processors(None)
        shown = self.output_columns
        needed = {name for processor in late for name in processor.reads} - {*shown}
        return shown + [
            name for planned in self.columns.values() for name in planned.outputs if name in needed
        ]

    @property
    def dropped_columns(self) -> list[str]:
        """Names of columns that are generated but left out of the dataset."""
        return [column.name for column in self.config.columns if column.drop]

    @cached_property
    def types(self) -> ColumnTypes:
        """The types that the columns declare."""
        declared: dict[str, Any] = {}
        for planned in self.columns.values():
            declared |= planned.column.arrow_types(self.seed_table)
        return ColumnTypes(declared)

    @property
    def prices(self) -> dict[str, Price | None]:
        """Prices by model alias; None if the price is unknown."""
        return {model.alias: model.price for model in self.models}

    @property
    def requests_per_row(self) -> dict[str, int]:
        """The most requests to models that a row takes, by declared column, where it is known.

        A row takes fewer if cells are skipped, for example in rounds or turns that are not needed.
        """
        found: dict[str, int] = {}
        for planned in self.columns.values():
            if count := planned.column.count_requests():
                found[planned.owner] = found.get(planned.owner, 0) + count
        return found

    @cached_property
    def probes(self) -> dict[str, list[Probe | None]]:
        """The requests that check each model, by alias; None stands for the usual one."""
        found: dict[str, list[Probe | None]] = {}
        for planned in self.columns.values():
            probe = planned.column.get_probe()
            for alias in planned.column.get_model_aliases():
                known = found.setdefault(alias, [])
                if probe not in known:
                    known.append(probe)
        fallbacks = {model.fallback: found.get(model.alias) for model in self.models}
        return {name: probes for name, probes in fallbacks.items() if name and probes} | found

    def find_keys(self, batch: Batch) -> NDArray[np.int64] | None:
        """The keys of a batch's rows; None if they have none, so that their places count."""
        table = self.seed_table
        return None if table is None else table.keys(batch.start, batch.stop)

    @property
    def tool_aliases(self) -> list[str]:
        """Aliases of the tools that columns declare, sorted."""
        columns = self.columns.values()
        return sorted({alias for each in columns for alias in each.column.get_tool_aliases()})

    @property
    def shareable_fingerprints(self) -> set[str]:
        """Fingerprints of the columns whose values other datasets can reuse."""
        columns = self.columns.values()
        return {each.fingerprint for each in columns if not self.is_private(each)}

    def is_private(self, planned: PlannedColumn) -> bool:
        """Whether the values of a column are of no use to other datasets.

        They are names of files of this dataset, or the rows that they were generated from arrived
        from other stages and are not part of the fingerprint.
        """
        table = self.seed_table
        return planned.column.writes_files or (table is not None and table.has_keys)

    @property
    def parts_folder(self) -> str:
        """Folder of the parts: that of the rows, unless processors compute rows from the parts."""
        return GENERATED_FOLDER if self.list_late_processors(None) else ROWS_FOLDER

    def list_late_processors(self, num_records: int | None) -> list[ProcessorConfig]:
        """The processors that compute the rows from the parts, given the number of rows requested.

        If there is a condition for accepted rows, the first one chooses among them.
        """
        late = select_stage(self.config.processors, "after_generation")
        accept = self.config.accept
        return [AcceptedRows(wanted=num_records, per=accept.per), *late] if accept else late

    @property
    def fingerprint(self) -> str:
        """Hash of all columns, of the selection that is stored, and of `after_batch` processors."""
        parts = [planned.fingerprint for planned in self.columns.values()]
        processors = select_stage(self.config.processors, "after_batch")
        content = [each.identity() for each in processors]
        return digest([sorted(parts), self.stored_columns, *content])

    def hash_processing(self, num_records: int) -> str:
        """Hash of the processors of the whole dataset and of the files that they read."""
        return digest([each.identity() for each in self.list_late_processors(num_records)])

    def bind(
        self,
        models: Mapping[str, Model],
        run_config: RunConfig,
        folder: Location | None = None,
        *,
        toolboxes: Mapping[str, Toolbox],
        turns: TurnJournal,
    ) -> dict[str, Generator]:
        """Create the generator of each column; `folder` is the dataset's, or None in a preview."""
        seed_rows = None
        if self.seed_table is not None and self.config.seed_config is not None:
            seed_rows = SeedRows(self.config.seed_config, self.seed_table, self.seed)
        binding = Binding(
            seed=self.seed,
            rendering=run_config.jinja_rendering_engine.value,
            conversation=ConversationLimits(
                restarts=run_config.max_conversation_restarts,
                corrections=run_config.max_conversation_correction_steps,
            ),
            max_calls=run_config.max_in_flight_tasks,
            threads=run_config.non_inference_max_parallel_workers,
            models=models,
            toolboxes=toolboxes,
            turns=turns,
            constraints=self.config.constraints or (),
            seed_rows=seed_rows,
            columns={name: planned.column for name, planned in self.columns.items()},
            folder=folder,
        )
        return {name: planned.column.bind(binding) for name, planned in self.columns.items()}


def digest(content: Any) -> str:
    """A short hash; equal content gives equal hashes."""
    return hashlib.sha256(encode_canonical(content)).hexdigest()[:_FINGERPRINT_LENGTH]
