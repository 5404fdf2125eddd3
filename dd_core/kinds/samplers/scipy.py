"""The `scipy` sampler: numbers from any univariate distribution in SciPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from numpy.typing import NDArray

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._distribution import DistributionSampler
from dd_core.kinds.samplers._scalar import RoundedSampler
from dd_core.storage.arrow import Values


class ScipySamplerParams(RoundedSampler, DistributionSampler):
    """Any univariate distribution in `scipy.stats`."""

    sampler_type: Literal["scipy"] = "scipy"

    @property
    def range(self) -> tuple[float, float]:
        """The range of the distribution."""
        return self.ends

    @property
    def draws_integers(self) -> bool:
        """Whether the distribution is discrete."""
        return self.is_discrete

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[Any]:
        """Draw floats, or integers if the distribution is discrete, shape (draws.size,)."""
        return self.deviates(draws)
