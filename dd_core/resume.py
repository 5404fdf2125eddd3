"""Which directory a run works in, the one that is there or a fresh one, and what it takes over."""

from __future__ import annotations

from collections.abc import Mapping

from dd_core.column import Batch
from dd_core.errors import ArtifactStorageError
from dd_core.journal import JournalledCells, cells_in, merged
from dd_core.location import Location
from dd_core.plan import Plan
from dd_core.run_config import ResumeMode
from dd_core.storage import JOURNAL, METADATA, VERSIONS, DatasetDirectory

_BEGUN_BESIDE = "begun_beside"
"""In the metadata, the dataset that could not be continued because something had changed."""
_DIFFERENT = {
    "config_hash": "it was generated from another configuration",
    "plan_hash": "its seed data or code that it uses has changed since",
}


def chosen(
    placed: DatasetDirectory, mode: ResumeMode, seed: int | None, hashes: Mapping[str, str]
) -> DatasetDirectory:
    """The directory itself, or a fresh one beside it, as the resume mode asks.

    `hashes` must be what the metadata says, if they say it. A directory that is begun because they
    differ has this one's seed, so that columns that are the same have the same values.
    A version has its place, so it is always continued.
    """
    if placed.version is not None:
        _require_no_rows_above(placed)
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
            f"{placed.path} cannot be resumed: {obstacle}; {_way_out(placed)}"
        )
    beside = placed.beside()
    if placed.seed is not None:
        beside.metadata |= {"seed": placed.seed, _BEGUN_BESIDE: placed.path.name}
    return beside


def kept_cells(directory: DatasetDirectory, batch: Batch, plan: Plan) -> JournalledCells:
    """Finished cells of a batch's rows in a dataset's journals.

    A dataset that was begun beside others, because the configuration had changed, has those of the
    others too: columns that are the same are known by their fingerprint.
    """
    found = cells_in(directory.path / JOURNAL, batch)
    columns = plan.columns.values()
    lasting = {each.fingerprint for each in columns if not each.column.writes_files}
    for folder in _folders_beside(directory):
        others = cells_in(folder / JOURNAL, batch)
        found = merged(found, {key: others[key] for key in lasting & others.keys()})
    return found


def _folders_beside(directory: DatasetDirectory) -> list[Location]:
    base, path = directory.metadata.get(_BEGUN_BESIDE), directory.path
    if base is None:
        return []
    names = [each.name for each in path.parent.iterdir() if each.name != path.name]
    return [path.parent / name for name in names if f"{name}_".startswith(f"{base}_")]


def require_room_for(directory: DatasetDirectory, num_records: int) -> None:
    """Raise when the dataset already has or wants more rows than asked for."""
    target = directory.metadata.get("target_num_records", 0)
    if num_records < target:
        raise ArtifactStorageError(
            f"{directory.path} was begun with num_records={target}; ask for at least as many, "
            f"or {_way_out(directory)}"
        )


def _way_out(directory: DatasetDirectory) -> str:
    if directory.version is not None:
        return "name another version, or remove this one"
    return "use resume='never' for a new dataset"


def _require_no_rows_above(version: DatasetDirectory) -> None:
    dataset = version.path.parent.parent
    if (dataset / METADATA).exists():
        raise ArtifactStorageError(
            f"{dataset} holds a dataset without versions; choose another dataset_name, "
            "or move it away"
        )


def _obstacle(
    directory: DatasetDirectory, seed: int | None, hashes: Mapping[str, str]
) -> str | None:
    if (directory.path / VERSIONS).is_dir():
        return "it holds versions, so name one"
    for name, value in hashes.items():
        if directory.metadata.get(name, value) != value:
            return _DIFFERENT[name]
    if seed is not None and directory.seed is not None and seed != directory.seed:
        return f"it was begun with seed {directory.seed}"
    return None
