"""Checks everything that is stored of a dataset, and says what a repair costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from pydantic import ValidationError

from dd_core.dataset.config import DataDesignerConfig, read_stored_config
from dd_core.dataset.planning.graph import expand_columns
from dd_core.dataset.run_config import RunConfig
from dd_core.errors import ArtifactStorageError, DataDesignerError, DatasetDamagedError
from dd_core.models.wire.media import is_whole_image
from dd_core.storage.batch import Batch, Part
from dd_core.storage.directory import FAILED_FOLDER, JOURNAL, ROWS_FOLDER, DatasetDirectory
from dd_core.storage.files.inventory import Damage
from dd_core.storage.files.metadata import METADATA, DatasetMetadata, parse_metadata
from dd_core.storage.files.parquet import read_parquet
from dd_core.storage.journal import count_lines, list_segments, read_cells, remove_unreadable
from dd_core.storage.location import Location, read_content
from dd_core.storage.resume import set_lost_aside


@dataclass(frozen=True)
class RepairCost:
    """What a repair generates again."""

    rows: int = 0
    """Rows of the dataset."""
    cells: int = 0
    """Cells of these rows that models generate."""
    kept: int = 0
    """Answers for these cells that are still in journals."""

    def __str__(self) -> str:
        if not self.rows:
            return "no rows have to be generated again"
        return (
            f"{self.rows:,} rows have to be generated again: {self.cells:,} cells of models, "
            f"{self.kept:,} of which are still in journals"
        )


@dataclass(frozen=True)
class Verification:
    """The result of a check of everything that is stored of a dataset."""

    problems: Sequence[str]
    """One line each; empty if the dataset is what was written."""
    notes: Sequence[str]
    """What is not a problem but good to know, such as rows that were never generated."""
    lost: Sequence[Damage]
    """Files whose rows have to be generated again."""
    cost: RepairCost

    @property
    def is_intact(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def choose_repair_settings(known: DatasetMetadata, given: RunConfig) -> RunConfig:
    """The settings with which the rows of a dataset become what they were."""
    update = {
        "seed": known.seed,
        "gates": None,
        "buffer_size": known.buffer_size or given.buffer_size,
        "preserve_dropped_columns": known.preserve_dropped_columns is not False,
    }
    return given.model_copy(update=update)


def set_damage_aside(
    directory: DatasetDirectory, found: Verification, rows: int, buffer_size: int
) -> list[Batch]:
    """Move damaged files out of the way; returns the batches to generate again."""
    lost = set_lost_aside(directory, found.lost)
    for segment, _, _ in list_segments(directory.path / JOURNAL):
        remove_unreadable(segment)
    missing = directory.missing(rows, buffer_size)
    return [batch for batch in missing if batch.index in lost]


def verify_dataset(directory: DatasetDirectory) -> Verification:
    """Read everything that is stored of a dataset and compare it with what was recorded.

    Raises `ArtifactStorageError` if there is no dataset.
    """
    check = _Check(directory)
    problems = [
        *check.metadata_problems(),
        *check.config_problems(),
        *check.table_problems(),
        *check.count_problems(),
        *check.journal_problems(),
    ]
    return Verification(problems, [*check.notes()], check.lost, check.estimate_cost())


class _Check:
    """The checks of one dataset, and the damage that they found."""

    def __init__(self, directory: DatasetDirectory) -> None:
        self._directory = directory
        self._found = directory.inspect_all(*directory.list_folders())
        self._parts = {part.path.name: part for part in self._found[directory.parts_folder].parts}
        self._config: DataDesignerConfig | None = None
        self._has_damage = False
        self.lost: list[Damage] = []

    def metadata_problems(self) -> Iterator[str]:
        """What is wrong with `metadata.json`."""
        try:
            parse_metadata(read_content(self._directory.path / METADATA))
        except FileNotFoundError:
            yield f"{METADATA} is missing"
        except (ValueError, TypeError) as error:
            yield f"{METADATA} is damaged: {' '.join(str(error).split())}"

    def config_problems(self) -> Iterator[str]:
        """What is wrong with `builder_config.json`, and whether the dataset was made from it."""
        try:
            written: dict[str, Any] = self._directory.config()["data_designer"]
            self._config, missing = read_stored_config(written)
        except (DataDesignerError, ValidationError, KeyError) as error:
            yield f"builder_config.json cannot be read: {' '.join(str(error).split())}"
            return
        known, hashes = self._directory.metadata, self._config.fingerprint()
        seed: dict[str, Any] | None = written.get("seed_config")
        is_frame = seed is not None and seed["source"]["seed_type"] == "df"
        is_comparable = known.config_hash_version == hashes["config_hash_version"]
        # The rows of a DataFrame and code of scripts are not stored with the configuration.
        if not is_comparable or known.config_hash is None or is_frame or missing:
            return
        if known.config_hash != hashes["config_hash"]:
            yield "builder_config.json is not the configuration that the dataset was made from"

    def table_problems(self) -> Iterator[str]:
        """What is wrong with the Parquet files."""
        directory = self._directory
        for folder, found in self._found.items():
            inside = chain.from_iterable(
                self._read(directory.path / folder / name, folder) for name in found.files
            )
            for damage in chain(self._add_rows(folder, found.damage), inside):
                self._has_damage = True
                if folder != FAILED_FOLDER:
                    self.lost.append(damage)
                yield str(damage)

    def _read(self, path: Location, folder: str) -> Iterator[Damage]:
        """Read a file as a whole; yields what is wrong with it."""
        part = self._get_part(path.name, folder)
        try:
            table = read_parquet(path)
        except DatasetDamagedError as error:
            reason = str(error.__cause__ or "is damaged")
            yield self._describe(path, reason, part)
            return
        types = self._directory.metadata.column_types.get(folder)
        schema: Any = table.schema
        actual = {field.name: str(field.type) for field in schema}
        if types and self._directory.metadata.is_settled and actual != types:
            names = [name for name in {**types, **actual} if types.get(name) != actual.get(name)]
            yield self._describe(path, f"has other types than recorded in columns {names}", part)
        if folder == ROWS_FOLDER:
            for image in self._find_lost_images(table):
                yield self._describe(path, f"refers to {image}, which is missing or damaged", part)

    def _find_lost_images(self, table: Any) -> Iterator[str]:
        columns = [] if self._config is None else self._config.columns
        for column in columns:
            if column.kind != "image" or column.name not in table.column_names:
                continue
            for images in table.column(column.name).to_pylist():
                for image in images or ():
                    if not self._is_image(str(image)):
                        yield str(image)

    def _is_image(self, image: str) -> bool:
        with suppress(OSError):
            return is_whole_image(read_content(self._directory.path / image))
        return False

    def _add_rows(self, folder: str, damage: Sequence[Damage]) -> Iterator[Damage]:
        """Damage with the rows of the batch, where its own record does not say them."""
        for each in damage:
            part = self._get_part(each.path.name, folder)
            if each.start is None and part is not None and not each.is_extra:
                yield replace(each, start=part.start, stop=part.stop)
            else:
                yield each

    def _get_part(self, name: str, folder: str) -> Part | None:
        """The intact part that a file belongs to; none if processors made it from all parts."""
        is_made = folder == ROWS_FOLDER and not self._directory.holds_parts
        return None if is_made else self._parts.get(name)

    def _describe(self, path: Location, reason: str, part: Part | None) -> Damage:
        """Damage with the rows of the batch that the file belongs to."""
        if part is None:
            return Damage(path, reason)
        return Damage(path, reason, part.start, part.stop)

    def count_problems(self) -> Iterator[str]:
        """Whether the number of rows is the recorded one; a damaged file explains another one."""
        rows, known = self._found[ROWS_FOLDER].count_rows(), self._directory.metadata
        if self._has_damage or not known.is_settled or known.actual_num_records is None:
            return
        if rows != known.actual_num_records:
            yield f"there are {rows:,} rows, but {known.actual_num_records:,} were recorded"

    def journal_problems(self) -> Iterator[str]:
        """Lines of journals that cannot be read."""
        for segment, _, _ in list_segments(self._directory.path / JOURNAL):
            readable, unreadable = count_lines(segment)
            if unreadable:
                total = readable + unreadable
                yield f"{JOURNAL}/{segment.name}: {unreadable} of {total} lines are unreadable"

    def notes(self) -> Iterator[str]:
        """Rows that no run has come to yet."""
        known = self._directory.metadata
        parts = self._parts.values()
        open_rows = sum(
            part.stop - part.start - part.rows - len(part.dropped) - len(part.rejected)
            for part in parts
            if not part.complete
        )
        lost = sum(damage.rows for damage in self._list_lost_parts())
        covered = sum(part.stop - part.start for part in parts) + lost
        open_rows += max(0, known.target_num_records - covered)
        if open_rows:
            yield f"{open_rows:,} rows are not in files: they all failed, or the run was stopped"

    def _list_lost_parts(self) -> list[Damage]:
        """The damage of which the rows have to be generated again, once for each range of rows."""
        found = {damage.start: damage for damage in self.lost if damage.start is not None}
        return [*found.values()]

    def estimate_cost(self) -> RepairCost:
        """What generating the lost rows again costs."""
        columns = [] if self._config is None else self._config.columns
        parts = [part for parts in expand_columns(columns).values() for part in parts]
        asking = [part.name for part in parts if part.get_model_aliases()]
        known = self._directory.metadata.column_fingerprints
        fingerprints = {known[name] for name in asking if name in known}
        rows = kept = 0
        for damage in self._list_lost_parts():
            batch = Batch(0, damage.start or 0, damage.rows)
            rows += damage.rows
            cells = read_cells(self._directory.path / JOURNAL, batch)
            kept += sum(len(cells.get(fingerprint, {})) for fingerprint in fingerprints)
        return RepairCost(rows, rows * len(asking), kept)


def require_dataset(directory: DatasetDirectory) -> None:
    """Raise `ArtifactStorageError` if there is no dataset in a directory."""
    if not directory.has_content:
        raise ArtifactStorageError(f"there is no dataset in {directory.path}")
