"""The `bernoulli` sampler: zeros and ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import ScalarSampler
from dd_core.storage.arrow import Values


class BernoulliSamplerParams(ScalarSampler):
    """1 with probability `p`, otherwise 0."""

    sampler_type: Literal["bernoulli"] = "bernoulli"
    p: float = Field(ge=0, le=1)
    """Probability of a 1, from 0 to 1."""

    @property
    def possible(self) -> NDArray[np.int64]:
        """Which of 0 and 1 can occur."""
        return np.array([0] * (self.p < 1) + [1] * (self.p > 0), dtype=np.int64)

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.int64]:
        """Draw zeros and ones, shape (draws.size,)."""
        return (draws.uniform() < self.p).astype(np.int64)
