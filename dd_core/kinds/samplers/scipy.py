"""Numbers from any distribution of one variable that SciPy has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from numpy.typing import NDArray

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._distribution import DistributionSampler
from dd_core.storage.arrow import Values


class ScipySamplerParams(DistributionSampler):
    """A distribution of `scipy.stats`."""

    sampler_type: Literal["scipy"] = "scipy"
    decimal_places: int | None = None
    """Decimal places that values are rounded to."""

    @property
    def range(self) -> tuple[float, float]:
        """The distribution's own."""
        return self.ends

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[Any]:
        """Floats, or integers of a discrete distribution, shape (draws.size,)."""
        return self.deviates(draws)
