"""The declared steps between stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.designer.workflow.results import WorkflowResults


def expression(**columns: str) -> dict[str, Any]:
    """A configuration with expressions."""
    listed = [
        {"name": name, "column_type": "expression", "expr": text} for name, text in columns.items()
    ]
    return {"columns": listed}


def run(folder: Path, *stages: dict[str, Any]) -> WorkflowResults:
    made = dd.WorkflowBuilder("steps")
    for stage in stages:
        given = dict(stage)
        config = dd.DataDesignerConfig.model_validate(given.pop("config"))
        made.add_stage(given.pop("name"), config, from_=given.pop("from", None), **given)
    settings = dd.RunConfig(seed=1, buffer_size=2)
    return DataDesigner(folder, run_config=settings).workflow(made).run()


def records(results: WorkflowResults) -> list[dict[str, Any]]:
    return [row for table in results.final.directory.tables() for row in table.to_pylist()]


def numbers(name: str, count: int, **columns: str) -> dict[str, Any]:
    return {"name": name, "num_records": count, "config": expression(**columns)}


def after(source: str | list[str], *steps: dict[str, Any], x: str = "1") -> dict[str, Any]:
    """A stage that uses the rows of others."""
    return {"name": "out", "from": source, "steps": [*steps], "config": expression(x=x)}


LISTS = pd.DataFrame({"key": ["a", "b", "c", "d"], "items": [[1, 2], [], None, [3]]})
SOURCE = {
    "name": "source",
    "num_records": 4,
    "config": {"columns": [], "seed_config": {"source": dd.DataFrameSeedSource(df=LISTS)}},
}


def test_a_list_becomes_rows_and_empty_ones_are_counted(tmp_path: Path) -> None:
    step = {"type": "explode", "column": "items", "into": "item", "position": "at", "keep": True}
    results = run(tmp_path, SOURCE, after("source", step, x="{{ item }}"))
    found = [(row["row_address"], row["key"], row["item"], row["at"]) for row in records(results)]
    assert found == [("0.0", "a", 1, 0), ("0.1", "a", 2, 1), ("3.0", "d", 3, 0)]
    lost = results.manifest.stages["out"].left_out["1. explode"]
    assert lost == {"the list is empty": 1, "there is no list": 1}


def test_conditions_that_cannot_be_evaluated_are_counted_apart(tmp_path: Path) -> None:
    step = {"type": "filter", "when": "{{ items[0] > 1 }}"}
    results = run(tmp_path, SOURCE, after("source", step, x="{{ key }}"))
    assert [row["x"] for row in records(results)] == ["d"]
    lost = results.manifest.stages["out"].left_out["1. filter"]
    assert lost == {"the condition is false": 1, "the condition cannot be evaluated": 2}


def test_columns_are_kept_dropped_and_renamed(tmp_path: Path) -> None:
    step = {"type": "select", "drop": ["items"], "rename": {"key": "name"}}
    [first, *_] = records(run(tmp_path, SOURCE, after("source", step, x="{{ name }}!")))
    assert first == {"row_address": "0", "name": "a", "x": "a!"}


def test_rows_with_equal_values_are_joined(tmp_path: Path) -> None:
    left = numbers("left", 4, key="{{ row_address % 3 }}", a="a{{ row_address }}")
    right = numbers("right", 4, key="{{ row_address % 2 }}", b="b{{ row_address }}")
    join = {"type": "join", "on": ["key"]}
    results = run(tmp_path, left, right, after(["left", "right"], join))
    found = [(row["row_address"], row["a"], row["b"]) for row in records(results)]
    assert found == [
        ("0.0", "a0", "b0"),
        ("0.1", "a0", "b2"),
        ("1.0", "a1", "b1"),
        ("1.1", "a1", "b3"),
        ("3.0", "a3", "b0"),
        ("3.1", "a3", "b2"),
    ]
    assert results.manifest.stages["out"].left_out == {"1. join": {"there is no row to join": 1}}
    outer = after(["left", "right"], {**join, "how": "left"})
    found = [(row["a"], row["b"]) for row in records(run(tmp_path / "b", left, right, outer))]
    assert found[4] == ("a2", None)


def test_stages_are_put_one_below_the_other(tmp_path: Path) -> None:
    first, second = numbers("first", 2, a="one"), numbers("second", 3, a="two")
    out = after(["first", "second"], {"type": "union", "source": "stage"})
    results = run(tmp_path, first, second, out)
    found = [(row["row_address"], row["stage"], row["a"]) for row in records(results)]
    assert found == [
        ("0.0", "first", "one"),
        ("1.0", "first", "one"),
        ("0.1", "second", "two"),
        ("1.1", "second", "two"),
        ("2.1", "second", "two"),
    ]


def test_rows_with_equal_values_are_collected(tmp_path: Path) -> None:
    source = numbers("source", 5, key="{{ row_address % 2 }}", a="a{{ row_address }}")
    step = {"type": "collect", "by": ["key"], "columns": ["a"]}
    results = run(tmp_path, source, after("source", step, x="{{ a | length }}"))
    found = [(row["key"], row["a"], row["x"]) for row in records(results)]
    assert found == [("0", ["a0", "a2", "a4"], "3"), ("1", ["a1", "a3"], "2")]


@pytest.mark.parametrize(
    ("wanted", "addresses"),
    [(2, ["0.0", "1.0"]), (5, ["0.0", "1.0", "2.0", "0.1", "1.1"])],
)
def test_a_stage_may_use_some_rows_or_all_of_them_again(
    tmp_path: Path, wanted: int, addresses: list[str]
) -> None:
    out = {**after("source"), "num_records": wanted}
    results = run(tmp_path, numbers("source", 3, a="a{{ row_address }}"), out)
    assert [row["row_address"] for row in records(results)] == addresses


def test_rows_that_processors_choose_arrive_when_all_are_there(tmp_path: Path) -> None:
    odd = {
        "processor_type": "filter_rows",
        "name": "odd",
        "condition": "{{ row_address % 2 == 1 }}",
    }
    source = numbers("source", 7, a="{{ row_address }}")
    source["config"]["processors"] = [odd]
    results = run(tmp_path, source, after("source", x="{{ a }}"))
    assert [row["x"] for row in records(results)] == ["1", "3", "5"]
    again = run(tmp_path, source, after("source", x="{{ a }}"))
    assert {each.status for each in again.manifest.stages.values()} == {"unchanged"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from": ["nobody"]}, "no stage before it has this name"),
        ({"steps": [{"type": "filter", "when": "{{ x }}"}]}, "name them in from"),
        ({"from": ["source", "more"]}, "must be join or union"),
        ({"from": "source", "steps": [{"type": "join"}]}, "can only be the first step"),
        ({"from": "source", "steps": [{"type": "filter", "when": "{{ z }}"}]}, "steps.0.when.*'z'"),
        (
            {"from": "source", "steps": [{"type": "explode", "column": "a", "into": "b"}]},
            "instead of a list",
        ),
        (
            {"from": "source", "steps": [{"type": "collect", "to": "more", "columns": ["a"]}]},
            "do not come from the stage 'more'",
        ),
        ({"from": ["source", "more"], "steps": [{"type": "join"}]}, "no common stage"),
        ({"from": ["source", "more"], "steps": [{"type": "union"}]}, "have different columns"),
        ({"from": "source", "config": expression(a="{{ x }}")}, "columns.a"),
    ],
)
def test_impossible_stages_are_refused(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    source, more = numbers("source", 3, a="1"), numbers("more", 3, c="1")
    stage = {"name": "out", "config": expression(x="1"), **fields}
    with pytest.raises(InvalidConfigError, match=f"(?s){reason}"):
        run(tmp_path, source, more, stage)
