"""The `datetime` sampler: dates and times between two others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator, model_validator

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._moment import MomentSampler, parse_moment
from dd_core.storage.arrow import Values


class DatetimeSamplerParams(MomentSampler):
    """Uniform distribution over the seconds in [start, end), truncated to a unit."""

    distribution_type = "other"

    sampler_type: Literal["datetime"] = "datetime"
    start: str
    """Earliest date and time, inclusive, for example 2024-01-01 or 2024-01-01T08:00."""
    end: str
    """Latest date and time, exclusive."""
    unit: Literal["Y", "M", "D", "h", "m", "s"] = "D"
    """Unit to which values are truncated: year (`Y`), month (`M`), day (`D`), hour (`h`), minute
    (`m`) or second (`s`)."""

    @field_validator("start", "end")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        parse_moment(text)
        return text

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if parse_moment(self.start) >= parse_moment(self.end):
            raise ValueError(
                f"start ({self.start}) must be at least a second before end ({self.end})"
            )
        return self

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.datetime64]:
        """Draw dates and times as datetime64[s], shape (draws.size,)."""
        start = parse_moment(self.start)
        seconds = int((parse_moment(self.end) - start).astype(np.int64))
        moments = start + draws.below(seconds).astype("timedelta64[s]")
        return moments.astype(f"datetime64[{self.unit}]").astype("datetime64[s]")
