"""The `binomial` sampler: the number of successes in a number of trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import ScalarSampler
from dd_core.storage.arrow import Values


class BinomialSamplerParams(ScalarSampler):
    """Binomial distribution: the number of successes in `n` trials."""

    sampler_type: Literal["binomial"] = "binomial"
    n: int = Field(ge=0, lt=2**63)
    """Number of trials."""
    p: float = Field(ge=0, le=1)
    """Probability that a trial succeeds, from 0 to 1."""

    @property
    def range(self) -> tuple[float, float]:
        """0 to `n`, or only one of the two if `p` is 0 or 1."""
        return (self.n if self.p == 1 else 0, 0 if self.p == 0 else self.n)

    @property
    def draws_integers(self) -> bool:
        """Counts are integers."""
        return True

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[np.int64]:
        """Draw integers, shape (draws.size,)."""
        return draws.blockwise(
            lambda random, count: random.binomial(self.n, self.p, count).astype(np.int64)
        )
