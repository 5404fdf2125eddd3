"""Gates: what a finished dataset is held against, and what is said before it is begun."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.dataset.plan import Plan
from dd_core.designer.results import DatasetCreationResults
from dd_core.errors import GatesFailedError
from dd_core.quality.acceptance import GateResult, measure
from dd_core.storage.directory import DatasetDirectory
from tests.scripted import ScriptedModel

ALL = dd.ColumnGates(max_null_share=1, max_duplicate_share=1, max_drift=1)
SCORES = [
    {"name": "helpful", "description": "Helps", "options": {1: "no", 2: "some", 3: "yes"}},
    {"name": "tone", "description": "Tone", "options": {"kind": "k", "harsh": "h"}},
]


def seeded(frame: pd.DataFrame) -> dd.DataDesignerConfigBuilder:
    """A dataset of a frame's rows."""
    made = dd.DataDesignerConfigBuilder([dd.ModelConfig(alias="m", model="m", base_url="http://x")])
    return made.with_seed_dataset(dd.DataFrameSeedSource(df=frame))


def created(
    folder: Path,
    made: dd.DataDesignerConfigBuilder | pd.DataFrame,
    rows: int = 0,
    script: Any = None,
    **settings: Any,
) -> DatasetCreationResults:
    if isinstance(made, pd.DataFrame):
        rows, made = rows or len(made), seeded(made)
    run_config = dd.RunConfig(seed=1, disable_early_shutdown=True, **settings)
    designer = DataDesigner(folder, run_config=run_config, transport=ScriptedModel(script))
    return designer.create(made, num_records=rows, dataset_name="d")


def gated(
    folder: Path, made: dd.DataDesignerConfigBuilder | pd.DataFrame, gates: dd.Gates, **more: Any
) -> dict[str, GateResult]:
    """What becomes of the gates of a dataset, by their names."""
    results = created(folder, made, **more)
    found = measure(results.directory, results.plan, gates)
    return {each.gate: each for each in found}


def column(name: str, **gates: Any) -> dd.Gates:
    return dd.Gates(columns={name: dd.ColumnGates(**gates)})


def test_nulls_and_duplicates_are_shares_of_what_is_there(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": ["a", "a", "b", None, None], "y": [1, 1, 2, 3, 3]})
    gates = dd.Gates(
        min_rows=5,
        max_duplicate_share=0.5,
        columns={"x": dd.ColumnGates(max_null_share=0.4, max_duplicate_share=0.3)},
    )
    found = gated(tmp_path, frame, gates)
    assert found["x, null share"].found == pytest.approx(0.4)
    assert found["x, null share"].passed
    assert found["x, duplicate share"].found == pytest.approx(1 / 3)
    assert not found["x, duplicate share"].passed
    assert found["duplicate share"].found == pytest.approx(2 / 5)
    assert (found["rows"].found, found["rows"].passed) == (5, True)


def test_dropped_rows_count_against_those_asked_for(tmp_path: Path) -> None:
    made = seeded(pd.DataFrame({"x": ["1", "2", "z", "4"]}))
    made.add_column(name="n", column_type="expression", expr="{{ x }}", dtype="int")
    found = gated(tmp_path, made, dd.Gates(max_dropped_share=0.2, min_rows=4), rows=4)
    assert found["dropped share"].found == pytest.approx(0.25)
    assert not found["dropped share"].passed
    assert str(found["rows"]) == "rows: found 3, expected at least 4"


def test_verdicts_of_a_validation_column_are_a_share(tmp_path: Path) -> None:
    made = seeded(pd.DataFrame({"code": ["x = 1\n", "def f(:\n", "y = 2\n", "z = 3\n"]}))
    made.add_column(
        name="v",
        column_type="validation",
        target_columns=["code"],
        validator_params={"validator_type": "code", "code_lang": "python"},
    )
    found = gated(tmp_path, made, column("v", min_valid_share=0.75, max_null_share=0), rows=4)
    assert (found["v, valid share"].found, found["v, valid share"].passed) == (0.75, True)
    assert found["v, null share"].passed


def judged(scores: list[int]) -> tuple[dd.DataDesignerConfigBuilder, Callable[[Any], Any]]:
    """A judge that gives these scores to rows 0, 1 and so on, and the tone `kind`."""
    made = seeded(pd.DataFrame({"row": [f"row {n}" for n in range(len(scores))]}))
    made.add_column(
        name="v", column_type="llm-judge", model_alias="m", prompt="Judge {{ row }}.", scores=SCORES
    )

    def answer(body: Any) -> Any:
        text = str(body["messages"][-1]["content"])
        row = next(n for n in range(len(scores)) if f"row {n}." in text)
        return {
            "helpful": {"reasoning": "r", "score": scores[row]},
            "tone": {"reasoning": "r", "score": "kind"},
        }

    return made, answer


def test_the_mean_of_a_judges_score(tmp_path: Path) -> None:
    made, script = judged([3, 3, 1, 2])
    gates = column("v", min_mean_scores={"helpful": 2.5})
    found = gated(tmp_path, made, gates, rows=4, script=script)
    assert found["v, mean helpful"].found == pytest.approx(2.25)
    assert not found["v, mean helpful"].passed


def test_a_dataset_that_fails_is_kept_and_every_gate_is_told(tmp_path: Path) -> None:
    gates = dd.Gates(min_rows=3, columns={"x": dd.ColumnGates(max_null_share=0.1)})
    with pytest.raises(GatesFailedError) as raised:
        created(tmp_path, pd.DataFrame({"x": ["a", None, "c"]}), gates=gates)
    message = str(raised.value)
    assert "dataset 'd' failed 1 of 3 gates and is not accepted" in message
    assert "failed: x, null share: found 0.3333, expected at most 0.1" in message
    assert "passed: rows: found 3, expected at least 3" in message
    results = DataDesigner(tmp_path).open("d")
    assert results.count_records() == 3
    assert results.directory.accepted is False
    assert results.directory.metadata.gates["x, null share"]["passed"] is False


def test_a_dataset_that_passes_says_so_and_what_it_is_like(tmp_path: Path) -> None:
    results = created(tmp_path, pd.DataFrame({"x": ["a", "b"]}), gates=dd.Gates(min_rows=2))
    metadata = json.loads((results.dataset_path / "metadata.json").read_text())
    assert metadata["accepted"] is True
    assert metadata["profile"] == {"x": {"type": "string", "null": 0, "unique": 2}}
    assert metadata["library_version"]
    assert metadata["seed_source_hash"]


def test_a_run_that_was_stopped_does_not_pass(tmp_path: Path) -> None:
    made = seeded(pd.DataFrame({"x": ["a", "b", "c", "d"]}))
    made.add_column(name="t", column_type="llm-text", model_alias="m", prompt="{{ x }}")
    with pytest.raises(GatesFailedError, match=r"run: found stopped early.*budget of 2 requests"):
        created(tmp_path, made, rows=4, gates=dd.Gates(), budget=dd.Budget(requests=2))


def test_datasets_without_gates_are_not_judged(tmp_path: Path) -> None:
    results = created(tmp_path, pd.DataFrame({"x": [None, "b"]}))
    assert results.directory.accepted is None
    assert results.directory.metadata.gates == {}


def drifted(folder: Path, before: Any, now: Any, name: str = "x", most: float = 0.1) -> GateResult:
    """The drift of a column from one frame or judge to another."""
    directories: list[tuple[DatasetDirectory, Plan]] = []
    for number, given in enumerate((before, now)):
        made, script = given if isinstance(given, tuple) else (given, None)
        rows = len(given) if isinstance(given, pd.DataFrame) else 60
        results = created(folder / str(number), made, rows, script)
        directories.append((results.directory, results.plan))
    (older, _), (newer, plan) = directories
    found = measure(newer, plan, column(name, max_drift=most), before=older)
    return found[-1]


def frame(values: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": values})


DRAWS = np.random.default_rng(7)
DRIFTS: dict[str, tuple[Any, Any, bool, str]] = {
    "same numbers": (DRAWS.normal(size=3000), DRAWS.normal(size=3000), True, "values"),
    "shifted numbers": (DRAWS.normal(size=3000), DRAWS.normal(1, 1, size=3000), False, "values"),
    "a shift too small to matter, however sure": (
        np.arange(20_000.0),
        np.arange(20_000.0) + 1200,
        True,
        "values",
    ),
    "few rows, which chance moves": ([1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 7, 8], True, "may be chance"),
    "same categories": (["a", "b"] * 500, ["b", "a"] * 500, True, "categories"),
    "other shares": (["a", "b"] * 500, ["a", "a", "a", "b"] * 250, False, "categories"),
    "a collapse of free text": (
        [f"text {n}" for n in range(300)],
        ["the same text"] * 300,
        False,
        "categories",
    ),
    "longer texts": (
        ["x" * (20 + n % 10) + str(n) for n in range(300)],
        ["x" * (60 + n % 10) + str(n) for n in range(300)],
        False,
        "lengths",
    ),
    "numbers that became text": (list(range(300)), [f"n{n}" for n in range(300)], False, "lengths"),
    "dates": (
        pd.date_range("2026-01-01", periods=300),
        pd.date_range("2027-01-01", periods=300),
        False,
        "times",
    ),
    "booleans": ([True, False] * 200, [True] * 400, False, "categories"),
    "nulls, which have a gate of their own": (["a"] * 50, [*[None] * 49, "a"], True, "categories"),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_drift_is_a_difference_that_is_large_and_no_chance(tmp_path: Path, name: str) -> None:
    before, now, passes, how = DRIFTS[name]
    result = drifted(tmp_path, frame(before), frame(now))
    assert result.passed is passes, str(result)
    assert how in result.note


@pytest.mark.parametrize("name", ["v", "n", "h", "t", "records", 'a "quoted" name', "select"])
def test_columns_may_have_any_name(tmp_path: Path, name: str) -> None:
    now = pd.DataFrame({name: ["a", "b"] * 50, "v": range(100)})
    before = pd.DataFrame({name: ["a"] * 100, "v": range(100)})
    gates = dd.Gates(max_duplicate_share=1, columns={name: ALL})
    old, new = (created(tmp_path / each, frame) for each, frame in (("0", before), ("1", now)))
    found = measure(new.directory, new.plan, gates, before=old.directory)
    assert [each.note.split(",")[0] for each in found[2:4]] == ["", ""]
    assert all(each.found is not None for each in found)
    assert found[-1].found == pytest.approx(0.0 if name == "v" else 0.5)


def test_duplicates_among_very_many_are_counted_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dd_core.quality.acceptance._MOST_HASHES", 7)
    found = gated(tmp_path, frame([*range(60), *range(40)]), column("x", max_duplicate_share=0.4))
    assert found["x, duplicate share"].found == pytest.approx(0.4)


def test_the_scores_of_a_judge_drift_each_by_itself(tmp_path: Path) -> None:
    high, low = judged([3] * 40 + [2] * 20), judged([3] * 20 + [1] * 40)
    result = drifted(tmp_path, high, low, name="v")
    assert not result.passed
    assert result.found == pytest.approx(2 / 3)
    assert result.note.startswith("helpful: total variation")


def test_a_score_that_is_new_has_nothing_to_drift_from(tmp_path: Path) -> None:
    def answer(body: Any) -> Any:
        return {"clarity": {"reasoning": "r", "score": 1}}

    before = seeded(pd.DataFrame({"row": [f"row {n}" for n in range(60)]}))
    before.add_column(
        name="v", column_type="llm-judge", model_alias="m", prompt="Judge {{ row }}.",
        scores=[{"name": "clarity", "description": "Clear", "options": {1: "no", 2: "yes"}}],
    )  # fmt: skip
    result = drifted(tmp_path, (before, answer), judged([3] * 60), name="v")
    assert result.passed
    assert "the previous version has no such scores" in result.note


def test_values_with_structure_do_not_pass_for_lack_of_a_measure(tmp_path: Path) -> None:
    rows = frame([{"a": 1}, {"a": 2}])
    result = drifted(tmp_path, rows, rows)
    assert (result.found, result.passed) == (None, False)
    assert "gate on an expression column" in result.note


def test_a_first_version_has_nothing_to_drift_from(tmp_path: Path) -> None:
    found = gated(tmp_path, frame(["a"]), column("x", max_drift=0.1))
    assert found["x, drift"].passed
    assert "no earlier accepted version" in found["x, drift"].note


def test_without_rows_column_gates_fail(tmp_path: Path) -> None:
    made = seeded(frame(["a", "b"]))
    made.add_processor(dd.FilterRowsProcessorConfig(name="none", condition="{{ x == 'z' }}"))
    found = gated(tmp_path, made, column("x", max_null_share=0.5), rows=2)
    assert not found["x, null share"].passed
    assert found["x, null share"].found is None


PROBLEMS: dict[str, tuple[dd.Gates, str]] = {
    "unknown column": (
        column("tipic", max_null_share=0),
        r"run_config\.gates\.columns\.tipic: .*did you mean 'topic'",
    ),
    "dropped column": (column("hidden", max_null_share=0), r"columns\.hidden: is a dropped column"),
    "wrong kind": (
        column("topic", min_valid_share=0.5),
        r"topic\.min_valid_share: does not apply to a column of type 'sampler'; known .*drift",
    ),
    "scores of no judge": (
        column("topic", min_mean_scores={"helpful": 2}),
        r"topic\.min_mean_scores: does not apply to",
    ),
    "unknown score": (
        column("v", min_mean_scores={"helpfull": 2}),
        r"min_mean_scores\.helpfull: is not a score .*'helpful', 'tone'",
    ),
    "score without numbers": (
        column("v", min_mean_scores={"tone": 2}),
        r"min_mean_scores\.tone: has options that are not numbers",
    ),
    "drift without versions": (
        column("topic", max_drift=0.1),
        r"topic\.max_drift: .*no versions; set a version for the run",
    ),
    "more rows than asked for": (dd.Gates(min_rows=11), r"min_rows: is 11, but only 10 rows"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_gates_that_cannot_be_held_are_told_before_anything_is_spent(
    tmp_path: Path, name: str
) -> None:
    gates, message = PROBLEMS[name]
    made = dd.DataDesignerConfigBuilder([dd.ModelConfig(alias="m", model="m", base_url="http://x")])
    for column_name, drop in (("topic", False), ("hidden", True)):
        made.add_column(
            name=column_name, column_type="sampler", sampler_type="category", drop=drop,
            params={"values": ["tea"]},
        )  # fmt: skip
    made.add_column(
        name="v", column_type="llm-judge", model_alias="m", prompt="{{ topic }}", scores=SCORES
    )
    with pytest.raises(InvalidConfigError, match=message):
        created(tmp_path, made, rows=10, gates=gates)
    assert [*tmp_path.iterdir()] == []


def test_shares_are_between_0_and_1() -> None:
    with pytest.raises(ValidationError, match="max_null_share"):
        dd.ColumnGates(max_null_share=5)
