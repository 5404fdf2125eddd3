"""Computes the statistics of a dataset with DuckDB over its Parquet files.

Memory use does not grow with the dataset.
"""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from dd_core.errors import DataDesignerProfilingError, DatasetDamagedError, UserTemplateError
from dd_core.kinds.statistics import (
    NOT_COMPUTED,
    CategoricalDistribution,
    CategoricalHistogram,
    ColumnStatistics,
    Count,
    Distribution,
    NumericalDistribution,
)
from dd_core.models.usage import describe_rejected
from dd_core.storage.files.parquet import (
    read_parquet,
    read_schema,
    require_readable,
    write_parquet,
)
from dd_core.storage.location import Location
from dd_core.storage.schema import is_list
from dd_core.storage.unify import find_schema, fit_table
from dd_core.templates.template import RenderingMode, Template, list_references

if TYPE_CHECKING:
    import pyarrow as pa

    from dd_core.kinds.columns.column import Column


_T = TypeVar("_T")
_logger = logging.getLogger(__name__)
_MOST_CATEGORIES = 1000
_PROMPT_ROWS = 1000
_SAMPLE_SEED = 42
_CHARACTERS_PER_TOKEN = 4.0
_MEMORY = "1GB"

UsageOfColumn = Mapping[str, float]
"""Requests and tokens that a column used."""


class DatasetView:
    """A dataset that can be queried for statistics. Use as a context manager."""

    def __init__(self, source: Sequence[Location] | pa.Table) -> None:
        import duckdb
        import pyarrow as pa

        self._copies: TemporaryDirectory[str] | None = None
        self._rows = duckdb.connect(
            ":memory:", config={"memory_limit": _MEMORY, "autoinstall_known_extensions": False}
        )
        try:
            if isinstance(source, pa.Table):
                self.schema: Any = source.schema
                self._rows.register("records", source)
            else:
                self.schema, paths = self._unify(source)
                files = [self._register(path) for path in paths]
                relation = self._rows.read_parquet(files, hive_partitioning=False)
                relation.create_view("records")
        except (duckdb.Error, pa.ArrowException, OSError, DatasetDamagedError) as error:
            self.close()
            raise DataDesignerProfilingError(f"the dataset cannot be read: {error}") from error

    def _unify(self, paths: Sequence[Location]) -> tuple[Any, list[Location]]:
        """The schema of the files, and files that have it.

        Only the files of datasets that an earlier version wrote may differ; those are copied.
        """
        schemas = {path: read_schema(path).remove_metadata() for path in paths}
        schema: Any = find_schema(schemas, read_parquet)
        found: list[Location] = []
        for number, (path, own) in enumerate(schemas.items()):
            if own.equals(schema):
                require_readable(path)  # DuckDB does not compare checksums
                found.append(path)
                continue
            if self._copies is None:
                self._copies = TemporaryDirectory(prefix="dd-profile-")
            copy = Path(self._copies.name, f"{number}.parquet")
            write_parquet(fit_table(read_parquet(path), schema), copy)
            found.append(copy)
        return schema, found

    def _register(self, path: Location) -> str:
        """Make a file readable for DuckDB; returns its name there."""
        if not isinstance(path, Path) and not self._rows.filesystem_is_registered(path.protocol):
            self._rows.register_filesystem(path.fs)
        return str(path)

    def __enter__(self) -> DatasetView:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and remove what it read from temporary files."""
        self._rows.close()
        if self._copies is not None:
            self._copies.cleanup()

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run an SQL query on the table `records` and return the rows."""
        return self._rows.execute(query, [*values]).fetchall()

    def records(self, columns: Sequence[str], most: int) -> list[dict[str, Any]]:
        """A reproducible sample of at most `most` rows."""
        listed = ", ".join(map(quote_name, columns))
        sample = f"USING SAMPLE reservoir({most} ROWS) REPEATABLE ({_SAMPLE_SEED})"
        found = self._rows.execute(f"SELECT {listed} FROM records {sample}")
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]

    def is_text(self, column: str) -> bool:
        """Whether a column holds text, which may be JSON."""
        return str(self.schema.field(column).type) in ("string", "large_string")

    def statistics_of(
        self, column: Column, usage: UsageOfColumn, rendering: RenderingMode = "secure"
    ) -> ColumnStatistics:
        """The statistics of one column."""
        return column.statistics(_View(self, column, usage, rendering))


class _View:
    """The `ColumnView` of one column."""

    def __init__(
        self, dataset: DatasetView, column: Column, usage: UsageOfColumn, rendering: RenderingMode
    ) -> None:
        self._dataset = dataset
        self._column = column
        self._usage = usage
        self._rendering: RenderingMode = rendering
        self._name = quote_name(column.name)

    def general(self) -> Mapping[str, Any]:
        """The statistics that every column has."""
        kind: Any = self._dataset.schema.field(self._column.name).type
        counts = _compute(self._counts) or [NOT_COMPUTED] * 3
        return {
            "column_name": self._column.name,
            "column_type": self._column.kind,
            "num_records": counts[0],
            "num_null": counts[1],
            "num_unique": counts[2],
            "pyarrow_dtype": str(kind),
            "simple_dtype": simplify_type(kind),
        }

    def _counts(self) -> list[Any]:
        # 8-byte hashes, because the distinct values may be as large as the dataset.
        query = f"""SELECT count(*), count(*) - count({self._name}),
            count(DISTINCT hash({self._name})) FILTER (WHERE {self._name} IS NOT NULL)
            FROM records"""
        return [*self._dataset.ask(query)[0]]

    def categorical(self) -> Distribution:
        """The distribution of the values as categories."""
        query = f"SELECT {self._name} FROM records WHERE {self._name} IS NOT NULL"
        return _compute(lambda: count_categories(self._dataset, query)) or NOT_COMPUTED

    def numerical(self) -> Distribution:
        """The distribution of the values as numbers."""
        query = f"SELECT {self._name} FROM records WHERE {self._name} IS NOT NULL"
        return _compute(lambda: summarize_numbers(self._dataset, query)) or NOT_COMPUTED

    def member(self, path: Sequence[str]) -> Distribution:
        """The distribution of a member of nested values, as categories that are strings."""

        def counted() -> Distribution:
            value = select_member(self._dataset, self._column.name, path)
            query = f"SELECT {value} FROM records WHERE {value} IS NOT NULL"
            return count_categories(self._dataset, query)

        return _compute(counted) or NOT_COMPUTED

    def count_valid(self, targets: Sequence[str]) -> Count:
        """The number of records whose verdicts are all true."""

        def count() -> int:
            keys = [*map(self._verdict, targets)] if len(targets) > 1 else [self._verdict(None)]
            query = f"SELECT count(*) FROM records WHERE {' AND '.join(keys)}"
            return int(self._dataset.ask(query)[0][0])

        found = _compute(count)
        return NOT_COMPUTED if found is None else found

    def _verdict(self, target: str | None) -> str:
        path = ["is_valid"] if target is None else [target, "is_valid"]
        return f"coalesce({select_member(self._dataset, self._column.name, path)} = 'true', false)"

    def tokens(self, templates: Sequence[str]) -> Mapping[str, Any]:
        """The numbers of tokens in prompts and answers, and the answers that were not usable."""
        names = ("mean", "median", "stddev")
        found: dict[str, Any] = {"unusable_answers": describe_rejected(self._usage)}
        for side, lengths in (("input", lambda: self._prompts(templates)), ("output", self._texts)):
            figures = _compute(lambda side=side, lengths=lengths: self._scaled(side, lengths()))
            given = figures or (NOT_COMPUTED,) * 3
            found |= {
                f"{side}_tokens_{name}": each for name, each in zip(names, given, strict=True)
            }
        return found

    def _scaled(self, side: str, lengths: tuple[float, float, float]) -> tuple[float, ...]:
        """Convert lengths in characters to tokens, scaled to the provider's mean if it is known."""
        requests = self._usage.get("requests", 0)
        counted = self._usage.get(f"{side}_tokens", 0) / requests if requests else 0.0
        mean = lengths[0]
        share = counted / mean if counted and mean else 1 / _CHARACTERS_PER_TOKEN
        return tuple(round(length * share, 2) for length in lengths)

    def _prompts(self, templates: Sequence[str]) -> tuple[float, float, float]:
        names = sorted({name for source in templates for name in list_references(source)})
        compiled = [Template.compile(source, mode=self._rendering) for source in templates]
        one: list[dict[str, Any]] = [{}]
        rows = self._dataset.records(names, _PROMPT_ROWS) if names else one
        lengths = [float(sum(len(each.render(row)) for each in compiled)) for row in rows]
        spread = statistics.stdev(lengths) if len(lengths) > 1 else 0.0
        return statistics.fmean(lengths), statistics.median(lengths), spread

    def _texts(self) -> tuple[float, float, float]:
        text = self._name if self._dataset.is_text(self._column.name) else f"to_json({self._name})"
        query = f"""SELECT avg(n), median(n), coalesce(stddev_samp(n), 0)
            FROM (SELECT length({text}) AS n FROM records WHERE {self._name} IS NOT NULL)"""
        mean, median, spread = self._dataset.ask(query)[0]
        return float(mean), float(median), float(spread)


def _compute(figure: Callable[[], _T]) -> _T | None:
    """Compute a figure; None if that fails, because a missing statistic must not fail a run."""
    import duckdb

    try:
        return figure()
    except (duckdb.Error, ValueError, TypeError, KeyError, UserTemplateError) as error:
        _logger.debug("a statistic was not computed: %s", error)
        return None


def count_categories(dataset: DatasetView, query: str) -> CategoricalDistribution:
    """Count how often each value of a query's only column occurs."""
    found = dataset.ask(
        f"SELECT value, count(*) AS n FROM ({query}) AS t(value) GROUP BY value "
        f"ORDER BY n DESC, CAST(value AS VARCHAR) LIMIT {_MOST_CATEGORIES}"
    )
    if not found:
        raise ValueError("there are no values")
    histogram = CategoricalHistogram(
        categories=[value for value, _ in found], counts=[count for _, count in found]
    )
    return CategoricalDistribution(
        most_common_value=found[0][0], least_common_value=found[-1][0], histogram=histogram
    )


def summarize_numbers(dataset: DatasetView, query: str) -> NumericalDistribution:
    """Summarize the numbers in a query's only column."""
    low, high, mean, spread, median = dataset.ask(
        "SELECT min(v), max(v), avg(v), coalesce(stddev_samp(v), 0), median(v) "
        f"FROM (SELECT CAST(value AS DOUBLE) AS v FROM ({query}) AS t(value))"
    )[0]
    if low is None:
        raise ValueError("there are no values")
    return NumericalDistribution(min=low, max=high, mean=mean, stddev=spread, median=median)


def quote_name(name: str) -> str:
    """Quote a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def select_member(dataset: DatasetView, column: str, path: Sequence[str]) -> str:
    """Build the SQL for a member of a nested column, as text; also for columns of JSON text."""
    if dataset.is_text(column):
        pointer = "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in path)
        return f"json_extract_string({quote_name(column)}, {_literal(pointer)})"
    inner = quote_name(column)
    for key in path:
        inner = f"struct_extract({inner}, {_literal(key)})"
    return f"CAST({inner} AS VARCHAR)"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def simplify_type(kind: Any) -> str:
    """Return the common name of an Arrow type: int, float, string, list[int], dict and so on."""
    import pyarrow as pa

    types: Any = pa.types
    named = {
        "bool": [types.is_boolean],
        "int": [types.is_integer],
        "float": [types.is_floating, types.is_decimal],
        "string": [types.is_string, types.is_large_string],
        "timestamp": [types.is_timestamp],
        "date": [types.is_date],
        "time": [types.is_time],
        "duration": [types.is_duration],
        "bytes": [types.is_binary, types.is_large_binary],
        "dict": [types.is_struct, types.is_map],
        "null": [types.is_null],
    }
    for name, checks in named.items():
        if any(check(kind) for check in checks):
            return name
    if is_list(kind):
        return f"list[{simplify_type(kind.value_type)}]"
    return str(kind)
