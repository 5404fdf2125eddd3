"""The `poisson` sampler: the number of independent events in an interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import ScalarSampler
from dd_core.storage.arrow import Values

_GREATEST_MEAN = 1e18  # above this mean, some values would not fit in 64 bits


class PoissonSamplerParams(ScalarSampler):
    """Poisson distribution: the number of independent events in an interval."""

    sampler_type: Literal["poisson"] = "poisson"
    mean: float = Field(ge=0, le=_GREATEST_MEAN)
    """Mean number of events."""

    @property
    def range(self) -> tuple[float, float]:
        """0 and above, or only 0 if the mean is 0."""
        return 0, np.inf if self.mean > 0 else 0

    @property
    def draws_integers(self) -> bool:
        """Counts are integers."""
        return True

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.int64]:
        """Draw integers, shape (draws.size,)."""
        return draws.blockwise(
            lambda random, count: random.poisson(self.mean, count).astype(np.int64)
        )
