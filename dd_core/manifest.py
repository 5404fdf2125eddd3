"""What `metadata.json` says about where a dataset comes from and what it is like."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from dd_core.plan import Plan
from dd_core.statistics import (
    AnyStatistics,
    CategoricalDistribution,
    DatasetProfilerResults,
    LLMColumnStatistics,
    NumericalDistribution,
    SamplerColumnStatistics,
    ValidationColumnStatistics,
)

_MOST_CATEGORIES = 10


def origin(plan: Plan) -> dict[str, Any]:
    """What a dataset is made by and from, and since when."""
    table = plan.seed_table
    return {
        "library_version": version("prefect-data-designer"),
        "models": {
            model.alias: {"model": model.model, "provider": model.provider} for model in plan.models
        },
        "seed_source_hash": table.content_hash() if table is not None else None,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def profile_of(analysis: DatasetProfilerResults) -> dict[str, dict[str, Any]]:
    """The figures of each column that tell versions apart at a glance."""
    return {each.column_name: _figures(each) for each in analysis.column_statistics}


def _figures(column: AnyStatistics) -> dict[str, Any]:
    known: dict[str, Any] = {
        "type": column.simple_dtype,
        "null": column.num_null,
        "unique": column.num_unique,
    }
    if isinstance(column, ValidationColumnStatistics):
        known["valid"] = column.num_valid_records
    if isinstance(column, LLMColumnStatistics):
        known["output_tokens_mean"] = column.output_tokens_mean
    if isinstance(column, SamplerColumnStatistics):
        known |= _distribution(column.distribution)
    return known


def _distribution(found: Any) -> Mapping[str, Any]:
    if isinstance(found, NumericalDistribution):
        return {name: getattr(found, name) for name in ("min", "max", "mean", "stddev")}
    if isinstance(found, CategoricalDistribution):
        shown = [*zip(found.histogram.categories, found.histogram.counts, strict=True)]
        return {"most_common": {str(value): count for value, count in shown[:_MOST_CATEGORIES]}}
    return {}
