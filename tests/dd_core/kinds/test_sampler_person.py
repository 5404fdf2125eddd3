"""People from managed datasets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import InvalidConfigError

PEOPLE = 1_000
STATES = ["TX", "Maine", "PR", "ZZ"]


def people(count: int = PEOPLE) -> pa.Table:
    """Everybody differs; ages go from 0 to 99, and every second one is a woman."""
    numbers = range(count)
    return pa.table(
        {
            "uuid": [f"person-{number}" for number in numbers],
            "first_name": [["Zoë", "Jim", "愛"][number % 3] for number in numbers],
            "middle_name": pa.nulls(count, pa.string()),
            "last_name": ["O'Neil" for _ in numbers],
            "sex": pa.array([["Male", "Female"][n % 2] for n in numbers]).dictionary_encode(),
            "age": [number % 100 for number in numbers],
            "city": [f"City {number % 7}" for number in numbers],
            "region": [STATES[number % 4] for number in numbers],
            "postcode": [None if number % 5 == 0 else f"{number:05}" for number in numbers],
            "is_first_gen_immigrant": [number % 3 == 0 for number in numbers],
            "openness": [{"score": number, "label": "high"} for number in numbers],
            "hobbies_and_interests_list": [["chess", f"tea {number}"] for number in numbers],
            "persona": [f"Somebody {number}" for number in numbers],
            "row_checksum": [*numbers],
        }
    )


def store(assets: Path, table: pa.Table, locale: str = "en_US") -> Path:
    path = assets / "datasets" / f"{locale}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, row_group_size=150)
    return path


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    store(tmp_path, people())
    return tmp_path


def config(conditional: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    who = {"name": "who", "column_type": "sampler", "sampler_type": "person", "params": params}
    half = {"name": "half", "column_type": "sampler", "sampler_type": "category"}
    return {
        "columns": [
            half | {"params": {"values": [1, 2]}},
            who | {"conditional_params": conditional or {}},
        ]
    }


def sample(assets: Path, rows: int = 200, seed: int = 1, **params: Any) -> list[dict[str, Any]]:
    designer = DataDesigner(managed_assets_path=assets, run_config=dd.RunConfig(seed=seed))
    return designer.preview(config(**params), num_records=rows).dataset["who"].tolist()


def problem(assets: Path, **params: Any) -> str:
    with pytest.raises(InvalidConfigError) as error:
        DataDesigner(managed_assets_path=assets).validate(config(**params))
    (found,) = error.value.problems
    return str(found)


def test_a_person_has_the_fields_of_the_dataset_and_some_that_fit_them(assets: Path) -> None:
    for person in sample(assets):
        assert " ".join(person) == (
            "uuid first_name last_name sex age postcode city locale birth_date state "
            "email_address phone_number national_id is_first_gen_immigrant"
        )
        assert person["locale"] == "en_US"
        assert int(person["birth_date"][:4]) == 2025 - person["age"]
        assert person["state"] == STATES[int(person["uuid"].split("-")[1]) % 4]
        assert re.fullmatch(r"\d{3}-\d\d-\d{4}", person["national_id"])


def test_numbers_belong_to_the_state(assets: Path) -> None:
    found = sample(assets, rows=500)
    areas = {state: set[str]() for state in STATES}
    codes = {state: set[str]() for state in STATES}
    for person in found:
        assert (person["phone_number"] is None) == (person["postcode"] is None)
        areas[person["state"]].add(person["national_id"][:3])
        codes[person["state"]].add((person["phone_number"] or "")[:3])
    assert codes["Maine"] == {"207", ""}
    assert codes["PR"] == {"787", "939", ""}
    assert codes["TX"] >= {"512", "214"}
    assert len(codes["ZZ"]) > 50
    assert areas["Maine"] == {"004", "005", "006", "007"}
    assert "666" not in areas["ZZ"]


def test_children_have_neither_telephone_nor_e_mail(assets: Path) -> None:
    for person in sample(assets, age_range=[10, 25]):
        assert person["age"] in range(10, 26)
        if person["age"] < 18:
            assert person["email_address"] is None
            assert person["phone_number"] is None
        else:
            names = r"user\d+" if person["first_name"] == "愛" else r"(zoe|jim|z|j)[._]?oneil\d*"
            assert re.fullmatch(names + r"@[a-z]+\.com", person["email_address"])


def test_only_some_locales_have_national_numbers(assets: Path) -> None:
    store(assets, people(), "ja_JP")
    (person,) = sample(assets, rows=1, locale="ja_JP")
    assert person["locale"] == "ja_JP"
    assert "region" in person
    assert person.keys().isdisjoint({"phone_number", "national_id", "state"})


def test_people_of_germany_have_english_sexes(assets: Path) -> None:
    known = people().drop_columns(["sex", "persona"])
    sexes = [["Männlich", "Weiblich", "divers"][number % 3] for number in range(PEOPLE)]
    for name, values in {"sex": sexes, "kreis_code": ["09162"] * PEOPLE}.items():
        known = known.append_column(name, pa.array(values))
    store(assets, known, "de_DE")
    everybody = sample(assets, locale="de_DE")
    assert {person["sex"] for person in everybody} == {"Male", "Female", "divers"}
    assert {person["kreis_code"] for person in everybody} == {"09162"}
    women = sample(assets, locale="de_DE", sex="Female")
    assert {person["sex"] for person in women} == {"Female"}
    for names in (["Female", "divers"], ["Weiblich", "divers"]):
        some = sample(assets, locale="de_DE", select_field_values={"sex": names})
        assert {person["sex"] for person in some} == {"Female", "divers"}


def test_people_of_britain_have_the_fields_of_their_census(assets: Path) -> None:
    known = people()
    for name in ("ethnicity", "country_of_birth", "disability"):
        known = known.append_column(name, pa.array(["some"] * PEOPLE))
    store(assets, known, "en_GB")
    (person,) = sample(assets, rows=1, locale="en_GB", sex="Male")
    assert (person["sex"], person["ethnicity"], person["disability"]) == ("Male", "some", "some")


def test_fields_of_the_dataset_go_before_made_up_ones(assets: Path) -> None:
    known = people().append_column("email_address", pa.array(["a@b.example"] * PEOPLE))
    store(assets, known)
    assert {person["email_address"] for person in sample(assets)} == {"a@b.example"}


def test_personas_are_there_on_demand(assets: Path) -> None:
    for person in sample(assets, with_synthetic_personas=True):
        number = int(person["uuid"].split("-")[1])
        assert [*person][-3:] == ["persona", "hobbies_and_interests_list", "openness"]
        assert person["persona"] == f"Somebody {number}"
        assert [*person["hobbies_and_interests_list"]] == ["chess", f"tea {number}"]
        assert person["openness"] == {"score": number, "label": "high"}


@pytest.mark.parametrize(
    ("params", "field", "values"),
    [
        ({"sex": "Female"}, "sex", {"Female"}),
        ({"city": "City 3"}, "city", {"City 3"}),
        ({"city": ["City 3", "City 5"]}, "city", {"City 3", "City 5"}),
        ({"age_range": [0, 1]}, "age", {0, 1}),
        (
            {"age_range": [20, 30], "select_field_values": {"age": ["1", "20", "21"]}},
            "age",
            {20, 21},
        ),
        ({"select_field_values": {"state": ["PR", "ZZ"]}}, "state", {"PR", "ZZ"}),
        ({"select_field_values": {"postcode": ["00066"]}}, "postcode", {"00066"}),
        (
            {"select_field_values": {"is_first_gen_immigrant": ["True"]}},
            "is_first_gen_immigrant",
            {True},
        ),
    ],
)
def test_filters_hold_for_everybody(
    assets: Path, params: dict[str, Any], field: str, values: set[Any]
) -> None:
    assert {person[field] for person in sample(assets, **params)} == values


def test_filters_hold_together_and_by_condition(assets: Path) -> None:
    dataset = (
        DataDesigner(managed_assets_path=assets)
        .preview(
            config(
                {"half == 2": {"sex": "Male", "age_range": [60, 70]}}, sex="Female", city="City 1"
            ),
            num_records=300,
        )
        .dataset
    )
    for half, who in zip(dataset["half"], dataset["who"], strict=True):
        if half == 2:
            assert who["sex"] == "Male"
            assert 60 <= who["age"] <= 70
        else:
            assert (who["sex"], who["city"]) == ("Female", "City 1")


def test_nobody_comes_twice_before_everybody_has_come(assets: Path) -> None:
    names = [person["uuid"] for person in sample(assets, rows=2_500, age_range=[0, 99])]
    for turn in (names[:PEOPLE], names[PEOPLE : 2 * PEOPLE]):
        assert len(set(turn)) == PEOPLE
    assert len(set(names[2 * PEOPLE :])) == 500
    assert names[:PEOPLE] != names[PEOPLE : 2 * PEOPLE]
    assert len(sample(assets, rows=50, select_field_values={"uuid": ["person-55"]})) == 50


@pytest.mark.slow
def test_people_do_not_depend_on_the_batches(assets: Path) -> None:
    def created(size: int, seed: int = 1) -> list[dict[str, Any]]:
        run_config = dd.RunConfig(seed=seed, buffer_size=size)
        designer = DataDesigner(assets, managed_assets_path=assets, run_config=run_config)
        made = designer.create(config(), num_records=4_300, dataset_name=f"of-{size}-{seed}")
        return made.load_dataset()["who"].tolist()

    assert created(4_300) == created(990)
    assert created(990) != created(990, seed=2)


def test_the_folder_comes_from_the_environment_or_the_home(
    assets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("DATA_DESIGNER_MANAGED_ASSETS_PATH", str(assets))
    assert len(DataDesigner().preview(config(), num_records=3).dataset) == 3
    monkeypatch.delenv("DATA_DESIGNER_MANAGED_ASSETS_PATH")
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DATA_DESIGNER_HOME", str(home))
    with pytest.raises(InvalidConfigError, match=re.escape(str(home / "managed-assets"))):
        DataDesigner().validate(config())
    (home / "managed-assets").symlink_to(assets)
    assert len(DataDesigner().preview(config(), num_records=3).dataset) == 3


def test_expressions_read_people(assets: Path) -> None:
    columns: Sequence[Any] = config()["columns"]
    mail = {"name": "to", "column_type": "expression", "expr": "{{ who.city }}: {{ who.age }}"}
    designer = DataDesigner(managed_assets_path=assets)
    made = designer.preview({"columns": [*columns[:1], columns[1] | {"drop": True}, mail]})
    assert made.dataset["to"].str.fullmatch(r"City \d: \d+").all()


def test_a_missing_file_is_a_problem_that_says_where_it_should_be(assets: Path) -> None:
    found = problem(assets, locale="fr_FR")
    assert found.startswith("columns.who.params.locale: the people of 'fr_FR' are missing: there")
    assert str(assets / "datasets" / "fr_FR.parquet") in found
    assert found.endswith("contains datasets/, or use person_from_faker")


def without(*names: str) -> pa.Table:
    return people().drop_columns([*names])


@pytest.mark.parametrize(
    ("table", "params", "message"),
    [
        (
            people(),
            {"city": "Rome"},
            "params: nobody in the dataset matches {'locale': 'en_US', ",
        ),
        (people(), {"age_range": [100, 110]}, "params: nobody in the dataset matches {"),
        (people(0), {}, "params: nobody in the dataset matches {"),
        (
            people(),
            {"select_field_values": {"opennes": ["1"]}},
            "params.select_field_values: the people of 'en_US' have no field 'opennes'; did you",
        ),
        (
            people(),
            {"select_field_values": {"qqq": ["1"]}},
            "params.select_field_values: the people of 'en_US' have no field 'qqq'; it has uuid, ",
        ),
        (
            people(),
            {"select_field_values": {"openness": ["1"]}},
            "params: field 'openness' holds struct<score: int64, label: string>, which cannot",
        ),
        (without("city"), {"city": "Rome"}, "params.city: the people of 'en_US' have no field 'c"),
        (without("age", "last_name"), {}, "params.locale: '"),
    ],
)
def test_data_that_does_not_fit_is_found_before_the_run(
    assets: Path, table: pa.Table, params: dict[str, Any], message: str
) -> None:
    store(assets, table)
    assert problem(assets, **params).startswith(f"columns.who.{message}")


def test_a_config_with_another_problem_finds_the_people_too(assets: Path) -> None:
    broken = {"columns": [*config()["columns"], {"name": "x", "column_type": "expression"}]}
    with pytest.raises(InvalidConfigError) as error:
        DataDesigner(managed_assets_path=assets).validate(broken)
    assert [each.where for each in error.value.problems] == ["columns.x.expr"]


def test_a_file_that_is_no_parquet_is_found_before_the_run(assets: Path) -> None:
    store(assets, people()).write_text("not Parquet")
    assert "cannot be read as Parquet" in problem(assets)


def test_other_people_are_another_dataset(assets: Path) -> None:
    designer = DataDesigner(assets, managed_assets_path=assets, run_config=dd.RunConfig(seed=1))

    def fingerprint() -> str:
        return designer.preview(config(), num_records=1).plan.columns["who"].fingerprint

    before = fingerprint()
    assert fingerprint() == before
    store(assets, people(PEOPLE + 1))
    assert fingerprint() != before
