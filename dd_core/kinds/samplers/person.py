"""The `person` sampler: people from managed datasets that match a country's statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator

from dd_core.errors import Problem, SamplerError
from dd_core.kinds.draws import Draws, permute
from dd_core.kinds.samplers._people.age import ADULT_AGE, GREATEST_AGE, AgeRange
from dd_core.kinds.samplers._people.person_contact import make_contact
from dd_core.kinds.samplers._people.person_data import Filters, PersonFile, find_dataset
from dd_core.kinds.samplers._scalar import to_objects
from dd_core.kinds.samplers.sampler import SamplerParams, Siblings
from dd_core.storage.arrow import Values

if TYPE_CHECKING:
    import pyarrow as pa


Locale = Literal[
    "en_US",
    "de_DE",
    "en_GB",
    "en_IN",
    "en_SG",
    "fr_FR",
    "hi_Deva_IN",
    "hi_Latn_IN",
    "ja_JP",
    "ko_KR",
    "pt_BR",
]

PERSONAL = """
    uuid first_name middle_name last_name sex age marital_status postcode city district region
    country street_name street_number unit bachelors_field education_level occupation locale
    birth_date state email_address phone_number national_id ethnic_background industry
    preferred_english_name first_name_heritage name_heritage is_first_gen_immigrant household_type
    monthly_income_eur area blood_pressure_status blood_sugar_status bmi_status drinking_status
    economic_activity_status family_type housing_tenure housing_type income_bracket military_status
    smoking_status waist_status ethnicity country_of_birth disability migration_background
    employment_status job_position occupation_kldb last_occupation last_occupation_kldb kreis_code
    nationality race education_degree first_language second_language third_language
    zone religion
""".split()  # noqa: SIM905  (a list of quoted names is hard to read)
"""Fields of a person, in this order; those that the dataset lacks are left out."""
PERSONA = """
    persona detailed_persona professional_persona career_goals_and_ambitions cultural_background
    arts_persona culinary_persona finance_persona healthcare_persona sports_persona travel_persona
    hobbies_and_interests hobbies_and_interests_list skills_and_expertise skills_and_expertise_list
    openness conscientiousness extraversion agreeableness neuroticism aspects digital_skill
    family_persona religious_persona religious_background linguistic_persona linguistic_background
""".split()  # noqa: SIM905
"""Additional fields with synthetic personas."""
_REQUIRED = ("first_name", "last_name", "age")
_SEXES = {"de_DE": {"Weiblich": "Female", "Männlich": "Male"}}
"""Names of sexes in the files of some locales. The names of all others are ours."""

PAGE = 4096
"""Rows of the generated dataset whose people are fetched together: each fetch takes one pass
through the file."""


class PersonSamplerParams(SamplerParams):
    """A person from the locale's managed dataset in each row, as a dict.

    People appear in random order. Nobody appears twice until everybody who matches the filters has
    appeared once.
    """

    distribution_type = "other"

    sampler_type: Literal["person"] = "person"
    locale: Locale = "en_US"
    """Language and country of the people. The file `datasets/<locale>.parquet` must exist in the
    managed assets folder."""
    sex: Literal["Male", "Female"] | None = None
    """Sex of the people; default: either."""
    city: str | list[str] | None = None
    """City, or list of cities, where the people live; default: any city."""
    age_range: AgeRange = Field(default=[ADULT_AGE, GREATEST_AGE])
    """Minimum and maximum age in years, both inclusive."""
    select_field_values: dict[str, list[str]] | None = None
    """Values that a person may have, for each named field; default: any values."""
    with_synthetic_personas: bool = False
    """Whether to add the persona fields, which describe a person in words; default: no."""

    _assets: Path | None = PrivateAttr(default=None)

    @field_validator("city")
    @classmethod
    def _some_city(cls, city: str | list[str] | None) -> str | list[str] | None:
        if city == []:
            raise ValueError("city must not be an empty list; leave it out for any city")
        return city

    @field_validator("select_field_values")
    @classmethod
    def _some_value(cls, fields: dict[str, list[str]] | None) -> dict[str, list[str]] | None:
        for name, values in (fields or {}).items():
            if not values:
                raise ValueError(
                    f"the list of {name!r} must not be empty; leave it out for any value"
                )
        return fields

    def located(self, assets: Path) -> Self:
        """A copy that reads the people from the folder `assets`."""
        copy = self.model_copy()
        copy._assets = assets
        return copy

    def content_hash(self) -> str:
        """Hash of the file with the people."""
        return self._file().digest

    def problems(self, place: str, siblings: Siblings) -> Iterator[Problem]:
        """A file that is missing or incomplete, or filters that nobody matches."""
        path = find_dataset(self._assets, self.locale)
        if not path.is_file():
            yield Problem(
                f"{place}.locale",
                f"the people of {self.locale!r} are missing: there is no file {str(path)!r}; "
                "add it, set DATA_DESIGNER_MANAGED_ASSETS_PATH or managed_assets_path to the "
                "folder that contains datasets/, or use person_from_faker",
            )
            return
        try:
            yield from self._data_problems(place, self._file())
        except SamplerError as error:
            yield Problem(place, str(error))

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.object_]:
        """Draw people as dicts, shape (draws.size,)."""
        file = self._file()
        people: list[dict[str, Any]] = []
        for page, first, count in _list_places(draws):
            with _READING:
                fetched = _page(
                    file, self._filters(file), self._fields(file), draws.seed, draws.column, page
                )
            people += self._people(*fetched, first, count, f"{draws.seed}/{draws.column}")
        return to_objects(people)

    def _file(self) -> PersonFile:
        return PersonFile.at(find_dataset(self._assets, self.locale))

    def _people(
        self,
        table: pa.Table,
        indices: NDArray[np.int64],
        numbers: NDArray[np.uint32],
        first: int,
        count: int,
        key: str,
    ) -> Iterator[dict[str, Any]]:
        """The dicts of `count` rows of a page, from its row `first` on."""
        chosen = indices[first : first + count]
        for number, held in zip(numbers[chosen], table.take(chosen).to_pylist(), strict=True):
            person: dict[str, Any] = {"locale": self.locale, **held}
            if (sex := _SEXES.get(self.locale, {}).get(str(person.get("sex")))) is not None:
                person["sex"] = sex
            if self.locale == "en_US" and "region" in person:
                person["state"] = person.pop("region")
            person = {**make_contact(person, self.locale, f"{key}/{number}"), **person}
            yield {name: person[name] for name in [*PERSONAL, *PERSONA] if name in person}

    def _fields(self, file: PersonFile) -> tuple[str, ...]:
        requested = {*PERSONAL, *(PERSONA if self.with_synthetic_personas else ())}
        return tuple(name for name in file.columns if name in requested)

    def _filters(self, file: PersonFile) -> Filters:
        """The filters, by column of the file."""
        low, high = self.age_range
        filters: list[tuple[str, tuple[str | int, ...]]] = [("age", tuple(range(low, high + 1)))]
        if self.sex is not None:
            filters.append(("sex", self._names_of_sexes([self.sex])))
        if self.city is not None:
            cities = [self.city] if isinstance(self.city, str) else self.city
            filters.append(("city", tuple(cities)))
        for field, values in (self.select_field_values or {}).items():
            chosen = self._names_of_sexes(values) if field == "sex" else tuple(values)
            filters.append((self._column_of(field, file), chosen))
        return tuple(filters)

    def _names_of_sexes(self, sexes: list[str]) -> tuple[str, ...]:
        """The sexes, and their names in the locale's file."""
        names = _SEXES.get(self.locale, {})
        return (*sexes, *(name for name, sex in names.items() if sex in sexes))

    def _column_of(self, field: str, file: PersonFile) -> str:
        is_region = self.locale == "en_US" and field == "state" and "region" in file.columns
        return "region" if is_region else field

    def _data_problems(self, place: str, file: PersonFile) -> Iterator[Problem]:
        from difflib import get_close_matches

        missing = [name for name in _REQUIRED if name not in file.columns]
        if missing:
            names = ", ".join(repr(name) for name in missing)
            yield Problem(f"{place}.locale", f"{file.path!r} has no {names}; use a complete file")
            return
        filters = self._filters(file)
        unknown = [name for name, _ in filters if name not in file.columns]
        for name in unknown:
            field = "select_field_values" if name in (self.select_field_values or {}) else name
            close = get_close_matches(name, file.columns, n=1)
            fix = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(file.columns)}"
            yield Problem(
                f"{place}.{field}", f"the people of {self.locale!r} have no field {name!r}; {fix}"
            )
        if not unknown and not file.matching(filters).size:
            shown = self.model_dump(
                exclude={"sampler_type", "with_synthetic_personas"}, exclude_none=True
            )
            yield Problem(place, f"nobody in the dataset matches {shown}; relax the filters")


def _list_places(draws: Draws) -> Iterator[tuple[int, int, int]]:
    """Yield consecutive rows of pages: page, first row in it, number of rows."""
    if draws.keys is not None:  # each row has its own place, among those of the first page
        for place in draws.below(PAGE).tolist():
            yield 0, place, 1
        return
    stop = draws.start + draws.size
    for page in range(draws.start // PAGE, -(-stop // PAGE)):
        first = max(draws.start - page * PAGE, 0)
        yield page, first, min(stop - page * PAGE, PAGE) - first


_READING = Lock()  # batches that need the same page fetch it only once


@lru_cache(maxsize=8)
def _page(
    file: PersonFile, filters: Filters, columns: tuple[str, ...], seed: int, column: str, page: int
) -> tuple[pa.Table, NDArray[np.int64], NDArray[np.uint32]]:
    """The people of a page, each once, the index of each row's person, and the people's numbers."""
    matching = file.matching(filters)
    size = len(matching)
    if not size:
        raise SamplerError(
            f"nobody in {file.path!r} matches the filters of column {column!r}; relax them"
        )
    # Row r gets person r % size of cycle r // size. Each cycle is another permutation of all
    # matching people, so a page can be drawn without those before it.
    rows = np.arange(page * PAGE, (page + 1) * PAGE)
    chosen = np.empty(PAGE, dtype=np.uint32)
    for cycle in range(rows[0] // size, rows[-1] // size + 1):
        here = rows // size == cycle
        chosen[here] = matching[_order(seed, column, cycle, size)[rows[here] % size]]
    numbers, indices = np.unique(chosen, return_inverse=True)
    return file.rows(numbers, columns), indices, numbers


@lru_cache(maxsize=4)
def _order(seed: int, column: str, cycle: int, size: int) -> NDArray[np.uint32]:
    """The permutation of all matching people in one cycle."""
    return permute(seed, f"{column}/people", cycle, size).astype(np.uint32)
