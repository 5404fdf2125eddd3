"""Measures how far the values of a column have moved between two versions of a dataset.

The size of a difference decides, from 0 (same distribution) to 1, because with many rows even the
smallest difference is significant. Significance is tested as well, because with few rows large
differences occur by chance.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# (scipy comes without types)

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dd_core.quality.view import DatasetView, quote_name, select_member, simplify_type

SIGNIFICANT = 0.01
"""Differences with at least this p-value do not count."""
_MOST_NUMBERS = 100_000
_MOST_CATEGORIES = 1000
_MOST_TESTED = 100
_FEWEST_TESTED = 10
_SEED = 42
_SIMPLE = {
    "int": "number",
    "float": "number",
    "timestamp": "time",
    "date": "time",
    "bool": "text",
    "string": "text",
}


@dataclass(frozen=True)
class Drift:
    """The difference between two versions of a column's values."""

    size: float
    """Size of the difference, 0 to 1."""
    chance: float
    """The p-value: how likely chance alone produces a difference at least as large."""
    how: str
    """What was compared, and by which statistic."""

    @property
    def counted(self) -> float:
        """The size, or 0 if the difference may be due to chance."""
        return self.size if self.chance < SIGNIFICANT else 0.0


_NEW = Drift(0.0, 1.0, "the previous version has no such scores")


def measure_drift(now: DatasetView, before: DatasetView, column: str) -> Drift | None:
    """Measure the drift of a column; None for nested values, which are not compared."""
    kinds = {_kind(view, column) for view in (now, before)}
    if "structure" in kinds:
        return None
    name = quote_name(column)
    if kinds <= {"number"}:
        return _numbers(now, before, f"CAST({name} AS DOUBLE)", "values")
    if kinds <= {"time"}:
        return _numbers(now, before, f"CAST(epoch({name}) AS DOUBLE)", "times")
    text = f"CAST({name} AS VARCHAR)"
    if not any(_has_categories(view, text) for view in (now, before)):
        return _numbers(now, before, f"CAST(length({text}) AS DOUBLE)", "lengths")
    return _categories(now, before, text)


def measure_score_drift(
    now: DatasetView, before: DatasetView, column: str, scores: Sequence[str]
) -> Drift:
    """Measure the largest significant drift of a judge's scores, or else the largest one.

    Scores that the previous version does not have are ignored.
    """
    found: list[Drift] = []
    for score in scores:
        if not _has_score(before, column, score):
            continue
        ours, theirs = (select_member(view, column, [score, "score"]) for view in (now, before))
        each = _categories(now, before, ours, theirs)
        found.append(Drift(each.size, each.chance, f"{score}: {each.how}"))
    return max(found, key=lambda each: (each.counted, each.size), default=_NEW)


def _has_score(view: DatasetView, column: str, score: str) -> bool:
    import duckdb

    try:
        value = select_member(view, column, [score, "score"])
        return bool(view.ask(f"SELECT count({value}) FROM records")[0][0])
    except duckdb.Error:  # a struct without such a field
        return False


def _kind(view: DatasetView, column: str) -> str:
    return _SIMPLE.get(simplify_type(view.schema.field(column).type), "structure")


def _has_categories(view: DatasetView, text: str) -> bool:
    """Whether strings repeat often enough to be categories; free text hardly ever does."""
    query = f"SELECT approx_count_distinct({text}), count({text}) FROM records"
    distinct, count = view.ask(query)[0]
    return int(distinct) <= min(_MOST_CATEGORIES, max(2, int(count) // 2))


def _numbers(now: DatasetView, before: DatasetView, value: str, what: str) -> Drift:
    """Compare two samples by the largest gap between their cumulative distributions."""
    from scipy.stats import ks_2samp

    ours, theirs = _sample(now, value), _sample(before, value)
    how = f"Kolmogorov-Smirnov, {what}"
    if not ours or not theirs:
        return _one_sided(bool(ours), bool(theirs), how)
    result: Any = ks_2samp(ours, theirs, method="asymp")
    return Drift(float(result.statistic), float(result.pvalue), how)


def _sample(view: DatasetView, value: str) -> list[float]:
    """All numbers of a small dataset, or a reproducible sample of a large one."""
    query = (
        f"SELECT v FROM (SELECT {value} FROM records) AS t(v) WHERE v IS NOT NULL AND NOT isnan(v) "
        f"USING SAMPLE reservoir({_MOST_NUMBERS} ROWS) REPEATABLE ({_SEED})"
    )
    return [row[0] for row in view.ask(query)]


def _categories(
    now: DatasetView, before: DatasetView, ours: str, theirs: str | None = None
) -> Drift:
    """Compare categories by the share of rows that would have to change (total variation)."""
    from scipy.stats import chi2_contingency

    how = "total variation, categories"
    counts = [_counted(now, ours), _counted(before, theirs or ours)]
    totals = [sum(each.values()) for each in counts]
    if not all(totals):
        return _one_sided(bool(totals[0]), bool(totals[1]), how)
    names = {*counts[0], *counts[1]}
    gaps = (abs(counts[0][name] / totals[0] - counts[1][name] / totals[1]) for name in names)
    tested: Any = chi2_contingency(_table(counts))
    return Drift(sum(gaps) / 2, float(tested.pvalue), how)


def _counted(view: DatasetView, value: str) -> Counter[str | None]:
    """Count each value; if there are very many, the rarest are counted together, under None."""
    values = f"SELECT v FROM (SELECT {value} FROM records) AS t(v) WHERE v IS NOT NULL"
    grouped = f"SELECT v, count(*) AS n FROM ({values}) GROUP BY v"
    found = view.ask(f"SELECT v, n FROM ({grouped}) ORDER BY n DESC, v LIMIT {_MOST_CATEGORIES}")
    counts: Counter[str | None] = Counter({str(name): int(count) for name, count in found})
    total = int(view.ask(f"SELECT count({value}) FROM records")[0][0])
    if others := total - sum(counts.values()):
        counts[None] = others
    return counts


def _table(counts: Sequence[Counter[str | None]]) -> list[list[int]]:
    """The contingency table of two versions; rare categories are merged, as the test requires."""
    both = counts[0] + counts[1]
    common = [name for name, n in both.most_common(_MOST_TESTED) if n >= _FEWEST_TESTED]
    rows = [[each[name] for name in common] for each in counts]
    rest = [sum(each.values()) - sum(row) for each, row in zip(counts, rows, strict=True)]
    return [[*row, n] for row, n in zip(rows, rest, strict=True)] if any(rest) else rows


def _one_sided(has_ours: bool, has_theirs: bool, how: str) -> Drift:
    """The drift if a version has no values: the largest possible, unless both have none."""
    return Drift(0.0, 1.0, how) if has_ours == has_theirs else Drift(1.0, 0.0, how)
