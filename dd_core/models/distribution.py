"""Inference parameters that are drawn for every request."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dd_core.kind import Declaration


class UniformDistributionParams(Declaration):
    """Bounds of a uniform distribution."""

    low: float
    """Smallest value."""
    high: float
    """Values stay below this."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be less than high ({self.high})")
        return self


class UniformDistribution(Declaration):
    """A parameter drawn uniformly for every request."""

    distribution_type: Literal["uniform"] = "uniform"
    params: UniformDistributionParams
    """Its bounds."""

    @property
    def extremes(self) -> tuple[float, float]:
        return self.params.low, self.params.high

    def sample(self, rng: np.random.Generator) -> float:
        """One draw."""
        return float(rng.uniform(self.params.low, self.params.high))


class ManualDistributionParams(Declaration):
    """Values and how often each is used."""

    values: list[float] = Field(min_length=1)
    """What to choose from."""
    weights: list[float] | None = None
    """Relative frequency of each value; equal, if not given."""

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is None:
            return self
        if len(self.weights) != len(self.values):
            raise ValueError(f"give {len(self.values)} weights, one for each of the values")
        if min(self.weights) < 0 or sum(self.weights) == 0:
            raise ValueError("weights must not be negative and must not all be 0")
        return self


class ManualDistribution(Declaration):
    """A parameter drawn from a list for every request."""

    distribution_type: Literal["manual"] = "manual"
    params: ManualDistributionParams
    """What to choose from."""

    @property
    def extremes(self) -> tuple[float, float]:
        return min(self.params.values), max(self.params.values)

    def sample(self, rng: np.random.Generator) -> float:
        """One draw."""
        weights = np.asarray(self.params.weights or [1.0] * len(self.params.values))
        return float(rng.choice(self.params.values, p=weights / weights.sum()))


Distribution = Annotated[
    UniformDistribution | ManualDistribution, Field(discriminator="distribution_type")
]
