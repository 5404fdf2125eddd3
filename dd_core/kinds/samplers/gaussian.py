"""Floats around a mean, by the normal distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import ScalarSampler
from dd_core.storage.arrow import Values


class GaussianSamplerParams(ScalarSampler):
    """Normal distribution."""

    sampler_type: Literal["gaussian"] = "gaussian"
    mean: float = Field(allow_inf_nan=False)
    """Centre of the distribution."""
    stddev: float = Field(allow_inf_nan=False)
    """Standard deviation, 0 or greater."""
    decimal_places: int | None = None
    """Decimal places that values are rounded to."""

    @field_validator("stddev")
    @classmethod
    def _not_negative(cls, stddev: float) -> float:
        if stddev < 0:
            raise ValueError(f"stddev ({stddev}) must not be negative; use {-stddev}")
        return stddev

    @property
    def range(self) -> tuple[float, float]:
        """Unbounded, unless there is no deviation."""
        return (-np.inf, np.inf) if self.stddev > 0 else (self.mean, self.mean)

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.float64]:
        """Floats, shape (draws.size,)."""
        return self.mean + self.stddev * draws.normal()
