"""What samplers draw follows the distribution that they are named after."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import dd_core.config as dd
from dd_core import DataDesigner

ROWS = 10_000
SEED = 2026
UNLIKELY = 1e-3
"""Smaller p-values come about once in a thousand seeds if the distribution is right."""

Fields = dict[str, Any]


def generated(*columns: Fields, constraints: Any = (), rows: int = ROWS) -> pd.DataFrame:
    config = {
        "columns": [{"column_type": "sampler", **column} for column in columns],
        "constraints": [*constraints],
    }
    designer = DataDesigner(run_config=dd.RunConfig(seed=SEED))
    return designer.preview(config, num_records=rows).dataset


def column(kind: str, params: Fields, name: str = "x", **fields: Any) -> Fields:
    return {"name": name, "sampler_type": kind, "params": params, **fields}


def drawn(kind: str, params: Fields, **fields: Any) -> np.ndarray[Any, Any]:
    return generated(column(kind, params, **fields))["x"].to_numpy()


def fits(values: Any, distribution: Any) -> bool:
    """By the Kolmogorov-Smirnov test."""
    return bool(stats.kstest(values, distribution.cdf).pvalue > UNLIKELY)


def counts_fit(values: Any, expected: dict[Any, float]) -> bool:
    """By the chi-square test; `expected` are shares, and no other value may occur."""
    found = Counter(values)
    assert found.keys() <= expected.keys()
    counts = [found[value] for value in expected]
    total = sum(counts)
    shares = np.array([*expected.values()])
    return bool(stats.chisquare(counts, shares / shares.sum() * total).pvalue > UNLIKELY)


def whole_numbers_fit(values: Any, distribution: Any) -> bool:
    """By the chi-square test, with rare numbers at both ends put together."""
    low, high = distribution.ppf(0.005), distribution.ppf(0.995)
    shares = {int(k): float(distribution.pmf(k)) for k in np.arange(low + 1, high)}
    shares |= {low: float(distribution.cdf(low)), high: float(distribution.sf(high - 1))}
    return counts_fit(np.clip(values, low, high).astype(int).tolist(), shares)


CONTINUOUS = [
    ("uniform", {"low": -2, "high": 3}, stats.uniform(-2, 5)),
    ("gaussian", {"mean": 5, "stddev": 2}, stats.norm(5, 2)),
    ("scipy", {"dist_name": "gamma", "dist_params": {"a": 2, "scale": 3}}, stats.gamma(2, 0, 3)),
    ("scipy", {"dist_name": "beta", "dist_params": {"a": 0.5, "b": 2}}, stats.beta(0.5, 2)),
    ("scipy", {"dist_name": "norm", "dist_params": {"loc": 7}}, stats.norm(7)),
    ("scipy", {"dist_name": "skewnorm", "dist_params": {"a": 4}}, stats.skewnorm(4)),
    ("scipy", {"dist_name": "cauchy", "dist_params": {}}, stats.cauchy()),
]


@pytest.mark.parametrize(("kind", "params", "distribution"), CONTINUOUS)
def test_floats_follow_their_distribution(kind: str, params: Fields, distribution: Any) -> None:
    values = drawn(kind, params)
    assert values.dtype == np.float64
    assert fits(values, distribution)


WHOLE = [
    ("bernoulli", {"p": 0.3}, stats.binom(1, 0.3)),
    ("binomial", {"n": 20, "p": 0.25}, stats.binom(20, 0.25)),
    ("binomial", {"n": 1000, "p": 0.9}, stats.binom(1000, 0.9)),
    ("poisson", {"mean": 0.5}, stats.poisson(0.5)),
    ("poisson", {"mean": 80}, stats.poisson(80)),
    ("scipy", {"dist_name": "geom", "dist_params": {"p": 0.2}}, stats.geom(0.2)),
    ("scipy", {"dist_name": "randint", "dist_params": {"low": 1, "high": 7}}, stats.randint(1, 7)),
]


@pytest.mark.parametrize(("kind", "params", "distribution"), WHOLE)
def test_whole_numbers_follow_their_distribution(
    kind: str, params: Fields, distribution: Any
) -> None:
    values = drawn(kind, params)
    assert values.dtype == np.int64
    assert whole_numbers_fit(values, distribution)


@pytest.mark.parametrize(
    ("kind", "params", "value"),
    [
        ("bernoulli", {"p": 1}, 1),
        ("binomial", {"n": 9, "p": 1}, 9),
        ("binomial", {"n": 9, "p": 0}, 0),
        ("binomial", {"n": 0, "p": 0.5}, 0),
        ("poisson", {"mean": 0}, 0),
        ("uniform", {"low": 2, "high": 2}, 2),
        ("gaussian", {"mean": 2, "stddev": 0}, 2),
        ("bernoulli_mixture", {"p": 0, "dist_name": "norm", "dist_params": {}}, 0),
    ],
)
def test_distributions_without_spread_give_one_value(
    kind: str, params: Fields, value: float
) -> None:
    assert set(drawn(kind, params)) == {value}


def test_a_mixture_holds_zeros_beside_draws_from_its_distribution() -> None:
    params = {"p": 0.4, "dist_name": "expon", "dist_params": {"loc": 1, "scale": 2}}
    values = drawn("bernoulli_mixture", params)
    assert values.dtype == np.float64
    assert counts_fit((values != 0).tolist(), {True: 0.4, False: 0.6})
    assert fits(values[values != 0], stats.expon(1, 2))


def test_a_mixture_with_a_discrete_distribution_is_of_floats() -> None:
    params = {"p": 1, "dist_name": "poisson", "dist_params": {"mu": 4}}
    values = drawn("bernoulli_mixture", params)
    assert values.dtype == np.float64
    assert whole_numbers_fit(values, stats.poisson(4))


def test_a_distribution_may_take_a_list() -> None:
    params = {"dist_name": "poisson_binom", "dist_params": {"p": [0.1, 0.5, 0.9]}}
    assert whole_numbers_fit(drawn("scipy", params), stats.poisson_binom([0.1, 0.5, 0.9]))


def test_a_category_follows_its_weights() -> None:
    params = {"values": ["a", "b", "c", "d"], "weights": [6, 3, 0, 1]}
    assert counts_fit(drawn("category", params), {"a": 0.6, "b": 0.3, "d": 0.1})


def test_a_category_without_weights_is_even() -> None:
    assert counts_fit(drawn("category", {"values": [*range(50)]}), dict.fromkeys(range(50), 1))


def test_a_subcategory_is_even_within_its_category() -> None:
    rows = generated(
        column("category", {"values": ["x", "y"], "weights": [3, 1]}, "parent"),
        column("subcategory", {"category": "parent", "values": {"x": [1, 2, 3], "y": [7, 8]}}),
    )
    assert counts_fit(rows["x"][rows["parent"] == "x"], {1.0: 1, 2.0: 1, 3.0: 1})
    assert counts_fit(rows["x"][rows["parent"] == "y"], {7.0: 1, 8.0: 1})


@pytest.mark.parametrize(
    ("unit", "pattern", "share"),
    [
        ("Y", "%Y", {"2023": 365, "2024": 366}),
        ("M", "%m", {f"{month:02}": 0 for month in range(1, 13)}),
        ("h", "%H", {f"{hour:02}": 1 for hour in range(24)}),
        ("m", "%M", {f"{minute:02}": 1 for minute in range(60)}),
        ("s", "%S", {f"{second:02}": 1 for second in range(60)}),
    ],
)
def test_points_in_time_are_even(unit: str, pattern: str, share: dict[str, float]) -> None:
    params = {"start": "2023-01-01", "end": "2025-01-01", "unit": unit}
    days = Counter(pd.date_range("2023-01-01", "2024-12-31").strftime("%m"))
    expected = {value: weight or days[value] for value, weight in share.items()}
    assert counts_fit(drawn("datetime", params, convert_to=pattern), expected)


def test_points_in_time_fill_their_range() -> None:
    values = drawn("datetime", {"start": "2024-01-01", "end": "2024-01-02", "unit": "s"})
    seconds = (pd.to_datetime(values) - pd.Timestamp("2024-01-01")).total_seconds()
    assert fits(seconds, stats.uniform(0, 86_400))


@pytest.mark.parametrize(("unit", "seconds"), [("D", 86_400), ("h", 3600), ("m", 60), ("s", 1)])
def test_times_after_a_reference_are_even(unit: str, seconds: int) -> None:
    params = {"dt_min": 2, "dt_max": 12, "reference_column_name": "when", "unit": unit}
    rows = generated(
        column("datetime", {"start": "2024-01-01", "end": "2024-06-01"}, "when"),
        column("timedelta", params),
    )
    after = pd.to_datetime(rows["x"]) - pd.to_datetime(rows["when"])
    assert counts_fit(after.dt.total_seconds() / seconds, dict.fromkeys(range(2, 12), 1))


def test_every_digit_of_a_uuid_is_even() -> None:
    values = drawn("uuid", {})
    for place in (0, 7, 11, 15, 20, 31):
        digits = [value[place] for value in values]
        assert counts_fit(digits, dict.fromkeys("0123456789abcdef", 1))


def test_ages_sexes_and_birthdays_of_people_are_even() -> None:
    people = drawn("person_from_faker", {"age_range": [20, 39]})
    assert counts_fit([person["age"] for person in people], dict.fromkeys(range(20, 40), 1))
    assert counts_fit([person["sex"] for person in people], {"Male": 1, "Female": 1})
    days = Counter(pd.date_range("2025-01-01", "2025-12-31").strftime("%m"))
    assert counts_fit([person["birth_date"][5:7] for person in people], days)


def test_columns_and_neighbouring_rows_are_independent() -> None:
    kinds = [("uniform", {"low": 0, "high": 1}), ("gaussian", {"mean": 0, "stddev": 1})]
    kinds += [("poisson", {"mean": 30}), ("scipy", {"dist_name": "norm", "dist_params": {}})]
    rows = generated(
        *(column(kind, params, f"{kind}{n}") for kind, params in kinds for n in range(2))
    )
    following = rows.shift(-1).add_suffix("_next")
    found = pd.concat([rows, following], axis=1)[:-1].corr().to_numpy()
    assert np.abs(found[~np.eye(len(found), dtype=bool)]).max() < 4.5 / ROWS**0.5


def test_each_condition_has_its_own_distribution() -> None:
    rows = generated(
        column("category", {"values": [1, 2, 3]}, "level"),
        column(
            "scipy",
            {"dist_name": "norm", "dist_params": {}},
            conditional_params={
                "level == 2": {"dist_name": "expon", "dist_params": {"scale": 9}},
                "level == 3": {"dist_name": "gamma", "dist_params": {"a": 2}},
            },
        ),
    )
    for level, distribution in enumerate([stats.norm(), stats.expon(0, 9), stats.gamma(2)], 1):
        assert fits(rows["x"][rows["level"] == level], distribution)


def test_constraints_leave_the_distribution_within_their_bounds() -> None:
    limits = [
        {"target_column": "x", "operator": "gt", "rhs": 1},
        {"target_column": "x", "operator": "le", "rhs": 2},
        {"target_column": "share", "operator": "lt", "rhs": "x"},
    ]
    rows = generated(
        column("gaussian", {"mean": 0, "stddev": 1}),
        column("uniform", {"low": 0, "high": 5}, "share"),
        constraints=limits,
    )
    assert rows["x"].between(1, 2, inclusive="right").all()
    assert fits(rows["x"], stats.truncnorm(1, 2))
    assert fits(rows["share"] / rows["x"], stats.uniform())


def test_constraints_on_whole_numbers_hold_with_conditions() -> None:
    rows = generated(
        column("category", {"values": ["few", "many"]}, "amount"),
        column("poisson", {"mean": 2}, conditional_params={"amount == 'many'": {"mean": 8}}),
        column("binomial", {"n": 40, "p": 0.5}, "less"),
        constraints=[
            {"target_column": "x", "operator": "ge", "rhs": 1},
            {"target_column": "less", "operator": "ge", "rhs": "x"},
        ],
        rows=3_000,
    )
    assert rows["x"].min() == 1
    assert (rows["less"] >= rows["x"]).all()
    few = rows["x"][rows["amount"] == "few"].to_numpy()
    assert fits_truncated(few, stats.poisson(2), least=1)


def fits_truncated(values: Any, distribution: Any, least: int) -> bool:
    most = int(distribution.ppf(0.995))
    shares = {k: float(distribution.pmf(k)) for k in range(least, most)}
    shares[most] = float(distribution.sf(most - 1))
    return counts_fit(np.minimum(values, most).tolist(), shares)


@pytest.mark.parametrize(
    ("convert_to", "places", "dtype", "step"),
    [(None, 2, "float64", 0.01), ("int", 2, "int64", 1), ("float", 0, "float64", 1)],
)
def test_rounding_and_conversion_keep_the_distribution(
    convert_to: str | None, places: int, dtype: str, step: float
) -> None:
    params = {"dist_name": "norm", "dist_params": {"scale": 50}, "decimal_places": places}
    values = drawn("scipy", params, convert_to=convert_to)
    assert values.dtype == dtype
    assert np.allclose(values / step, np.rint(values / step))
    spread = (np.random.default_rng(0).random(ROWS) - 0.5) * step  # undoes the rounding
    assert fits(values + spread, stats.norm(0, 50))


def test_whole_numbers_become_text_on_demand() -> None:
    values = drawn("poisson", {"mean": 3}, convert_to="str")
    assert all(value.isdigit() for value in values)
    assert drawn("binomial", {"n": 3, "p": 0.5}, convert_to="float").dtype == np.float64
