"""The `bernoulli_mixture` sampler: numbers from a distribution, mixed with zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._distribution import DistributionSampler
from dd_core.storage.arrow import Values


class BernoulliMixtureSamplerParams(DistributionSampler):
    """A number from a SciPy distribution with probability `p`, otherwise 0."""

    sampler_type: Literal["bernoulli_mixture"] = "bernoulli_mixture"
    p: float = Field(ge=0, le=1)
    """Probability that a row holds a number from the distribution, from 0 to 1."""

    @property
    def range(self) -> tuple[float, float]:
        """The range of the distribution, extended to 0 if zeros can occur."""
        low, high = self.ends if self.p > 0 else (0.0, 0.0)
        return (min(low, 0.0), max(high, 0.0)) if self.p < 1 else (low, high)

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.float64]:
        """Draw floats, shape (draws.size,)."""
        values = self.deviates(draws).astype(np.float64)
        return np.where(draws.uniform("mixture") < self.p, values, 0.0)
