"""Made-up people whose names, addresses and jobs come from the Faker library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from dd_core.column import Values
from dd_core.draws import Draws
from dd_core.sampler import SamplerParams
from dd_core.samplers.scalar import texts

REFERENCE_DATE = np.datetime64("2025-12-31")
"""The day on which people have their `age`; today would make the same seed give other rows."""

ADULT_AGE, GREATEST_AGE = 18, 114
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
"""Languages and countries that people can come from."""

Age = Annotated[int, Field(ge=0, le=GREATEST_AGE)]


class PersonFromFakerSamplerParams(SamplerParams):
    """A dict of personal data in every row."""

    sampler_type: Literal["person_from_faker"] = "person_from_faker"
    locale: str = "en_US"
    """Language and country of names and addresses, for example fr_FR."""
    sex: Literal["Male", "Female"] | None = None
    """The sex of everybody; either, if not given."""
    city: str | list[str] | None = None
    """The city, or the cities to pick from; one of Faker's, if not given."""
    age_range: list[Age] = Field(default=[ADULT_AGE, GREATEST_AGE], min_length=2, max_length=2)
    """Least and greatest age in years, both included. People have their age on 2025-12-31."""

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

    @field_validator("age_range")
    @classmethod
    def _in_order(cls, ages: list[int]) -> list[int]:
        if ages[0] >= ages[1]:
            raise ValueError(f"age_range must ascend, but {ages[0]} is not less than {ages[1]}")
        return ages

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> Values:
        """People as dicts, shape (draws.size,), dtype object."""

        sexes = _pick(draws, "sex", [self.sex] if self.sex else ["Male", "Female"])
        ages = (self.age_range[0] + draws.below(self._ages, "age")).tolist()
        columns: dict[str, list[Any]] = {
            "marital_status": _pick(draws, "marital_status", _MARITAL_STATUS),
            "education_level": _pick(draws, "education_level", _EDUCATION_LEVEL),
        }
        return texts([])

    @property
    def _ages(self) -> int:
        return self.age_range[1] - self.age_range[0] + 1
