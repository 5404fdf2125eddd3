"""The content of `metadata.json`: what is known about a dataset in addition to its rows."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

UsageCounts = dict[str, dict[str, dict[str, int | float]]]
"""Counts by model alias and column, as JSON."""


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
    column_types: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Arrow types by folder and column. All files of a folder have the same types."""
    processed: dict[str, Any] = Field(default_factory=dict)
    """The files that processors of the whole dataset ran on, and the rows that each left."""

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
