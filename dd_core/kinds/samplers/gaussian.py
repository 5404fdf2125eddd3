"""The `gaussian` sampler: floats from a normal distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import RoundedSampler
from dd_core.storage.arrow import Values


class GaussianSamplerParams(RoundedSampler):
    """Normal distribution."""

    sampler_type: Literal["gaussian"] = "gaussian"
    mean: float = Field(allow_inf_nan=False)
    """Mean of the distribution."""
    stddev: float = Field(allow_inf_nan=False)
    """Standard deviation, not negative."""

    @field_validator("stddev")
    @classmethod
    def _not_negative(cls, stddev: float) -> float:
        if stddev < 0:
            raise ValueError(f"stddev ({stddev}) must not be negative; use {-stddev}")
        return stddev

    @property
    def range(self) -> tuple[float, float]:
        """Unbounded, or only the mean if the standard deviation is 0."""
        return (-np.inf, np.inf) if self.stddev > 0 else (self.mean, self.mean)

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.float64]:
        """Draw floats, shape (draws.size,)."""
        return self.mean + self.stddev * draws.normal()
