"""What is found to be wrong with sampler columns and their constraints before a run."""

from __future__ import annotations

from typing import Any

import pytest

import dd_core.config as dd
from dd_core.kinds.columns.column import Column
from dd_core.kinds.constraint import Constraint
from tests.dd_core.kinds.test_sampler_columns import (
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


def scipy(dist_name: str, **dist_params: Any) -> dd.SamplerColumnConfig:
    return sampler("x", "scipy", {"dist_name": dist_name, "dist_params": dist_params})


LISTS = {"angry": ["a"], "calm": ["c"]}
SUB = {"category": "tone", "values": LISTS}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            [sampler("s", "subcategory", SUB)],
            "columns.s.params.category: 'tone' is not a sampler column; name a category sampler",
        ),
        (
            [uniform("tone"), sampler("s", "subcategory", SUB)],
            "columns.s.params.category: 'tone' is a uniform sampler; name a category sampler",
        ),
        (
            [TONE, sampler("s", "subcategory", SUB | {"values": {"angry": ["a"]}})],
            "columns.s.params.values: has no list for tone 'calm'; add this key",
        ),
        (
            [TONE, sampler("s", "subcategory", SUB | {"values": LISTS | {"sad": ["s"]}})],
            "columns.s.params.values: 'sad' is not a value of 'tone'; remove this key",
        ),
        (
            [SHIPPED],
            "columns.shipped.params.reference_column_name: 'ordered' is not a sampler column",
        ),
        (
            [uniform("ordered"), SHIPPED],
            "columns.shipped.params.reference_column_name: 'ordered' is a uniform sampler; name",
        ),
        (
            [uniform("a", conditional_params={"b > 1": {"low": 1, "high": 2}})],
            "columns.a.conditional_params['b > 1']: refers to 'b', which is not a sampler column",
        ),
        (
            [
                dd.ExpressionColumnConfig(name="b", expr="1"),
                uniform("a", conditional_params={"b > 1": {"low": 1, "high": 2}}),
            ],
            "columns.a.conditional_params['b > 1']: refers to 'b', which is not a sampler column",
        ),
        (
            [uniform("a", convert_to="bool")],
            "columns.a.convert_to: uniform values cannot be converted to 'bool'; use 'fl",
        ),
        (
            [sampler("tone", "category", {"values": ["x", "1"]}, convert_to="int")],
            "columns.tone.convert_to: some values are not numbers, which 'int' requires",
        ),
        (
            [sampler("x", "category", {"values": [1, 1e30]}, convert_to="int")],
            "columns.x.convert_to: some values are infinite or too large for 'int'",
        ),
        (
            [scipy("normal")],
            "columns.x.params.dist_name: scipy.stats has no distribution 'normal'; did you mean 'n",
        ),
        (
            [scipy("qqqq")],
            "columns.x.params.dist_name: scipy.stats has no distribution 'qqqq'; docs.scipy.org/",
        ),
        (
            [scipy("multivariate_normal")],
            "columns.x.params.dist_name: 'multivariate_normal' does not draw single numbers; use a",
        ),
        (
            [scipy("norm", sclae=2)],
            "columns.x.params.dist_params: 'norm' has no parameter 'sclae'; did you mean 'scale'",
        ),
        (
            [scipy("norm", size=2)],
            "columns.x.params.dist_params: 'norm' has no parameter 'size'; it accepts 'loc', 'sc",
        ),
        (
            [scipy("beta", a=2)],
            "columns.x.params.dist_params: 'beta' requires 'b'; add what is missing",
        ),
        (
            [scipy("norm", scale=-1)],
            "columns.x.params.dist_params: 'norm' is not defined for {'scale': -1}; see scipy.st",
        ),
        (
            [scipy("norm", loc=[1, 2])],
            "columns.x.params.dist_params: 'norm' is not defined for {'loc': [1.0, 2.0]}; see",
        ),
        (
            [
                sampler(
                    "x",
                    "bernoulli_mixture",
                    {"p": 0.5, "dist_name": "expon", "dist_params": {}},
                    conditional_params={
                        "1 > 0": {"p": 0.5, "dist_name": "gamma", "dist_params": {}}
                    },
                )
            ],
            "columns.x.conditional_params['1 > 0'].dist_params: 'gamma' requires 'a'; add",
        ),
        (
            [RETURNED.changed(convert_to="int")],
            "columns.returned.convert_to: 'int' has no directive; use a strftime pattern such as",
        ),
        (
            [RETURNED.changed(convert_to="%Q")],
            "columns.returned.convert_to: '%Q' is not a strftime pattern; use one such as",
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
        ([limit("a", "gt", "nobody")], "constraints.a: rhs 'nobody' is not a sampler column; kno"),
        ([limit("id", "gt", 1)], "constraints.id: uuid values have no order; remove the"),
        ([limit("tone", "gt", 1)], "constraints.tone: 'tone' holds text, which cannot be comp"),
        ([limit("ordered", "gt", 1)], "constraints.ordered: 'ordered' holds dates and times, w"),
        ([limit("a", "gt", "ordered")], "constraints.a: 'a' holds numbers, which cannot be comp"),
        ([limit("a", "ge", 1)], "constraints.a: no value of 'a' can be ge 1.0; change the con"),
        ([limit("a", "lt", 0)], "constraints.a: no value of 'a' can be lt 0.0; change the con"),
        ([limit("waits", "lt", 2)], "constraints.waits: no value of 'waits' can be lt 2.0; change"),
        ([limit("hits", "gt", 9)], "constraints.hits: no value of 'hits' can be gt 9.0; change"),
        ([limit("count", "lt", 0)], "constraints.count: no value of 'count' can be lt 0.0; chan"),
        ([limit("mixed", "lt", 0)], "constraints.mixed: no value of 'mixed' can be lt 0.0; chan"),
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
        sampler("waits", "scipy", {"dist_name": "expon", "dist_params": {"loc": 2}}),
        sampler("hits", "binomial", {"n": 9, "p": 0.5}),
        sampler("count", "poisson", {"mean": 3}),
        sampler(
            "mixed",
            "bernoulli_mixture",
            {"p": 0.5, "dist_name": "expon", "dist_params": {"loc": 1}},
        ),
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
