"""Chooses the directory of a run, existing or new, and finds the finished cells to reuse."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path

from dd_core.errors import (
    ArtifactStorageError,
    DatasetInUseError,
    InvalidConfigError,
    convert_errors,
)
from dd_core.storage.access.ownership import DatasetOwnership
from dd_core.storage.batch import Batch
from dd_core.storage.directory import (
    JOURNAL,
    ROWS_FOLDER,
    VERSIONS,
    DatasetDirectory,
)
from dd_core.storage.files.inventory import Damage
from dd_core.storage.files.metadata import METADATA
from dd_core.storage.journal import JournalledCells, merge_cells, read_cells
from dd_core.storage.location import Location

_logger = logging.getLogger(__name__)

_DIFFERENT = {
    "config_hash": "it was generated from a different configuration",
    "plan_hash": "its seed data or the code that it uses has changed",
}


class ResumeMode(StrEnum):
    """What to do if the dataset directory already exists."""

    NEVER = "never"
    ALWAYS = "always"
    IF_POSSIBLE = "if_possible"


def parse_resume(given: ResumeMode | str) -> ResumeMode:
    """Return the mode with this name; raises `InvalidConfigError` if there is none."""
    with convert_errors(InvalidConfigError, "resume cannot be used"):
        return ResumeMode(given)


def choose_directory(
    placed: DatasetDirectory, mode: ResumeMode, seed: int | None, hashes: Mapping[str, str]
) -> DatasetDirectory:
    """Return the directory itself, or a new one next to it, depending on the resume mode.

    `hashes` must match those in the metadata, if present. A new directory that is started because
    they differ gets the seed of the existing one, so that unchanged columns keep their values. The
    directory of a version is always continued.
    """
    if placed.version is not None:
        _require_no_unversioned_rows(placed)
        mode = ResumeMode.ALWAYS if placed.has_content else ResumeMode.NEVER
    if mode is ResumeMode.ALWAYS and not placed.has_content:
        raise ArtifactStorageError(
            f"there is nothing to resume in {placed.path}; use resume='if_possible' or 'never'"
        )
    if not placed.has_content:
        return placed
    if mode is ResumeMode.NEVER:
        return placed.beside()
    obstacle = _obstacle(placed, seed, hashes)
    if obstacle is None:
        return placed
    if mode is ResumeMode.ALWAYS:
        raise ArtifactStorageError(
            f"{placed.path} cannot be resumed: {obstacle}; {_alternative(placed)}"
        )
    beside = placed.beside()
    if placed.seed is not None:
        beside.metadata.set(seed=placed.seed, begun_beside=placed.path.name)
    return beside


def replace_hashes(directory: DatasetDirectory, config_hash: str, plan_hash: str) -> None:
    """Let a dataset continue under other hashes, which the caller knows to mean the same rows.

    They differ if the files of the seed dataset were moved, or if further rows were added to it.
    """
    known = directory.metadata
    if (known.config_hash, known.plan_hash) == (config_hash, plan_hash):
        return
    earlier = [each for each in (*known.earlier_plan_hashes, known.plan_hash) if each]
    directory.write_metadata(
        config_hash=config_hash,
        plan_hash=plan_hash,
        earlier_plan_hashes=[each for each in dict.fromkeys(earlier) if each != plan_hash],
    )


@asynccontextmanager
async def acquire_directory(
    choose: Callable[[], DatasetDirectory], wait: float, flow_run: str | None, *, is_new: bool
) -> AsyncGenerator[DatasetDirectory]:
    """Own the directory that `choose` returns, for the block.

    The other process that has it may change the dataset while this one waits for `wait` seconds.
    Therefore, the directory is chosen once more after it was acquired. If `is_new`, the dataset
    must be new, so this process does not wait for a directory, but creates one next to it.
    """
    directory = choose()
    while True:
        ownership = DatasetOwnership(directory.path, flow_run)
        try:
            await ownership.acquire(0.0 if is_new else wait)
            chosen = choose()
            if chosen.path != directory.path:
                if chosen.has_content or DatasetDirectory(directory.path).has_content:
                    ownership.release()
                    directory = chosen
                    continue
                chosen = directory  # both are new
        except DatasetInUseError:
            ownership.release()
            if not is_new:
                raise
            directory = directory.beside()
        except BaseException:
            ownership.release()
            raise
        else:
            break
    chosen.ownership = ownership
    try:
        yield chosen
    finally:
        ownership.release()


def find_kept_cells(
    directory: DatasetDirectory, batch: Batch, fingerprints: Collection[str]
) -> JournalledCells:
    """Find the finished cells of a batch's rows in journals.

    A dataset that was started next to others because the configuration had changed also reuses the
    cells of the others. `fingerprints` are those of the columns whose values may be shared between
    datasets.
    """
    found = read_cells(directory.path / JOURNAL, batch)
    for folder in _folders_beside(directory):
        others = read_cells(folder / JOURNAL, batch)
        shared = {key: others[key] for key in others if key in fingerprints}
        found = merge_cells(found, shared)
    if directory.find_reusable is not None:
        found = merge_cells(found, directory.find_reusable(batch))
    return found


def _folders_beside(directory: DatasetDirectory) -> list[Location]:
    base, path = directory.metadata.begun_beside, directory.path
    if base is None:
        return []
    # The original and all datasets next to it, whose names are the original's with a timestamp.
    names = [each.name for each in path.parent.iterdir() if each.name != path.name]
    return [path.parent / name for name in names if f"{name}_".startswith(f"{base}_")]


def set_damaged_aside(directory: DatasetDirectory) -> None:
    """Prepare a dataset for a run that generates again what is lost; warns about each file.

    On disk, the content of all parts is compared with their checksums. In object storage, that
    would be a download of the whole dataset, so only footers are read.
    """
    folder = directory.parts_folder
    parts = directory.find_damage(folder, reads_all=isinstance(directory.path, Path))
    made = [] if directory.holds_parts else directory.find_damage(ROWS_FOLDER)
    for damage in parts:
        rows = f"{damage.rows:,} rows are generated again" if damage.rows else "it is set aside"
        _logger.warning("%s: %s; %s", directory.path, damage, rows)
    for damage in made:
        _logger.warning("%s: %s; it is made again from the rows", directory.path, damage)
    if made:
        directory.metadata.set(processed={})
    directory.lost = [*parts, *made]
    if parts:
        directory.set_aside(each.path for each in parts)


def set_lost_aside(directory: DatasetDirectory, lost: Sequence[Damage]) -> set[int]:
    """Move damaged files out of the way; returns the indexes of the batches to generate again.

    The table of a processor, or that of dropped columns, is made from the rows of its batch, which
    therefore is generated again as a whole.
    """
    indexes: set[int] = set()
    for damage in lost:
        name, is_part = damage.path.name, damage.path.parent.name == directory.parts_folder
        if damage.path.parent.name == ROWS_FOLDER and not directory.holds_parts:
            directory.metadata.set(processed={})
            continue
        directory.set_aside([damage.path])
        if not damage.is_extra:
            indexes.add(int(damage.path.stem.removeprefix("batch_")))
            if not is_part:
                directory.set_aside([directory.path / directory.parts_folder / name])
    return indexes


def require_room_for(directory: DatasetDirectory, num_records: int) -> None:
    """Raise if an earlier run of the dataset requested more rows than this one."""
    target = directory.metadata.target_num_records
    if num_records < target:
        raise ArtifactStorageError(
            f"{directory.path} was started with num_records={target}; request at least as many, "
            f"or {_alternative(directory)}"
        )


def _alternative(directory: DatasetDirectory) -> str:
    if directory.version is not None:
        return "choose another version, or remove this one"
    return "use resume='never' for a new dataset"


def _require_no_unversioned_rows(version: DatasetDirectory) -> None:
    dataset = version.dataset_path
    if (dataset / METADATA).exists():
        raise ArtifactStorageError(
            f"{dataset} holds a dataset without versions; choose another dataset_name, "
            "or move the existing dataset"
        )


def _obstacle(
    directory: DatasetDirectory, seed: int | None, hashes: Mapping[str, str]
) -> str | None:
    if (directory.path / VERSIONS).is_dir():
        return "it has versions, so specify one"
    for name, value in hashes.items():
        if getattr(directory.metadata, name) not in (None, value):
            return _DIFFERENT[name]
    if seed is not None and directory.seed is not None and seed != directory.seed:
        return f"it was started with seed {directory.seed}"
    return None
