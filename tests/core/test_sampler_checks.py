"""What is found to be wrong with sampler columns and their constraints before a run."""

from __future__ import annotations

import pytest

import dd_core.config as dd
from dd_core.column import Column
from dd_core.constraint import Constraint
from tests.core.test_sampler_columns import (
    LEVEL,
    ORDERED,
    RETURNED,
    SHIPPED,
    TONE,
    limit,
    problems,
    sampler,
    uniform,
)

LISTS = {"angry": ["a"], "calm": ["c"]}
SUB = {"category": "tone", "values": LISTS}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            [sampler("s", "subcategory", SUB)],
            "columns.s.params.category: 'tone' is no sampler column; name a category sampler",
        ),
        (
            [uniform("tone"), sampler("s", "subcategory", SUB)],
            "columns.s.params.category: 'tone' is a uniform sampler; name a category sampler",
        ),
        (
            [TONE, sampler("s", "subcategory", SUB | {"values": {"angry": ["a"]}})],
            "columns.s.params.values: there is no list for tone 'calm'; add the key",
        ),
        (
            [TONE, sampler("s", "subcategory", SUB | {"values": LISTS | {"sad": ["s"]}})],
            "columns.s.params.values: 'sad' is no value of 'tone'; remove the key",
        ),
        (
            [SHIPPED],
            "columns.shipped.params.reference_column_name: 'ordered' is no sampler column",
        ),
        (
            [uniform("ordered"), SHIPPED],
            "columns.shipped.params.reference_column_name: 'ordered' is a uniform sampler; name",
        ),
        (
            [uniform("a", conditional_params={"b > 1": {"low": 1, "high": 2}})],
            "columns.a.conditional_params['b > 1']: refers to 'b', which is no sampler column",
        ),
        (
            [
                dd.ExpressionColumnConfig(name="b", expr="1"),
                uniform("a", conditional_params={"b > 1": {"low": 1, "high": 2}}),
            ],
            "columns.a.conditional_params['b > 1']: refers to 'b', which is no sampler column",
        ),
        (
            [uniform("a", convert_to="bool")],
            "columns.a.convert_to: uniform values cannot become 'bool'; use 'float', 'int' or",
        ),
        (
            [sampler("tone", "category", {"values": ["x", "1"]}, convert_to="int")],
            "columns.tone.convert_to: some of the values are no numbers, so they cannot become",
        ),
        (
            [RETURNED.changed(convert_to="int")],
            "columns.returned.convert_to: 'int' has no directive; use a strftime pattern such as",
        ),
        (
            [RETURNED.changed(convert_to="%Q")],
            "columns.returned.convert_to: '%Q' is no strftime pattern; use one such as",
        ),
    ],
)
def test_wrong_references_and_conversions_are_found_before_the_run(
    columns: list[Column], message: str
) -> None:
    (found,) = problems(columns)
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([limit("a", "gt", "nobody")], "constraints.a: rhs 'nobody' is no sampler column; known"),
        ([limit("id", "gt", 1)], "constraints.id: uuid values have no order; remove the"),
        ([limit("tone", "gt", 1)], "constraints.tone: 'tone' holds texts, which do not compare"),
        ([limit("ordered", "gt", 1)], "constraints.ordered: 'ordered' holds points in time, wh"),
        ([limit("a", "gt", "ordered")], "constraints.a: 'a' holds numbers, which do not compare"),
        ([limit("a", "ge", 1)], "constraints.a: no value of 'a' can be ge 1.0; change the con"),
        ([limit("a", "lt", 0)], "constraints.a: no value of 'a' can be lt 0.0; change the con"),
        ([limit("level", "gt", 3)], "constraints.level: no value of 'level' can be gt 3.0"),
        (
            [limit("level", "gt", 1), limit("level", "lt", 2)],
            "constraints.level: no value of 'level' can be gt 1.0 and lt 2.0; change the",
        ),
        (
            [limit("bell", "gt", 5), limit("bell", "le", 5)],
            "constraints.bell: no value of 'bell' can be gt 5.0 and le 5.0; change the",
        ),
    ],
)
def test_constraints_that_nothing_can_satisfy_are_found_before_the_run(
    constraints: list[Constraint], message: str
) -> None:
    columns = [
        uniform("a"),
        sampler("id", "uuid", {}),
        TONE,
        LEVEL,
        ORDERED,
        sampler("bell", "gaussian", {"mean": 0, "stddev": 1}),
    ]
    (found,) = problems(columns, constraints)
    assert found.startswith(message)


@pytest.mark.parametrize(
    "constraints",
    [
        [limit("a", "le", 0)],
        [limit("a", "ge", 0.999_999)],
        [limit("rounded", "ge", 1)],
        [limit("level", "ge", 3)],
        [limit("a", "gt", 0.2), limit("a", "lt", 0.2001), limit("b", "gt", "a")],
    ],
)
def test_constraints_that_leave_any_room_are_no_problem(constraints: list[Constraint]) -> None:
    columns = [uniform("a"), uniform("b"), uniform("rounded", convert_to="int"), LEVEL]
    assert problems(columns, constraints) == []
