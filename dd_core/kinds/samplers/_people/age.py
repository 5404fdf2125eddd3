"""Ages and birth dates of sampled people."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

REFERENCE_DATE = np.datetime64("2025-12-31")
"""Ages are as of this day. Ages as of today would give different rows tomorrow."""
ADULT_AGE, GREATEST_AGE = 18, 114


def compute_birth_dates(ages: NDArray[np.int64], shares: NDArray[np.float64]) -> list[str]:
    """Compute birth dates as ISO strings; each of `shares` in [0, 1) places one within its year.

    Somebody whose age is n on the last day of a year was born n years before that year.
    """
    years = REFERENCE_DATE.astype("datetime64[Y]") - ages
    first: NDArray[np.datetime64] = years.astype("datetime64[D]")
    days = ((years + 1).astype("datetime64[D]") - first).astype(np.int64)
    passed = np.minimum((shares * days).astype(np.int64), days - 1)
    born: NDArray[np.datetime64] = first + passed
    return np.datetime_as_string(born).tolist()


def _in_order(ages: list[int]) -> list[int]:
    if ages[0] >= ages[1]:
        raise ValueError(f"age_range must ascend, but {ages[0]} is not less than {ages[1]}")
    return ages


_Age = Annotated[int, Field(ge=0, le=GREATEST_AGE)]
AgeRange = Annotated[list[_Age], Field(min_length=2, max_length=2), AfterValidator(_in_order)]
