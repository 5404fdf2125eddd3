"""Values picked from a list, equally often or by weight."""

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
    """One of the given values in every row."""

    distribution_type = "categorical"

    sampler_type: Literal["category"] = "category"
    values: list[str | int | float] = Field(min_length=1)
    """What to pick from. All integers stay integers; one text among them makes all of them text."""
    weights: list[float] | None = None
    """How often each value is picked, in any unit; equally often, if not given."""

    @field_validator("weights")
    @classmethod
    def _are_shares(cls, weights: list[float] | None) -> list[float] | None:
        if weights is None:
            return None
        if not np.isfinite(weights).all() or min(weights, default=0.0) < 0:
            raise ValueError("weights must be finite and not negative; use 0 to leave a value out")
        total = sum(weights)
        if total == 0:
            raise ValueError("weights must not all be 0; give at least one value a weight")
        # Weights that are shares already stay as they are, so that loading a dump changes nothing.
        return weights if abs(total - 1) < 1e-9 else [weight / total for weight in weights]

    @model_validator(mode="after")
    def _one_weight_a_value(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.values):
            raise ValueError(
                f"weights has {len(self.weights)} entries for {len(self.values)} values; "
                "give each value one weight"
            )
        return self

    @property
    def possible(self) -> NDArray[Any]:
        """The values that have a weight."""
        values = as_array(self.values)
        return values if self.weights is None else values[np.array(self.weights) > 0]

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[Any]:
        """Picks, shape (draws.size,)."""
        values = as_array(self.values)
        if self.weights is None:
            return values[draws.below(len(values))]
        return values[draws.choice(np.array(self.weights))]
