"""The content of `metadata.json`: what is known about a dataset in addition to its rows."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from dd_core.errors import ArtifactStorageError
from dd_core.storage.location import Location, read_content

_logger = logging.getLogger(__name__)

METADATA = "metadata.json"
"""Name of the file with a dataset's metadata."""
METADATA_COPY = "metadata.copy.json"
"""The metadata as of the start of the latest run, in case `metadata.json` is damaged."""

UsageCounts = dict[str, dict[str, dict[str, int | float]]]
"""Counts by model alias and column, as JSON."""


class FileRecord(BaseModel):
    """What is recorded about a Parquet file when a run has written it."""

    rows: int | None = None
    size: int | None = None
    """Bytes."""
    checksum: str | None = None
    """Checksum of the whole file; None if an earlier version wrote the file."""
    start: int | None = None
    """First row of the dataset that a part covers."""
    stop: int | None = None
    """The row after the last one that a part covers."""


class DatasetMetadata(BaseModel):
    """The content of a dataset's `metadata.json`.

    A field that was never set is not written. Keys that this version does not know, written by a
    newer one, survive reading and writing.
    """

    model_config = ConfigDict(extra="allow")

    # Origin
    dataset_name: str | None = None
    version: str | None = None
    """Name of the version, if the dataset has versions."""
    library_version: str | None = None
    started_at: str | None = None
    """Start of the latest run, ISO 8601 with time zone."""
    config_hash: str | None = None
    config_hash_algo: str | None = None
    config_hash_version: int | None = None
    plan_hash: str | None = None
    earlier_plan_hashes: list[str] = Field(default_factory=list)
    """Hashes of plans with which some of the rows were generated. They would be the same with the
    present one: rows have been added to the seed dataset since."""
    column_fingerprints: dict[str, str] = Field(default_factory=dict)
    """Fingerprints by column name."""
    models: dict[str, dict[str, str | None]] = Field(default_factory=dict)
    """Model id and provider by alias."""
    seed: int | None = None
    seed_source_hash: str | None = None
    begun_beside: str | None = None
    """Name of the existing dataset that could not be continued because something had changed."""

    # Size
    target_num_records: int = 0
    """Rows requested."""
    original_target_num_records: int = 0
    """Rows requested by the first run."""
    actual_num_records: int | None = None
    """Rows in the dataset, after processors."""
    generated_num_records: int = 0
    """Rows generated, before processors filtered them."""
    total_num_batches: int = 0
    num_completed_batches: int = 0
    buffer_size: int | None = None
    preserve_dropped_columns: bool | None = None
    parts_folder: str | None = None
    """Folder of the parts."""
    file_paths: dict[str, list[str]] = Field(default_factory=dict)
    files: dict[str, dict[str, FileRecord]] = Field(default_factory=dict)
    """The Parquet files of the dataset by folder and name."""
    is_settled: bool | None = None
    """Whether no run is in progress or was killed, so that `files` lists exactly what is there."""
    column_types: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Arrow types by folder and column. All files of a folder have the same types."""
    processed: dict[str, Any] = Field(default_factory=dict)
    """The files that processors of the whole dataset ran on (`of`), the hash of the processors
    (`by`), and the rows that each of them left and removed (`steps`)."""

    # Cost
    usage: UsageCounts = Field(default_factory=dict)
    """Usage of all runs."""
    usage_in_batches: UsageCounts = Field(default_factory=dict)
    """The part of `usage` that is recorded with batches generated on other machines."""
    dollars: dict[str, float | None] = Field(default_factory=dict)
    """Cost by model alias; None if the price is unknown."""
    times: dict[str, dict[str, int | float]] = Field(default_factory=dict)
    """Seconds by column and activity, of the latest run."""
    answered_at: dict[str, float] = Field(default_factory=dict)
    """When each model last answered, by alias, in seconds since 1970."""

    # Gates
    accepted: bool | None = None
    """Whether the dataset passed its gates; None if they have not been evaluated."""
    gates: dict[str, dict[str, Any]] = Field(default_factory=dict)
    gate_settings: dict[str, Any] | None = None
    """The settings that `gates` holds the results of."""
    profile: dict[str, dict[str, Any]] = Field(default_factory=dict)
    compared_with: str | None = None
    """The version that drift was measured against."""

    # Flow runs
    flow_runs: dict[str, list[list[int]]] = Field(default_factory=dict)
    """Batches (index, start, size) by id of the flow run that generates them."""
    approved_runs: list[str] = Field(default_factory=list)
    """Ids of the flow runs whose preview was approved."""
    approvals_asked: dict[str, str] = Field(default_factory=dict)
    """Keys of the open approval requests by flow run id."""

    def set(self, **fields: Any) -> None:
        """Set fields by name; raises `AttributeError` for a name that is not declared."""
        for name, value in fields.items():
            if name not in type(self).model_fields:
                raise AttributeError(f"{type(self).__name__} has no field {name!r}")
            setattr(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """The fields that were set, as JSON types."""
        return self.model_dump(exclude_unset=True)

    def to_text(self) -> bytes:
        """The content of the file."""
        options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
        return orjson.dumps(self.to_json(), option=options)


def read_metadata(dataset: Location) -> DatasetMetadata:
    """Read the metadata of a dataset, or its copy if it is damaged; empty if there is none."""
    try:
        return parse_metadata(read_content(dataset / METADATA))
    except FileNotFoundError:
        return DatasetMetadata()
    except (ValueError, TypeError) as error:
        _logger.warning("%s is damaged, using its copy: %s", dataset / METADATA, error)
    try:
        return parse_metadata(read_content(dataset / METADATA_COPY))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactStorageError(
            f"{dataset / METADATA} is damaged, and so is its copy ({error}); repair it, or "
            "remove it and pass the dataset's seed as RunConfig.seed"
        ) from error


def parse_metadata(content: bytes) -> DatasetMetadata:
    """Parse the content of the file; raises `ValueError` or `TypeError`."""
    return DatasetMetadata.model_validate(orjson.loads(content))
