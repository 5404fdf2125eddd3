"""Zeros among numbers from a distribution."""

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
    """A draw from a distribution of `scipy.stats` with probability `p`, else 0."""

    sampler_type: Literal["bernoulli_mixture"] = "bernoulli_mixture"
    p: float = Field(ge=0, le=1)
    """Probability of a draw from the distribution."""

    @property
    def range(self) -> tuple[float, float]:
        """The distribution's range, with 0 as far as that can occur."""
        low, high = self.ends if self.p > 0 else (0.0, 0.0)
        return (min(low, 0.0), max(high, 0.0)) if self.p < 1 else (low, high)

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.float64]:
        """Floats, shape (draws.size,)."""
        values = self.deviates(draws).astype(np.float64)
        return np.where(draws.uniform("mixture") < self.p, values, 0.0)
