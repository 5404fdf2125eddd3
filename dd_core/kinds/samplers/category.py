"""The `category` sampler: values from a list, with equal or given probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import ScalarSampler, as_array
from dd_core.storage.arrow import Values


class CategorySamplerParams(ScalarSampler):
    """One of the listed values in each row."""

    distribution_type = "categorical"

    sampler_type: Literal["category"] = "category"
    values: list[str | int | float] = Field(min_length=1)
    """Values to choose from. If all of them are integers, the column holds integers. If any
    of them is a string, all of them become strings."""
    weights: list[float] | None = None
    """One non-negative weight per value; the sum does not have to be 1; default: equal weights."""

    @field_validator("weights")
    @classmethod
    def _are_shares(cls, weights: list[float] | None) -> list[float] | None:
        if weights is None:
            return None
        if not np.isfinite(weights).all() or min(weights, default=0.0) < 0:
            raise ValueError("weights must be finite and not negative; use 0 to exclude a value")
        total = sum(weights)
        if total == 0:
            raise ValueError("weights must not all be 0; set at least one above 0")
        # Weights that already add up to 1 are kept, so that a dump that is loaded again is equal.
        return weights if abs(total - 1) < 1e-9 else [weight / total for weight in weights]

    @model_validator(mode="after")
    def _one_weight_per_value(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.values):
            raise ValueError(
                f"weights has {len(self.weights)} entries for {len(self.values)} values; "
                "set one weight per value"
            )
        return self

    @property
    def possible(self) -> NDArray[Any]:
        """The values whose weight is not 0."""
        values = as_array(self.values)
        return values if self.weights is None else values[np.array(self.weights) > 0]

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[Any]:
        """Draw values from the list, shape (draws.size,)."""
        values = as_array(self.values)
        if self.weights is None:
            return values[draws.below(len(values))]
        return values[draws.choice(np.array(self.weights))]
