"""Every value passes one door: it is stored without loss, or refused with the place and reason."""

from __future__ import annotations

import enum
import timeit
from collections import namedtuple
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import ValueNotStorableError
from dd_core.extend import Batch, Binding, Column, WholeColumn
from dd_core.storage.json_codec import decode_value, encode_value
from dd_core.storage.values import MAX_DEPTH, admit_value
from tests.scripted import ScriptedModel, builder


class Color(enum.Enum):
    RED = "red"


class Shape(BaseModel):
    sides: int


@dataclass
class Point:
    x: int
    y: Any


class Silent:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Nameless:
    pass


class Nowhere(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta | None:
        raise RuntimeError("nowhere")


Pair = namedtuple("Pair", "a b")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def loop() -> Any:
    value: list[Any] = []
    value.append({"self": value})
    return value


def bomb() -> Any:
    value: Any = ["ha"]
    for _ in range(MAX_DEPTH - 1):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("half \ud83d end", "half \ufffd end"),
        ("\ud83d\ude00", "\U0001f600"),
        ({"half \ud83d": ["\udc00"]}, {"half \ufffd": ["\ufffd"]}),
        ({"n": -(2**70)}, {"n": -(2**70)}),
        (bytearray(b"\xff"), b"\xff"),
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "null": "b", "[1, 2]": "c"}),
        ((1, Pair(2, {3})), [1, [2, {3}]]),
        ({(1, 2)}, [[1, 2]]),
        (range(3), [0, 1, 2]),
        (np.array([[0.5], [1.5]]), [[0.5], [1.5]]),
        ([np.float64(0.5), np.int64(3), np.bool_(True), np.str_("a")], [0.5, 3, True, "a"]),
        (np.datetime64("2026-01-02"), datetime(2026, 1, 2)),
        ([pd.NA, pd.NaT, pd.Timestamp("2026-01-02")], [None, None, datetime(2026, 1, 2)]),
        (pd.Timestamp("2026-01-02 00:00:00.000000001"),) * 2,
        (Color.RED, "red"),
        (Shape(sides=3), {"sides": 3}),
        (Point(1, (2,)), {"x": 1, "y": [2]}),
        (Decimal("Infinity"), float("inf")),
        (Path("a"), "a"),
        (nested(MAX_DEPTH), nested(MAX_DEPTH)),
    ],
    ids=repr,
)
def test_a_value_is_stored_as_it_will_be_read_back(value: Any, stored: Any) -> None:
    admitted = admit_value(value)
    assert admitted == stored
    assert decode_value(encode_value(admitted)) == stored
    assert admit_value(admitted) == stored


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (nested(MAX_DEPTH + 1), "is nested deeper than 40 levels"),
        (loop(), r"at \[0\]\['self'\] contains itself"),
        pytest.param(bomb(), "has more than 10,000,000 members", marks=pytest.mark.slow),
        (10**5000, "more than 4,300 digits"),
        ({"a": [Silent()]}, r"at \['a'\]\[0\] is an object of type 'Silent' that cannot be"),
        (Nameless(), "'Nameless' without text"),
        (len, "is a builtin_function_or_method, not a value"),
        ((each for each in "ab"), "is a generator, not a value"),
        (dict.fromkeys(["a\ud83d", "a\udc00"]), "two keys that become"),
        ({1: 1, "1": 2}, "two keys that become '1'"),
        (datetime(2026, 1, 1, tzinfo=Nowhere()), "cannot be converted"),
    ],
    ids=lambda each: each[:20] if isinstance(each, str) else type(each).__name__,
)
def test_a_value_that_cannot_be_stored_is_refused_with_place_and_reason(
    value: Any, reason: str
) -> None:
    with pytest.raises(ValueNotStorableError, match=reason):
        admit_value(value)


def test_ordinary_values_are_passed_on_as_they_are_and_quickly() -> None:
    answer = {"name": "Ann", "tags": ["a", "b"], "place": {"zip": "02116", "at": [1.5, 2]}, "n": 1}
    for value in ("text", 1, 0.5, True, None, "naïve", answer, [0.5] * 1000):
        assert admit_value(value) is value
    assert min(timeit.repeat(lambda: admit_value("text"), number=1000, repeat=5)) < 0.005
    assert min(timeit.repeat(lambda: admit_value(answer), number=1000, repeat=5)) < 0.05


ODD: dict[str, Any] = {"half": "a\ud83d", "deep": nested(300), "loop": loop(), "mute": Silent()}


def make_column(strategy: str, odd: Any) -> Any:
    calls = iter(range(100))

    @dd.custom_column_generator(required_columns=["topic"])
    def by_cell(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "out": odd if next(calls) == 1 else "fine"}

    @dd.custom_column_generator(required_columns=["topic"])
    def by_batch(df: pd.DataFrame) -> pd.DataFrame:
        values = pd.Series(["fine"] * len(df), dtype=object)
        values[1] = odd
        return df.assign(out=values)

    chosen = by_batch if strategy == "full_column" else by_cell
    return builder().add_column(
        name="out", column_type="custom", generator_function=chosen, generation_strategy=strategy
    )


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("strategy", ["cell_by_cell", "full_column"])
def test_an_odd_value_of_a_function_costs_at_most_its_row(
    strategy: str, name: str, tmp_path: Path
) -> None:
    results = DataDesigner(tmp_path).create(
        make_column(strategy, ODD[name]), num_records=4, dataset_name="d"
    )
    if name == "half":
        assert sorted(results.load_dataset()["out"]) == ["a\ufffd", "fine", "fine", "fine"]
        return
    assert results.count_records() == 3
    (dropped,) = results.dropped
    assert dropped.error == "ValueNotStorableError"
    assert f"column 'out', row {dropped.row}: the value" in dropped.message


def test_an_odd_answer_of_a_model_costs_at_most_its_row(tmp_path: Path) -> None:
    deep = '{"x":' * 100 + "1" + "}" * 100
    answers = iter(['{"x": "half \\ud83d"}', deep, '{"x": 123456789012345678901234567890}'])
    made = builder(max_parallel_requests=1).add_column(
        name="out",
        column_type="llm-structured",
        model_alias="m",
        prompt="{{ topic }}",
        output_format={"type": "object"},
    )
    designer = DataDesigner(
        tmp_path,
        transport=ScriptedModel(lambda body: next(answers, '{"x": "fine"}')),
        run_config=dd.RunConfig(max_conversation_restarts=0),
    )
    results = designer.create(made, num_records=5, dataset_name="d")
    assert [row.error for row in results.dropped] == ["ValueNotStorableError"]
    assert results.count_records() == 4


class OddWhole(Column):
    """Whole columns with odd values."""

    column_type: Literal["odd-whole"] = "odd-whole"

    @property
    def required_columns(self) -> list[str]:
        return []

    def bind(self, binding: Binding) -> WholeColumn:
        return _OddWhole()


class _OddWhole(WholeColumn):
    def generate(self, batch: Batch, inputs: Any) -> Any:
        return [["half \ud83d"], loop(), *([1],) * (batch.size - 2)]


def test_columns_that_come_as_a_whole_pass_the_door_too(tmp_path: Path) -> None:
    made = dd.DataDesignerConfigBuilder([]).add_column(OddWhole(name="odd"))
    results = DataDesigner(tmp_path).create(made, num_records=3, dataset_name="d")
    assert results.count_records() == 2
    assert [row.message for row in results.dropped] == [
        "column 'odd', row 1: the value at [0]['self'] contains itself"
    ]
