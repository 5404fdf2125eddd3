"""Points in time some while after another column's."""

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
    """A reference column's point in time plus a whole number of units from [dt_min, dt_max)."""

    distribution_type = "other"

    sampler_type: Literal["timedelta"] = "timedelta"
    dt_min: int = Field(ge=0)
    """Least number of units."""
    dt_max: int = Field(gt=0)
    """The number of units stays below this."""
    reference_column_name: str
    """The datetime or timedelta sampler column that is added to."""
    unit: Literal["D", "h", "m", "s"] = "D"
    """Day, hour, minute or second."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.dt_min >= self.dt_max:
            raise ValueError(
                f"dt_min ({self.dt_min}) must be less than dt_max ({self.dt_max}); "
                f"use dt_max={self.dt_min + 1} for always {self.dt_min}"
            )
        if self.dt_max > _MOST_SECONDS // _SECONDS[self.unit]:
            raise ValueError(f"dt_max ({self.dt_max}) of unit {self.unit!r} is over 9998 years")
        return self

    @property
    def parents(self) -> list[str]:
        """The reference column."""
        return [self.reference_column_name]

    def problems(self, place: str, siblings: Siblings) -> Iterator[Problem]:
        """A reference column that is missing or holds no points in time."""
        name = self.reference_column_name
        wanted = "name a datetime or timedelta sampler column"
        if name not in siblings:
            message = f"{name!r} is no sampler column; {wanted}"
            yield Problem(f"{place}.reference_column_name", message)
        elif not all(isinstance(sibling, MomentSampler) for sibling in siblings[name]):
            message = f"{name!r} is a {siblings[name][0].kind} sampler; {wanted}"
            yield Problem(f"{place}.reference_column_name", message)

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.datetime64]:
        """Points in time as datetime64[s], shape (draws.size,)."""
        units = self.dt_min + draws.below(self.dt_max - self.dt_min)
        reference = np.asarray(inputs[self.reference_column_name])
        return reference + units.astype(f"timedelta64[{self.unit}]")
