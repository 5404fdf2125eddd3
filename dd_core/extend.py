"""Everything that custom kinds need: `from dd_core.extend import Column, RowColumn, ...`.

There are five families of kinds. A kind is a subclass of its family's base class that declares the
family's tag as a `Literal` with a single value. Declaring the class registers the kind.

| family | base class | tag | to implement |
|---|---|---|---|
| columns | `Column` | `column_type` | `bind`, which returns one of the four generators |
| samplers | `SamplerParams` | `sampler_type` | `draw` |
| seed sources | `SeedSource` | `seed_type` | `open`, which returns a `SeedTable` |
| validators | `ValidatorParams` | `validator_type` | `bind`, which returns a `Validator` |
| processors | `ProcessorConfig` | `processor_type` | one or more of the stages |

The four generators of columns are `WholeColumn`, `RowColumn`, `CellColumn` and `GroupColumn`.
docs/own-kinds.md has an example, and describes how to make kinds available to YAML and to workers.
"""

from __future__ import annotations

from dd_core.declaration.kind import Declaration
from dd_core.errors import Problem, SeedDatasetError
from dd_core.kinds.columns.column import Binding, Column, SkipConfig
from dd_core.kinds.draws import Draws
from dd_core.kinds.generators import CellColumn, GroupColumn, Row, RowColumn, WholeColumn
from dd_core.kinds.processors.processor import ProcessorConfig, Tables
from dd_core.kinds.samplers._scalar import RoundedSampler, ScalarSampler
from dd_core.kinds.samplers.sampler import SamplerParams, Siblings, Support
from dd_core.kinds.scope import Scope, check_template, find_references, report_unknown
from dd_core.kinds.seeds._reader import (
    FileSystemSeedReader,
    SeedReader,
    SeedReaderFileSystemContext,
)
from dd_core.kinds.seeds._table import ArrowSeedTable
from dd_core.kinds.seeds.seed import SeedSource, SeedTable
from dd_core.kinds.statistics import ColumnStatistics, ColumnView
from dd_core.kinds.validators.validator import Validator, ValidatorParams, Verdict
from dd_core.models.admission.slot import RequestSlot
from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch, NumberedRow
from dd_core.templates.template import Condition, Template

__all__ = [
    "ArrowSeedTable",
    "Batch",
    "Binding",
    "CellColumn",
    "Column",
    "ColumnStatistics",
    "ColumnView",
    "Condition",
    "Declaration",
    "Draws",
    "FileSystemSeedReader",
    "GroupColumn",
    "NumberedRow",
    "Problem",
    "ProcessorConfig",
    "RequestSlot",
    "RoundedSampler",
    "Row",
    "RowColumn",
    "SamplerParams",
    "ScalarSampler",
    "Scope",
    "SeedDatasetError",
    "SeedReader",
    "SeedReaderFileSystemContext",
    "SeedSource",
    "SeedTable",
    "Siblings",
    "SkipConfig",
    "Support",
    "Tables",
    "Template",
    "Validator",
    "ValidatorParams",
    "Values",
    "Verdict",
    "WholeColumn",
    "check_template",
    "find_references",
    "report_unknown",
]
