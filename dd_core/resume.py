"""Which directory a run works in: the one that is there already, or a fresh one."""

from __future__ import annotations

from dd_core.errors import ArtifactStorageError
from dd_core.run_config import ResumeMode
from dd_core.storage import METADATA, VERSIONS, DatasetDirectory


def chosen(
    placed: DatasetDirectory, mode: ResumeMode, config_hash: str, seed: int | None
) -> DatasetDirectory:
    """The directory itself, or a fresh one beside it, as the resume mode asks.

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
    obstacle = _obstacle(placed, config_hash, seed)
    if obstacle is None:
        return placed
    if mode is ResumeMode.ALWAYS:
        raise ArtifactStorageError(
            f"{placed.path} cannot be resumed: {obstacle}; {_way_out(placed)}"
        )
    return placed.beside()


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


def _obstacle(directory: DatasetDirectory, config_hash: str, seed: int | None) -> str | None:
    if (directory.path / VERSIONS).is_dir():
        return "it holds versions, so name one"
    stored = directory.metadata.get("config_hash")
    if stored is not None and stored != config_hash:
        return "it was generated from another configuration"
    if seed is not None and directory.seed is not None and seed != directory.seed:
        return f"it was begun with seed {directory.seed}"
    return None
