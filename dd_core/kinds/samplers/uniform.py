"""The `uniform` sampler: floats between two bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import RoundedSampler
from dd_core.storage.arrow import Values


class UniformSamplerParams(RoundedSampler):
    """Uniform distribution over [low, high)."""

    sampler_type: Literal["uniform"] = "uniform"
    low: float = Field(allow_inf_nan=False)
    """Lower bound, inclusive."""
    high: float = Field(allow_inf_nan=False)
    """Upper bound, exclusive."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(
                f"low ({self.low}) must not be greater than high ({self.high}); swap them"
            )
        if not np.isfinite(self.high - self.low):
            raise ValueError(
                "high - low must not be infinite; choose bounds that are closer together"
            )
        return self

    @property
    def range(self) -> tuple[float, float]:
        """`low` to the largest float below `high`."""
        return self.low, float(np.nextafter(self.high, self.low))

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.float64]:
        """Draw floats, shape (draws.size,)."""
        values = self.low + draws.uniform() * (self.high - self.low)
        return np.minimum(values, self.range[1])  # the sum may round up to `high`
