"""The `person_from_faker` sampler: fictitious people from the Faker library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from dd_core.errors import Problem
from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._people.age import (
    ADULT_AGE,
    GREATEST_AGE,
    AgeRange,
    compute_birth_dates,
)
from dd_core.kinds.samplers._people.quick_faker import get_faker
from dd_core.kinds.samplers._scalar import to_objects
from dd_core.kinds.samplers.sampler import SamplerParams, Siblings
from dd_core.kinds.samplers.uuid import UUIDSamplerParams
from dd_core.storage.arrow import Values

if TYPE_CHECKING:
    from faker.generator import Generator


_MARITAL_STATUS = ["married_present", "divorced", "never_married", "separated", "widowed"]
_DEGREES = ["bachelors", "graduate", "doctorate"]
_EDUCATION_LEVEL = ["secondary_education", "some_college", "associates", *_DEGREES]
_FIELDS = ["stem", "business", "education", "arts_humanities", "stem_related"]
LOCALES = frozenset(
    """
    ar_AA ar_AE ar_BH ar_EG ar_JO ar_PS ar_SA az_AZ bg_BG bn_BD bs_BA cs_CZ da_DK de de_AT de_CH
    de_DE dk_DK el_CY el_GR en en_AU en_BD en_CA en_GB en_IE en_IN en_NZ en_PH en_TH en_US es es_AR
    es_CA es_CL es_CO es_ES es_MX et_EE fa_IR fi_FI fil_PH fr_BE fr_CA fr_CH fr_FR ga_IE he_IL hi_IN
    hr_HR hu_HU hy_AM id_ID it_CH it_IT ja_JP ka_GE ko_KR la lb_LU lt_LT lv_LV mt_MT ne_NP nl_BE
    nl_NL no_NO or_IN pl_PL pt_BR pt_PT ro_RO ru_RU sk_SK sl_SI sq_AL sv_SE ta_IN th th_TH tl_PH
    tr_TR tw_GH uk_UA vi_VN zh_CN zh_TW zu_ZA
    """.split()  # noqa: SIM905  (a list of ninety quoted names is hard to read)
)
"""Supported locales."""

_FIELDS_OF_PERSON = """
    uuid locale first_name last_name middle_name sex street_number street_name city state postcode
    age birth_date country marital_status education_level unit occupation phone_number
    bachelors_field
""".split()  # noqa: SIM905  (a list of quoted names is hard to read)


class PersonFromFakerSamplerParams(SamplerParams):
    """A fictitious person in each row, as a dict."""

    distribution_type = "other"

    sampler_type: Literal["person_from_faker"] = "person_from_faker"
    locale: str = "en_US"
    """Language and country of names and addresses, for example `fr_FR`."""
    sex: Literal["Male", "Female"] | None = None
    """Sex of the people; default: either."""
    city: str | list[str] | None = None
    """City, or list of cities to choose from; default: Faker's cities."""
    age_range: AgeRange = Field(default=[ADULT_AGE, GREATEST_AGE])
    """Minimum and maximum age in years as of 2025-12-31, both inclusive."""

    @field_validator("locale")
    @classmethod
    def _is_known(cls, locale: str) -> str:
        if locale not in LOCALES:
            raise ValueError(
                f"locale {locale!r} is not supported; use one of {', '.join(sorted(LOCALES))}"
            )
        return locale

    @field_validator("city")
    @classmethod
    def _some_city(cls, city: str | list[str] | None) -> str | list[str] | None:
        if city == []:
            raise ValueError("city must not be an empty list; leave it out for any city")
        return city

    def problems(self, place: str, siblings: Siblings) -> Iterator[Problem]:
        """A locale that the installed version of Faker does not have."""
        from faker.config import AVAILABLE_LOCALES

        if self.locale not in AVAILABLE_LOCALES:
            yield Problem(
                f"{place}.locale",
                f"the installed version of Faker has no locale {self.locale!r}; "
                "use another locale, or install a version of faker that has it",
            )

    def arrow_type(self, convert_to: str | None) -> Any:
        """Type of a person: an integer for the age, and text."""
        import pyarrow as pa

        kinds: dict[str, Any] = dict.fromkeys(_FIELDS_OF_PERSON, pa.string())
        return pa.struct([*{**kinds, "age": pa.int64()}.items()])

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.object_]:
        """Draw people as dicts, shape (draws.size,)."""
        sexes = _pick(draws, "sex", [self.sex] if self.sex else ["Male", "Female"])
        ages = self.age_range[0] + draws.below(self.age_range[1] - self.age_range[0] + 1, "age")
        cities = [self.city] if isinstance(self.city, str) else self.city
        drawn = zip(
            _uuids(draws),
            sexes,
            ages.tolist(),
            compute_birth_dates(ages, draws.uniform("birthday")),
            _pick(draws, "city", cities) if cities else repeat(None, draws.size),
            _pick(draws, "marital_status", _MARITAL_STATUS),
            _pick(draws, "education_level", _EDUCATION_LEVEL),
            _pick(draws, "bachelors_field", _FIELDS),
            draws.bits("faker").tolist(),
            strict=True,
        )
        with _FAKER_LOCK:
            faker = get_faker(self.locale)
            faker.random.seed(0)  # discards the second of a pair of normal deviates, too
            methods = {sex: _get_methods(faker, sex) for sex in ("Female", "Male")}
            # `Random.seed` spends time on type checks, so this is the method of its base class.
            seed = super(Random, faker.random).seed
            return to_objects([self._person(seed, methods, *values) for values in drawn])

    def _person(
        self,
        reseed: Callable[[int], None],
        methods: Mapping[str, Mapping[str, Callable[[], str | None]]],
        uuid: str,
        sex: str,
        age: int,
        birth_date: str,
        city: str | None,
        marital_status: str,
        education_level: str,
        field: str,
        seed: int,
    ) -> dict[str, Any]:
        reseed(seed)
        make = methods[sex]
        return {
            "uuid": uuid,
            "locale": self.locale,
            "first_name": make["first_name"](),
            "last_name": make["last_name"](),
            "middle_name": None,
            "sex": sex,
            "street_number": make["building_number"](),
            "street_name": make["street_name"](),
            "city": city or make["city"](),
            "state": make["state"](),
            "postcode": make["postcode"](),
            "age": age,
            "birth_date": birth_date,
            "country": make["country"](),
            "marital_status": marital_status,
            "education_level": education_level,
            "unit": "",
            "occupation": make["job"](),
            "phone_number": make["phone_number"]() if age >= ADULT_AGE else None,
            "bachelors_field": field if education_level in _DEGREES else "no_degree",
        }


def _pick(draws: Draws, lane: str, values: list[str]) -> list[str]:
    return [values[code] for code in draws.below(len(values), lane).tolist()]


def _uuids(draws: Draws) -> list[str]:
    """Version 4 UUIDs with hyphens."""
    digits = UUIDSamplerParams().draw(draws, {})
    return [f"{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:]}" for d in digits]


def _get_methods(faker: Generator, sex: str) -> dict[str, Callable[[], str | None]]:
    """Faker's method for each field; None for fields that the locale does not have."""

    def nothing() -> None:
        return None

    names = {name: name for name in _FAKER_FIELDS} | {
        name: f"{name}_{sex.lower()}" for name in ("first_name", "last_name")
    }
    return {name: getattr(faker, method, nothing) for name, method in names.items()}


_FAKER_FIELDS = (
    *("building_number", "street_name", "city", "state", "postcode", "country", "job"),
    "phone_number",
)
_FAKER_LOCK = Lock()  # all locales share one random generator, which every row seeds again
