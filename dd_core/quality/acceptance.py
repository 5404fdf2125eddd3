"""Evaluates the quality gates of a finished dataset.

Memory use does not grow with the dataset, because DuckDB reads the files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from dd_core.dataset.gates import ColumnGates, Gates
from dd_core.dataset.plan import Plan
from dd_core.errors import DataDesignerProfilingError, DatasetDamagedError, GatesFailedError
from dd_core.kinds.columns.column import Column
from dd_core.kinds.statistics import Result, ValidationColumnStatistics
from dd_core.quality.analysis import load_analysis, summarize_profile
from dd_core.quality.drift import Drift, measure_drift, measure_score_drift
from dd_core.quality.view import DatasetView, quote_name, select_member
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.versions import Versions

_MOST_HASHES = 4_000_000
"""Hashes that are counted in one pass; each takes about 40 bytes."""
_Measure = Callable[[DatasetView], float | None]


class GateResult(Result):
    """The result of one gate."""

    gate: str
    wanted: str
    found: int | float | str | None
    """The measured value; None if it could not be measured."""
    passed: bool
    note: str = ""

    @property
    def shown(self) -> str:
        """The measured value, formatted for readers."""
        return "nothing" if self.found is None else _shown(self.found)

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"{self.gate}: found {self.shown}, expected {self.wanted}{note}"


def evaluate_gates(
    directory: DatasetDirectory,
    plan: Plan,
    gates: Gates | None,
    *,
    stopped: Exception | None = None,
) -> list[GateResult]:
    """Measure a finished dataset against its gates and record the results in the metadata.

    A dataset that has neither gates nor versions is not measured. `stopped` is the reason if the
    run was stopped early. Reads the whole dataset.
    """
    version = directory.version
    if gates is None and version is None:
        return []
    before = Versions.around(directory).before(version) if version is not None else None
    results = measure(directory, plan, gates, stopped=stopped, before=before)
    directory.write_metadata(
        profile=_profile(directory, plan),
        compared_with=before.version if before is not None else None,
        gates={each.gate: each.model_dump(mode="json", exclude={"gate"}) for each in results},
        gate_settings=gates.model_dump(mode="json") if gates is not None else None,
        accepted=all(each.passed for each in results),
    )
    return results


def measure(
    directory: DatasetDirectory,
    plan: Plan,
    gates: Gates | None,
    *,
    stopped: Exception | None = None,
    before: DatasetDirectory | None = None,
) -> list[GateResult]:
    """Measure a dataset against its gates; `before` is the accepted version to compare it with.

    A run that was stopped early has not generated what was requested. The first result therefore
    says whether the run finished.
    """
    results = [
        GateResult(
            gate="run",
            wanted="finished",
            found="finished" if stopped is None else "stopped early",
            passed=stopped is None,
            note="" if stopped is None else str(stopped),
        )
    ]
    if gates is None:
        return results
    with ExitStack() as stack:
        try:
            files = directory.files()
            view = stack.enter_context(DatasetView(files)) if files else None
            compared = before.files() if before is not None else []
            older = stack.enter_context(DatasetView(compared)) if compared else None
        except (DataDesignerProfilingError, DatasetDamagedError) as error:
            unreadable = {"gate": "files", "wanted": "readable", "found": "unreadable"}
            return [*results, GateResult(**unreadable, passed=False, note=str(error))]
        results += _counts(directory, gates)
        return [*results, *_Measurements(plan, view, older).evaluate(gates)]


def require_passed(directory: DatasetDirectory, results: Sequence[GateResult]) -> None:
    """Raise if a gate failed; the message lists all results."""
    failed = [each for each in results if not each.passed]
    if not failed:
        return
    name, version = directory.metadata.dataset_name, directory.metadata.version
    what = f"dataset {name!r}" + (f", version {version!r}," if version else "")
    lines = [f"failed: {each}" for each in failed]
    lines += [f"passed: {each}" for each in results if each.passed]
    heading = f"{what} failed {len(failed)} of {len(results)} gates and is not accepted"
    raise GatesFailedError("\n".join([f"{heading}; its rows are kept in {directory.path}", *lines]))


def _profile(directory: DatasetDirectory, plan: Plan) -> dict[str, Any]:
    target = directory.metadata.target_num_records
    try:
        return summarize_profile(load_analysis(directory, plan, target))
    except (DataDesignerProfilingError, DatasetDamagedError):  # no rows, or not all of them
        return {}


def _counts(directory: DatasetDirectory, gates: Gates) -> Iterator[GateResult]:
    if gates.min_rows is not None:
        yield _at_least("rows", directory.count_rows(), "", gates.min_rows)
    if gates.max_dropped_share is not None:
        requested = directory.metadata.target_num_records
        generated = directory.metadata.generated_num_records
        yield _at_most("dropped share", 1 - generated / requested, "", gates.max_dropped_share)


@dataclass(frozen=True)
class _Measurements:
    """Measures a dataset, and the version that it is compared with, for each gate."""

    plan: Plan
    view: DatasetView | None
    before: DatasetView | None

    def evaluate(self, gates: Gates) -> Iterator[GateResult]:
        if gates.max_duplicate_share is not None:
            yield self._duplicate_rows(gates.max_duplicate_share)
        columns = {column.name: column for column in self.plan.config.columns}
        for name, wanted in gates.columns.items():
            yield from self._column(name, wanted, columns.get(name))

    def _column(self, name: str, gates: ColumnGates, column: Column | None) -> Iterator[GateResult]:
        if (most := gates.max_null_share) is not None:
            yield self._share(f"{name}, null share", most, lambda view: _null_share(view, name))
        if (most := gates.max_duplicate_share) is not None:
            gate = f"{name}, duplicate share"
            yield self._share(gate, most, lambda view: _duplicates(view, [name]))
        if (least := gates.min_valid_share) is not None and column is not None:
            gate = f"{name}, valid share"
            yield self._mean(gate, least, lambda view: _valid_share(view, column))
        for score, least in (gates.min_mean_scores or {}).items():
            gate = f"{name}, mean {score}"
            yield self._mean(gate, least, lambda view, score=score: _mean_score(view, name, score))
        if gates.max_drift is not None:
            yield self._drift(name, gates.max_drift, column)

    def _duplicate_rows(self, most: float) -> GateResult:
        return self._share("duplicate share", most, lambda v: _duplicates(v, v.schema.names))

    def _share(self, gate: str, most: float, found: _Measure) -> GateResult:
        return _at_most(gate, *self._attempt(found), most)

    def _mean(self, gate: str, least: float, found: _Measure) -> GateResult:
        return _at_least(gate, *self._attempt(found), least)

    def _attempt(self, found: _Measure) -> tuple[float | None, str]:
        """Measure a figure; if that fails, returns None and the reason."""
        import duckdb

        if self.view is None:
            return None, "there are no rows"
        try:
            return found(self.view), ""
        except (duckdb.Error, ValueError) as error:
            return None, str(error).splitlines()[0]

    def _drift(self, name: str, most: float, column: Column | None) -> GateResult:
        gate, before = f"{name}, drift", self.before
        if before is None or name not in before.schema.names:
            note = "the previous version has no such column"
            if before is None:
                note = "there is no earlier accepted version to compare with"
            return _at_most(gate, None, note, most).model_copy(update={"passed": True})
        scores = [*column.scores_by_name] if column else []
        compared: list[Drift] = []

        def size(view: DatasetView) -> float | None:
            each = (
                measure_score_drift(view, before, name, scores)
                if scores
                else measure_drift(view, before, name)
            )
            compared.extend([each] if each else [])
            return each.size if each else None

        result = _at_most(gate, *self._attempt(size), most)
        if not compared:
            hint = "nested values are not compared; use a gate on an expression column instead"
            return result.model_copy(update={"note": result.note or hint})
        [found] = compared
        chance = "" if found.counted == found.size else ", which may be chance"
        note = f"{found.how}, p = {found.chance:.2g}{chance}"
        return result.model_copy(update={"note": note, "passed": found.counted <= most})


def _at_most(gate: str, found: float | None, note: str, most: float) -> GateResult:
    passed = found is not None and found <= most
    wanted = f"at most {_shown(most)}"
    return GateResult(gate=gate, wanted=wanted, found=found, passed=passed, note=note)


def _at_least(gate: str, found: float | None, note: str, least: float) -> GateResult:
    passed = found is not None and found >= least
    wanted = f"at least {_shown(least)}"
    return GateResult(gate=gate, wanted=wanted, found=found, passed=passed, note=note)


def _null_share(view: DatasetView, name: str) -> float | None:
    rows, values = view.ask(f"SELECT count(*), count({quote_name(name)}) FROM records")[0]
    return 1 - values / rows if rows else None


def _duplicates(view: DatasetView, names: Sequence[str]) -> float | None:
    """Share of values (or rows) that repeat another one, by 8-byte hashes.

    Many hashes are counted in several passes, each over a part of them, so that memory stays flat.
    """
    key = f"hash({', '.join(map(quote_name, names))})"
    kept = f"{quote_name(names[0])} IS NOT NULL" if len(names) == 1 else "true"
    values = int(view.ask(f"SELECT count(*) FROM records WHERE {kept}")[0][0])
    shares = max(1, math.ceil(values / _MOST_HASHES))
    hashes = f"SELECT {key} AS h FROM records WHERE {kept} AND {key} % {shares} = ?"
    distinct = sum(
        int(view.ask(f"SELECT count(*) FROM (SELECT h FROM ({hashes}) GROUP BY h)", part)[0][0])
        for part in range(shares)
    )
    return 1 - distinct / values if values else None


def _valid_share(view: DatasetView, column: Column) -> float | None:
    found = view.statistics_of(column, {})
    if not isinstance(found, ValidationColumnStatistics) or isinstance(found.percent_valid, str):
        return None
    return found.percent_valid / 100


def _mean_score(view: DatasetView, column: str, score: str) -> float | None:
    value = select_member(view, column, [score, "score"])
    mean = view.ask(f"SELECT avg(TRY_CAST({value} AS DOUBLE)) FROM records")[0][0]
    return None if mean is None else float(mean)


def _shown(value: int | float | str) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else value
