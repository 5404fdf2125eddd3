"""The contract of a generator: how the values of a column are produced.

`Column.bind` returns one of four generators. Choose by how the values are produced:

- `WholeColumn` produces all values of a batch in one call, for example by drawing them.
- `RowColumn` computes the values of any set of rows.
- `CellColumn` produces one cell at a time by awaiting something, usually a model.
- `GroupColumn` produces groups of rows by awaiting something, such as a server or a thread.

One generator serves all batches of a run. Batches run concurrently, and the engine may call
`WholeColumn` and `RowColumn` from several threads at the same time. A value must therefore depend
only on the arguments of the call, never on earlier calls.

If a cell fails, the class of the error decides what happens (see `dd_core/errors.py`): a `fatal`
error stops the run, a `retryable` one causes another attempt later, and any other exception drops
the row.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch

if TYPE_CHECKING:
    from dd_core.models.admission.slot import RequestSlot
    from dd_core.models.model import Model


Row: TypeAlias = Mapping[str, Any]
"""Values of one row by column name. It contains only the columns that the column requires.

The engine passes a `NumberedRow`. Pass it on to `Template.render` as it is: what a template chooses
at random depends on the seed, the column and the row in it.
"""


class WholeColumn(ABC):
    """Generates all values of a batch in one call, once its inputs are complete."""

    seconds_per_row: float = math.inf
    """Seconds per row that the last call took. The engine measures it to decide whether the next
    call needs a thread."""

    @abstractmethod
    def generate(self, batch: Batch, inputs: Mapping[str, Values]) -> Values:
        """Return the values of all `batch.size` rows, in row order.

        `inputs` holds the required columns by name. The call runs in a worker thread unless the
        last one was very fast. An exception stops the run.
        """


class RowColumn(ABC):
    """Computes the values of any set of rows whose inputs are available."""

    is_repeatable: bool = True
    """Whether a row always gives the same value. Set it to False if a value depends on chance, time
    or anything else outside the row: values are then recorded in the journal like answers, and a
    resumed run takes them from there. Otherwise it computes them again."""
    has_side_effects: bool = False
    """Whether an entry holds the values of the column and of its side effects, by name, instead of
    the column's value alone."""

    @abstractmethod
    def generate(self, rows: Sequence[Row]) -> Sequence[Any]:
        """Return one value per row, in order; a mapping by name with `has_side_effects`.

        To report that a row failed, return an exception in place of its value. An exception that
        is raised stops the run. Many rows at once are computed in a worker thread.
        """


class CellColumn(ABC):
    """Generates one cell at a time by awaiting something, usually a model."""

    model: Model | None = None
    """Model whose request slots the cells queue for; None if the cells call no model."""

    @abstractmethod
    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """Return the values of the column and of its side effects for one row, by name.

        Runs on the event loop, so it must not block. `slot` is the cell's request slot, to be
        passed to the methods of `model`; it is None if `model` is None. An exception fails the
        cell.
        """


class GroupColumn(ABC):
    """Generates groups of rows by awaiting something, such as a server or a thread."""

    group_size: int | None = None
    """Maximum number of rows in a group. If None, all rows of a batch form one group, which starts
    once its inputs are complete."""
    max_parallel_groups: int = 4
    """Maximum number of groups per batch that run at the same time."""

    @abstractmethod
    async def generate(self, rows: Sequence[Row]) -> Sequence[Mapping[str, Any] | Exception]:
        """Return one entry per row, in order: the values of the column and its side effects.

        Runs on the event loop, so it must not block. `rows` contains no rows that were dropped or
        skipped. To report that a row failed, return an exception as its entry. An exception that
        is raised fails all rows of the group.
        """


Generator: TypeAlias = WholeColumn | RowColumn | CellColumn | GroupColumn
