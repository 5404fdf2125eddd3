"""Numbers of independent events in a span of time or space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import ScalarSampler
from dd_core.storage.arrow import Values

_GREATEST_MEAN = 1e18  # beyond it, some values would not fit 64 bits


class PoissonSamplerParams(ScalarSampler):
    """Poisson distribution."""

    sampler_type: Literal["poisson"] = "poisson"
    mean: float = Field(ge=0, le=_GREATEST_MEAN)
    """How many events there are on average."""

    @property
    def range(self) -> tuple[float, float]:
        """From 0 on; only 0, if that is the mean."""
        return 0, np.inf if self.mean > 0 else 0

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.int64]:
        """Whole numbers, shape (draws.size,)."""
        return draws.blockwise(
            lambda random, count: random.poisson(self.mean, count).astype(np.int64)
        )
