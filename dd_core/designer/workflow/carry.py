"""Reuses the rows of an earlier dataset of a stage when its input or its configuration changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dd_core.dataset.plan import Plan
from dd_core.dataset.workflow.steps import ADDRESS
from dd_core.designer.workflow.inputs import StageInput
from dd_core.errors import ArtifactStorageError
from dd_core.storage.batch import Batch
from dd_core.storage.directory import JOURNAL, DatasetDirectory
from dd_core.storage.files.parquet import read_parquet
from dd_core.storage.files.stored_files import DROPPED_FOLDER
from dd_core.storage.journal import JournalledCells, merge_cells, read_cells
from dd_core.storage.location import Location

Place = tuple[Location, int]
"""A file of an earlier dataset, and a row in it."""


class EarlierRows:
    """The rows of an earlier dataset of the stage, by address.

    A row is reused if the same values arrived for the same address. Of it, the values of those
    columns are reused whose declarations are the same.
    """

    def __init__(self, directory: DatasetDirectory, inputs: StageInput | None) -> None:
        self._directory = directory
        self._fingerprints = directory.metadata.column_fingerprints
        self._places: dict[str, Place] = {}
        self._hashes: dict[str, str] = {}
        self._rows: dict[str, int] = {}
        for part in directory.parts() if directory.has_content else ():
            if part.rows:
                table = read_parquet(part.path, [ADDRESS])
                for row, address in enumerate(table.column(ADDRESS).to_pylist()):
                    self._places[str(address)] = (part.path, row)
        for row, (address, known) in enumerate(inputs.identify_all() if inputs is not None else ()):
            self._hashes[address] = known
            self._rows[address] = row

    def find(self, plan: Plan, batch: Batch, inputs: StageInput | None) -> JournalledCells:
        """The cells of a batch that can be reused."""
        identified = (
            [(str(row), "") for row in range(batch.start, batch.stop)]
            if inputs is None
            else inputs.identify(batch.start, batch.stop)
        )
        same = {
            batch.start + row: address
            for row, (address, known) in enumerate(identified)
            if inputs is None or self._hashes.get(address) == known
        }
        return merge_cells(self._find_stored(plan, same), self._find_journalled(plan, same))

    def _find_stored(self, plan: Plan, rows: Mapping[int, str]) -> JournalledCells:
        names = [*self._list_reusable(plan)]
        cells: JournalledCells = {plan.columns[name].fingerprint: {} for name in names}
        outputs = {name: plan.columns[name].outputs for name in names}
        by_file: dict[Location, list[tuple[int, int]]] = {}
        for row, address in rows.items():
            if (place := self._places.get(address)) is not None:
                by_file.setdefault(place[0], []).append((row, place[1]))
        for path, places in by_file.items():
            columns = self._read(path)
            complete = [name for name in names if all(each in columns for each in outputs[name])]
            for row, index in places:
                for name in complete:
                    values = {each: columns[each][index] for each in outputs[name]}
                    cells[plan.columns[name].fingerprint][row] = values
                for each in plan.columns.values():
                    # What hidden columns were for is there, so nobody needs their values.
                    if each.owner in complete and each.owner != each.name:
                        none = dict.fromkeys(each.outputs)
                        cells.setdefault(each.fingerprint, {})[row] = none
        return cells

    def _list_reusable(self, plan: Plan) -> Iterator[str]:
        for name, planned in plan.columns.items():
            column = planned.column
            is_same = self._fingerprints.get(name) == planned.fingerprint
            if is_same and not column.is_drawn and not column.writes_files:
                yield name

    def _read(self, path: Location) -> dict[str, list[Any]]:
        """The columns of a part, those included that are not part of the dataset."""
        found: dict[str, list[Any]] = {}
        for each in (path, self._directory.path / DROPPED_FOLDER / path.name):
            try:
                table = read_parquet(each)
            except ArtifactStorageError:
                continue
            found |= {name: table.column(name).to_pylist() for name in table.column_names}
        return found

    def _find_journalled(self, plan: Plan, rows: Mapping[int, str]) -> JournalledCells:
        """Cells of rows that were not finished."""
        numbers = {
            (int(address) if not self._rows else self._rows[address]): row
            for row, address in rows.items()
            if not self._rows or address in self._rows
        }
        if not numbers or not (self._directory.path / JOURNAL).exists():
            return {}
        first, last = min(numbers), max(numbers)
        found = read_cells(self._directory.path / JOURNAL, Batch(0, first, last - first + 1))
        columns = plan.columns.values()
        shareable = {each.fingerprint for each in columns if not each.column.writes_files}
        return {
            fingerprint: {numbers[old]: values for old, values in cells.items() if old in numbers}
            for fingerprint, cells in found.items()
            if fingerprint in shareable
        }
