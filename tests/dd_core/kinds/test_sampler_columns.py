"""Sampler columns: conditional parameters, constraints, conversion, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

import dd_core.config as dd
from dd_core.errors import SamplerError
from dd_core.kinds.columns.column import Column
from dd_core.kinds.constraint import Constraint
from dd_core.kinds.generators import WholeColumn
from dd_core.kinds.scope import Scope
from dd_core.storage.arrow import Values
from dd_core.storage.batch import Batch
from tests.datasets import binding

ROWS = 2_000


def sampler(name: str, kind: str, params: dict[str, Any], **fields: Any) -> dd.SamplerColumnConfig:
    return dd.SamplerColumnConfig.model_validate(
        {"name": name, "sampler_type": kind, "params": params, **fields}
    )


def uniform(name: str, low: float = 0, high: float = 1, **fields: Any) -> dd.SamplerColumnConfig:
    return sampler(name, "uniform", {"low": low, "high": high}, **fields)


def limit(target: str, operator: str, rhs: float | str) -> Constraint:
    kind = dd.ColumnInequalityConstraint if isinstance(rhs, str) else dd.ScalarInequalityConstraint
    return kind.model_validate({"target_column": target, "operator": operator, "rhs": rhs})


def sample(
    columns: Sequence[dd.SamplerColumnConfig],
    constraints: Sequence[Constraint] = (),
    rows: range = range(ROWS),
) -> dict[str, list[Any]]:
    """The columns, which must be in an order in which they can be generated."""
    bound = binding(
        seed=11,
        constraints=constraints,
        columns={column.name: column for column in columns},
    )
    done: dict[str, Values] = {}
    for column in columns:
        inputs = {name: done[name] for name in column.inputs(constraints)}
        generator = column.bind(bound)
        assert isinstance(generator, WholeColumn)
        done[column.name] = generator.generate(Batch(0, rows.start, len(rows)), inputs)
    return {
        name: values if isinstance(values, list) else values.tolist()
        for name, values in done.items()
    }


def problems(columns: Sequence[Column], constraints: Sequence[Constraint] = ()) -> list[str]:
    scope = Scope(
        columns={column.name: column for column in columns},
        names=frozenset(column.name for column in columns),
        models={},
        constraints=constraints,
    )
    return [str(problem) for column in columns for problem in column.problems(scope)]


TONE = sampler("tone", "category", {"values": ["angry", "calm"]})
LEVEL = sampler("level", "category", {"values": [1, 2, 3]})
ORDERED = sampler(
    "ordered", "datetime", {"start": "2024-01-01", "end": "2024-03-01"}, convert_to="%d.%m.%Y"
)
SHIPPED = sampler(
    "shipped",
    "timedelta",
    {"dt_min": 0, "dt_max": 30, "reference_column_name": "ordered"},
)
RETURNED = sampler("returned", "datetime", {"start": "2024-01-01", "end": "2024-06-01"})
WORDS = sampler(
    "words",
    "gaussian",
    {"mean": 100, "stddev": 20},
    conditional_params={"tone == 'angry'": {"mean": 10, "stddev": 5}},
    convert_to="int",
)
CHAIN: list[dd.SamplerColumnConfig] = [TONE, LEVEL, ORDERED, SHIPPED, RETURNED, WORDS]
CHAIN_LIMITS = [
    limit("words", "ge", 1),
    limit("returned", "gt", "shipped"),
    limit("shipped", "gt", "ordered"),
]


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 50), max_size=4), start=st.integers(0, 10_000))
def test_conditions_and_constraints_do_not_tie_rows_to_their_batch(
    cuts: list[int], start: int
) -> None:
    edges = [start, *sorted(start + cut for cut in cuts), start + 50]
    parts = [sample(CHAIN, CHAIN_LIMITS, range(a, b)) for a, b in pairwise(edges)]
    whole = sample(CHAIN, CHAIN_LIMITS, range(start, start + 50))
    assert {name: [value for part in parts for value in part[name]] for name in whole} == whole


def test_every_row_keeps_every_constraint() -> None:
    rows = sample(CHAIN, CHAIN_LIMITS)
    ordered = ["-".join(reversed(text.split("."))) for text in rows["ordered"]]
    assert all(a < b[:10] for a, b in zip(ordered, rows["shipped"], strict=True))
    assert all(a < b for a, b in zip(rows["shipped"], rows["returned"], strict=True))
    assert min(rows["words"]) >= 1


@pytest.mark.parametrize("operator", ["lt", "le", "gt", "ge"])
def test_each_operator_holds_against_a_number_and_a_column(operator: str) -> None:
    holds = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
    columns = [sampler(name, "category", {"values": [1, 2, 3]}) for name in "ab"]
    edge = {"lt": 3, "le": 2, "gt": 1, "ge": 2}[operator]
    rows = sample(columns[:1], [limit("a", operator, edge)])
    assert holds[operator](rows["a"], edge).all()
    assert len(set(rows["a"])) == 2
    wide = sampler("b", "uniform", {"low": -9, "high": 9}, convert_to="int")
    rows = sample([columns[0], wide], [limit("b", operator, "a")])
    assert holds[operator](rows["b"], rows["a"]).all()


def test_a_row_whose_neighbour_leaves_little_room_is_drawn_until_it_fits() -> None:
    rows = sample([uniform("a"), uniform("b")], [limit("b", "lt", "a")], range(20_000))
    assert min(rows["a"]) < 1e-4
    assert all(b < a for a, b in zip(rows["a"], rows["b"], strict=True))


def test_rows_that_cannot_satisfy_a_constraint_are_an_error_that_names_it() -> None:
    columns = [uniform("a"), uniform("b", low=2, high=3)]
    with pytest.raises(SamplerError, match=r"row 0 of column 'b' has no value that is lt a"):
        sample(columns, [limit("b", "lt", "a")])


def test_the_last_condition_that_is_true_decides() -> None:
    column = sampler(
        "size",
        "category",
        {"values": ["base"]},
        conditional_params={
            "level >= 2": {"values": ["two"]},
            "level == 3 and tone == 'calm'": {"values": ["three"]},
        },
    )
    rows = sample([TONE, LEVEL, column])
    for tone, level, size in zip(rows["tone"], rows["level"], rows["size"], strict=True):
        if level == 3 and tone == "calm":
            assert size == "three"
        else:
            assert size == ("two" if level >= 2 else "base")


def test_only_true_itself_makes_a_condition_true() -> None:
    column = sampler("x", "bernoulli", {"p": 0}, conditional_params={"level": {"p": 1}})
    assert set(sample([LEVEL, column])["x"]) == {0}


def test_conditions_see_points_in_time_as_iso_text_and_look_into_people() -> None:
    person = sampler("who", "person_from_faker", {"age_range": [10, 30]})
    late = sampler(
        "late", "bernoulli", {"p": 0}, conditional_params={"ordered >= '2024-02-01'": {"p": 1}}
    )
    adult = sampler("adult", "bernoulli", {"p": 0}, conditional_params={"who.age > 17": {"p": 1}})
    rows = sample([person, ORDERED, late, adult], rows=range(200))
    assert [text[3:5] == "02" for text in rows["ordered"]] == [*map(bool, rows["late"])]
    assert [who["age"] > 17 for who in rows["who"]] == [*map(bool, rows["adult"])]


def test_a_batch_in_which_no_condition_is_true_has_the_same_type() -> None:
    column = sampler(
        "x", "category", {"values": [1]}, conditional_params={"level > 5": {"values": [0.5]}}
    )
    assert {type(value) for value in sample([LEVEL, column])["x"]} == {float}


def test_a_subcategory_follows_a_category_with_conditional_values() -> None:
    topic = sampler(
        "topic",
        "category",
        {"values": ["bug", "praise"]},
        conditional_params={"tone == 'angry'": {"values": ["insult"]}},
    )
    detail = sampler(
        "detail",
        "subcategory",
        {"category": "topic", "values": {"bug": ["b"], "praise": ["p"], "insult": ["i"]}},
    )
    assert problems([TONE, topic, detail]) == []
    rows = sample([TONE, topic, detail])
    assert rows["detail"] == [value[0] for value in rows["topic"]]
    assert set(rows["detail"]) == {"b", "p", "i"}


def test_integer_categories_find_their_subcategories() -> None:
    values = {1: ["one"], 2: ["two"], 3: ["three"]}
    word = sampler("word", "subcategory", {"category": "level", "values": values})
    assert problems([LEVEL, word]) == []
    rows = sample([LEVEL, word])
    assert rows["word"] == [values[level][0] for level in rows["level"]]


@pytest.mark.parametrize(
    ("convert_to", "drawn"),
    [
        (None, {0.0, 0.5, 1.0, 1.5, 2.0}),
        ("float", {0.0, 0.5, 1.0, 1.5, 2.0}),
        ("int", {0, 1, 2}),
        ("str", {"0.0", "0.5", "1.0", "1.5", "2.0"}),
    ],
)
def test_values_are_rounded_before_they_are_converted(
    convert_to: str | None, drawn: set[Any]
) -> None:
    halves = sampler("x", "category", {"values": [0, 0.5, 1, 1.5, 2]}, convert_to=convert_to)
    assert set(sample([halves])["x"]) == drawn
    rounded = sampler(
        "y", "uniform", {"low": 0, "high": 1, "decimal_places": 1}, convert_to=convert_to
    )
    assert len(set(sample([rounded])["y"])) == (2 if convert_to == "int" else 11)


def test_numbers_in_text_can_become_integers() -> None:
    column = sampler("x", "category", {"values": ["1", "20"]}, convert_to="int")
    assert problems([column]) == []
    assert set(sample([column])["x"]) == {1, 20}


def test_draws_too_large_for_an_integer_are_an_error() -> None:
    wild = sampler("x", "scipy", {"dist_name": "loggamma", "dist_params": {"c": 1, "scale": 1e20}})
    assert len(sample([wild])["x"]) == ROWS
    with pytest.raises(SamplerError, match="infinite or too large for 'int'; use convert"):
        sample([wild.changed(convert_to="int")])


def test_points_in_time_after_the_year_9999_are_an_error() -> None:
    late = sampler("ordered", "datetime", {"start": "9999-12-31", "end": "9999-12-31T12:00"})
    with pytest.raises(SamplerError, match=r"10000-01-.* is after the year 9999; use an earlier"):
        sample(
            [
                late,
                SHIPPED.changed(
                    params=dd.TimeDeltaSamplerParams(
                        dt_min=1, dt_max=2, reference_column_name="ordered"
                    )
                ),
            ]
        )


def test_points_in_time_are_formatted_by_their_pattern() -> None:
    (text,) = set(
        sample(
            [
                sampler(
                    "x",
                    "datetime",
                    {"start": "2024-05-01", "end": "2024-05-02"},
                    convert_to="%B %-d, %Y",
                )
            ]
        )["x"]
    )
    assert text == "May 1, 2024"


def test_the_params_may_be_a_dict_an_object_and_name_their_kind_or_not() -> None:
    column = sampler("x", "uuid", {"prefix": "a"})
    assert column == sampler("x", "uuid", {"prefix": "a", "sampler_type": "uuid"})
    params = dd.UUIDSamplerParams(prefix="a")
    assert column == dd.SamplerColumnConfig(
        name="x", sampler_type=dd.SamplerType.UUID, params=params
    )
    assert dd.SamplerColumnConfig.model_validate_json(WORDS.model_dump_json()) == WORDS


def test_a_column_requires_its_parents_and_what_its_conditions_name() -> None:
    assert WORDS.required_columns == ["tone"]
    assert SHIPPED.required_columns == ["ordered"]
    assert RETURNED.inputs(CHAIN_LIMITS) == ["shipped"]
    assert SHIPPED.inputs(CHAIN_LIMITS) == ["ordered"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sampler_type": "dice"}, "sampler_type 'dice' does not exist; use one of 'bernoulli'"),
        ({"params": dd.UUIDSamplerParams()}, "params are of sampler_type 'uuid', but the"),
        ({"params": {"sampler_type": "uuid"}}, "params are of sampler_type 'uuid', but the"),
        ({"conditional_params": {"a ==": {"p": 1}}}, "a =="),
        ({"skip": {"when": "{{ tone == 'calm' }}"}}, "sampler column 'x' cannot be skipped; rem"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    good: dict[str, Any] = {"name": "x", "sampler_type": "bernoulli", "params": {"p": 0.5}}
    with pytest.raises(ValidationError, match=message):
        dd.SamplerColumnConfig.model_validate(good | fields)
