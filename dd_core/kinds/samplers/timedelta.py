"""The `timedelta` sampler: dates and times after those of another column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dd_core.errors import Problem
from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._moment import MomentSampler
from dd_core.kinds.samplers.sampler import Siblings
from dd_core.storage.arrow import Values

_SECONDS = {"D": 86_400, "h": 3_600, "m": 60, "s": 1}
_MOST_SECONDS = 9998 * 365 * 86_400


class TimeDeltaSamplerParams(MomentSampler):
    """The date and time in another column plus a number of units from [dt_min, dt_max)."""

    distribution_type = "other"

    sampler_type: Literal["timedelta"] = "timedelta"
    dt_min: int = Field(ge=0)
    """Lower bound for the number of units, inclusive."""
    dt_max: int = Field(gt=0)
    """Upper bound for the number of units, exclusive."""
    reference_column_name: str
    """Name of the `datetime` or `timedelta` sampler column to add to."""
    unit: Literal["D", "h", "m", "s"] = "D"
    """Unit of the difference: day (`D`), hour (`h`), minute (`m`) or second (`s`)."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.dt_min >= self.dt_max:
            raise ValueError(
                f"dt_min ({self.dt_min}) must be less than dt_max ({self.dt_max}); "
                f"use dt_max={self.dt_min + 1} to always add {self.dt_min}"
            )
        if self.dt_max > _MOST_SECONDS // _SECONDS[self.unit]:
            raise ValueError(
                f"dt_max ({self.dt_max}) of unit {self.unit!r} exceeds 9998 years; use less"
            )
        return self

    @property
    def parents(self) -> list[str]:
        """The reference column."""
        return [self.reference_column_name]

    def problems(self, place: str, siblings: Siblings) -> Iterator[Problem]:
        """A reference column that is missing or does not hold dates and times."""
        name = self.reference_column_name
        fix = "name a datetime or timedelta sampler column"
        if name not in siblings:
            message = f"{name!r} is not a sampler column; {fix}"
            yield Problem(f"{place}.reference_column_name", message)
        elif not all(isinstance(sibling, MomentSampler) for sibling in siblings[name]):
            message = f"{name!r} is a {siblings[name][0].kind} sampler; {fix}"
            yield Problem(f"{place}.reference_column_name", message)

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.datetime64]:
        """Draw dates and times as datetime64[s], shape (draws.size,)."""
        units = self.dt_min + draws.below(self.dt_max - self.dt_min)
        reference = np.asarray(inputs[self.reference_column_name])
        return reference + units.astype(f"timedelta64[{self.unit}]")
