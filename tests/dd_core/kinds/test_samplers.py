"""What each kind of sampler draws, and which parameters it refuses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

import dd_core.config as dd
from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers.person_from_faker import LOCALES
from dd_core.kinds.samplers.sampler import SamplerParams
from dd_core.storage.arrow import Values

ROWS = 20_000

EVERY_KIND: list[SamplerParams] = [
    dd.UUIDSamplerParams(prefix="id-"),
    dd.UUIDSamplerParams(short_form=True, uppercase=True),
    dd.CategorySamplerParams(values=["a", "b", "c"], weights=[1, 0, 3]),
    dd.SubcategorySamplerParams(category="parent", values={"x": [1, 2, 3], "y": [4]}),
    dd.UniformSamplerParams(low=-1, high=1, decimal_places=3),
    dd.GaussianSamplerParams(mean=5, stddev=2),
    dd.BernoulliSamplerParams(p=0.3),
    dd.BinomialSamplerParams(n=1_000, p=0.3),
    dd.PoissonSamplerParams(mean=400),
    dd.ScipySamplerParams(dist_name="gamma", dist_params={"a": 2.5}),
    dd.ScipySamplerParams(dist_name="levy_stable", dist_params={"alpha": 1.8, "beta": -0.5}),
    dd.BernoulliMixtureSamplerParams(p=0.5, dist_name="nbinom", dist_params={"n": 5, "p": 0.1}),
    dd.DatetimeSamplerParams(start="2024-01-01", end="2024-06-01", unit="h"),
    dd.TimeDeltaSamplerParams(dt_min=1, dt_max=9, reference_column_name="when", unit="m"),
    dd.PersonFromFakerSamplerParams(),
]


def parents(rows: range) -> dict[str, Values]:
    """Values of the columns that some samplers need, the same for a row in every batch."""
    index = np.arange(rows.start, rows.stop)
    when = np.datetime64("2024-02-28T23:00:00", "s") + index.astype("timedelta64[s]")
    return {"parent": np.array(["x", "y"], dtype=object)[index % 2], "when": when}


def draw(params: SamplerParams, rows: range = range(ROWS), seed: int = 1) -> list[Any]:
    draws = Draws(seed, "column", rows.start, len(rows))
    values = params.finish(params.draw(draws, parents(rows)), None)
    return values if isinstance(values, list) else values.tolist()


def shares(values: list[Any]) -> Mapping[Any, float]:
    return {value: values.count(value) / len(values) for value in set(values)}


@pytest.mark.parametrize("params", EVERY_KIND, ids=lambda params: params.kind)
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=4), start=st.integers(0, 10_000))
def test_rows_are_the_same_however_they_are_split_into_batches(
    params: SamplerParams, cuts: list[int], start: int
) -> None:
    edges = [start, *sorted(start + cut for cut in cuts), start + 60]
    parts = [draw(params, range(a, b)) for a, b in pairwise(edges)]
    assert [value for part in parts for value in part] == draw(params, range(start, start + 60))


@pytest.mark.parametrize("params", EVERY_KIND, ids=lambda params: params.kind)
def test_another_seed_gives_other_rows(params: SamplerParams) -> None:
    rows = range(50)
    assert draw(params, rows, seed=1) == draw(params, rows, seed=1)
    assert draw(params, rows, seed=1) != draw(params, rows, seed=2)


@pytest.mark.parametrize("params", EVERY_KIND, ids=lambda params: params.kind)
def test_a_dump_reads_back_as_the_same_parameters(params: SamplerParams) -> None:
    assert type(params).model_validate_json(params.model_dump_json()) == params


def test_a_uuid_is_a_version_4_uuid_without_hyphens() -> None:
    values = draw(dd.UUIDSamplerParams())
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in values)
    assert {UUID(value).version for value in values} == {4}
    assert len(set(values)) == ROWS


def test_uppercase_leaves_the_prefix_alone() -> None:
    (value,) = draw(dd.UUIDSamplerParams(prefix="usr_", uppercase=True), range(1))
    assert re.fullmatch("usr_[0-9A-F]{32}", value)


def test_short_uuids_do_not_repeat_even_in_a_million_rows() -> None:
    values = draw(dd.UUIDSamplerParams(short_form=True), range(1_000_000))
    assert len(set(values)) == 1_000_000
    assert {len(value) for value in values} == {8}
    firsts = np.unique([value[0] for value in values], return_counts=True)[1]
    assert len(firsts) == 16
    assert firsts.min() > 60_000


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([1, 2], {1, 2}),
        ([1, 2.5], {1.0, 2.5}),
        ([1, "b"], {"1", "b"}),
    ],
)
def test_one_text_makes_a_category_text_and_integers_stay_integers(
    values: list[Any], drawn: set[Any]
) -> None:
    found = set(draw(dd.CategorySamplerParams(values=values), range(100)))
    assert found == drawn
    assert {type(value) for value in found} == {type(value) for value in drawn}


def test_weights_say_how_often_each_value_comes() -> None:
    params = dd.CategorySamplerParams(values=["a", "b", "c"], weights=[1, 0, 3])
    assert params.weights == [0.25, 0, 0.75]
    found = shares(draw(params))
    assert found.keys() == {"a", "c"}
    assert found["c"] == pytest.approx(0.75, abs=0.01)


def test_a_subcategory_comes_from_its_parents_list() -> None:
    params = dd.SubcategorySamplerParams(category="parent", values={"x": [1, 2], "y": [7]})
    values = draw(params)
    assert set(values[0::2]) == {1.0, 2.0}
    assert set(values[1::2]) == {7.0}
    assert shares(values[0::2])[1.0] == pytest.approx(0.5, abs=0.02)


def test_decimal_places_round_values() -> None:
    values = draw(dd.UniformSamplerParams(low=0, high=1, decimal_places=1))
    assert set(values) == {round(step / 10, 1) for step in range(11)}


@pytest.mark.parametrize(
    ("unit", "pattern"),
    [
        ("Y", r"\d{4}-01-01T00:00:00"),
        ("M", r"\d{4}-\d\d-01T00:00:00"),
        ("D", r"\d{4}-\d\d-\d\dT00:00:00"),
        ("h", r"\d{4}-\d\d-\d\dT\d\d:00:00"),
        ("m", r"\d{4}-\d\d-\d\dT\d\d:\d\d:00"),
        ("s", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"),
    ],
)
def test_points_in_time_are_cut_off_at_their_unit(unit: Any, pattern: str) -> None:
    params = dd.DatetimeSamplerParams(start="1960-01-01", end="2024-05-01", unit=unit)
    values = draw(params)
    assert all(re.fullmatch(pattern, value) for value in values)
    assert min(values) >= "1960-01-01"
    assert max(values) < "2024-05-01"


@pytest.mark.parametrize("start", ["January 5, 2024", "2024/01/05", "2024-01-05T02:00:00+02:00"])
def test_start_and_end_may_be_written_in_many_ways(start: str) -> None:
    params = dd.DatetimeSamplerParams(start=start, end="2024-01-06", unit="D")
    assert set(draw(params, range(10))) == {"2024-01-05T00:00:00"}


def test_a_timedelta_is_added_to_its_reference() -> None:
    params = dd.TimeDeltaSamplerParams(dt_min=2, dt_max=5, reference_column_name="when", unit="D")
    reference = np.array(parents(range(ROWS))["when"])
    days = (np.array(draw(params), dtype="datetime64[s]") - reference) / np.timedelta64(1, "D")
    assert shares(days.tolist()).keys() == {2.0, 3.0, 4.0}
    assert days.mean() == pytest.approx(3, abs=0.03)


def test_a_person_has_every_field_in_order() -> None:
    (person,) = draw(dd.PersonFromFakerSamplerParams(), range(1))
    assert " ".join(person) == (
        "uuid locale first_name last_name middle_name sex street_number street_name city state "
        "postcode age birth_date country marital_status education_level unit occupation "
        "phone_number bachelors_field"
    )


def test_people_are_as_asked_for() -> None:
    params = dd.PersonFromFakerSamplerParams(
        locale="fr_FR", sex="Female", city=["Lyon", "Nice"], age_range=[10, 20]
    )
    people = draw(params, range(500))
    assert {person["locale"] for person in people} == {"fr_FR"}
    assert {person["sex"] for person in people} == {"Female"}
    assert {person["city"] for person in people} == {"Lyon", "Nice"}
    assert {person["age"] for person in people} == {*range(10, 21)}
    assert {person["state"] for person in people} == {None}  # France has no states


def test_the_fields_of_a_person_agree_with_each_other() -> None:
    people = draw(dd.PersonFromFakerSamplerParams(age_range=[0, 114]), range(3_000))
    assert {person["sex"] for person in people} == {"Female", "Male"}
    assert len({person["uuid"] for person in people}) == len(people)
    assert len({person["last_name"] for person in people}) > 300
    for person in people:
        assert UUID(person["uuid"]).version == 4
        assert int(person["birth_date"][:4]) == 2025 - person["age"]
        assert (person["phone_number"] is None) == (person["age"] < 18)
        has_degree = person["education_level"] in ("bachelors", "graduate", "doctorate")
        assert has_degree == (person["bachelors_field"] != "no_degree")


@pytest.mark.slow
@pytest.mark.parametrize("locale", sorted(LOCALES))
def test_people_come_from_every_place(locale: str) -> None:
    params = dd.PersonFromFakerSamplerParams(locale=locale)
    assert [*params.problems("params", {})] == []
    for person in draw(params, range(20)):
        assert person["locale"] == locale
        assert all(person[field] for field in ("first_name", "last_name", "city", "country"))


def test_a_locale_that_faker_lacks_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faker.config.AVAILABLE_LOCALES", ["en_US"])
    (problem,) = dd.PersonFromFakerSamplerParams(locale="tw_GH").problems("params", {})
    assert str(problem).startswith("params.locale: the installed version of Faker has no locale")


@pytest.mark.slow
def test_people_are_the_same_in_another_process() -> None:
    script = (
        "import dd_core.config as dd; from dd_core.kinds.draws import Draws;"
        "params = dd.PersonFromFakerSamplerParams(locale='it_IT');"
        "print([*params.draw(Draws(1, 'column', 0, 20), {})])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}  # not the one of this process
    found = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
    people = draw(dd.PersonFromFakerSamplerParams(locale="it_IT"), range(20))
    assert found.strip() == str(people)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("category", {"values": []}, "at least 1 item"),
        ("category", {"values": [1, 2], "weights": [1]}, "weights has 1 entries for 2 values"),
        ("category", {"values": [1, 2], "weights": [2, -1]}, "weights must be finite and not neg"),
        ("category", {"values": [1], "weights": [0]}, "weights must not all be 0; set at least"),
        ("subcategory", {"category": "c", "values": {"a": []}}, "values of 'a' must not be empty"),
        ("uniform", {"low": 2, "high": 1}, r"low \(2.0\) must not be greater than high \(1.0\)"),
        ("uniform", {"low": 0, "high": float("inf")}, "finite number"),
        ("gaussian", {"mean": 0, "stddev": -1}, r"stddev \(-1.0\) must not be negative; use 1.0"),
        ("bernoulli", {"p": 1.5}, "less than or equal to 1"),
        ("datetime", {"start": "2024-01-01", "end": "2024-01-01"}, "start .* at least a second"),
        ("datetime", {"start": "2024-02-01", "end": "2024-01-01"}, "start .* at least a second"),
        ("datetime", {"start": "soon", "end": "2024-01-01"}, "'soon' is not a date or time; wr"),
        ("timedelta", {"dt_min": 3, "dt_max": 3}, r"dt_min \(3\) .* use dt_max=4"),
        (
            "timedelta",
            {"dt_min": 0, "dt_max": 10**7},
            r"dt_max \(10000000\) of unit 'D' exceeds 9998",
        ),
        ("uniform", {"low": -1e308, "high": 1e308}, "high - low must not be infinite"),
        ("binomial", {"n": -1, "p": 0.5}, "greater than or equal to 0"),
        ("binomial", {"n": 1, "p": 1.5}, "less than or equal to 1"),
        ("poisson", {"mean": -1}, "greater than or equal to 0"),
        ("poisson", {"mean": float("inf")}, "less than or equal to 1"),
        (
            "bernoulli_mixture",
            {"p": -0.1, "dist_name": "norm", "dist_params": {}},
            "greater than or equal to 0",
        ),
        ("scipy", {"dist_name": "norm"}, "dist_params"),
        ("person", {"locale": "xx_XX"}, "Input should be 'en_US', 'de_DE'"),
        ("person", {"age_range": [40, 30]}, "age_range must ascend"),
        ("person", {"city": []}, "city must not be an empty list"),
        ("person", {"select_field_values": {"zone": []}}, "the list of 'zone' must not be empty"),
        ("timedelta", {"dt_min": -1, "dt_max": 3}, "greater than or equal to 0"),
        ("person_from_faker", {"locale": "xx_XX"}, "locale 'xx_XX' is not supported; use one of"),
        ("person_from_faker", {"city": []}, "city must not be an empty list; leave it out"),
        ("person_from_faker", {"age_range": [30, 30]}, "age_range must ascend"),
        ("person_from_faker", {"age_range": [30, 115]}, "less than or equal to 114"),
        ("person_from_faker", {"age_range": [30]}, "at least 2 items"),
        ("uuid", {"sufix": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_impossible_parameters_are_refused_when_they_are_declared(
    kind: str, fields: dict[str, Any], message: str
) -> None:
    reference = {"reference_column_name": "when"} if kind == "timedelta" else {}
    with pytest.raises(ValidationError, match=message):
        SamplerParams.all_kinds()[kind].model_validate(fields | reference)
