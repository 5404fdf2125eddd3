"""The `subcategory` sampler: values from a list that depends on a category column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from dd_core.errors import Problem
from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import ScalarSampler, as_array
from dd_core.kinds.samplers.category import CategorySamplerParams
from dd_core.kinds.samplers.sampler import SamplerParams, Siblings
from dd_core.storage.arrow import Values


class SubcategorySamplerParams(ScalarSampler):
    """One of the values listed for the row's category, all with equal probability."""

    distribution_type = "categorical"

    sampler_type: Literal["subcategory"] = "subcategory"
    category: str
    """Name of the `category` sampler column that selects the list."""
    values: dict[str, list[str | int | float]]
    """Values to choose from, for each value of the category. Numbers become floats."""

    @field_validator("values", mode="before")
    @classmethod
    def _keys_are_strings(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        items: Mapping[Any, Any] = values  # pyright: ignore[reportUnknownVariableType]
        return {str(key): value for key, value in items.items()}

    @field_validator("values")
    @classmethod
    def _no_list_is_empty(
        cls, values: dict[str, list[str | int | float]]
    ) -> dict[str, list[str | int | float]]:
        empty = [key for key, choices in values.items() if not choices]
        if empty or not values:
            name = f"values of {empty[0]!r}" if empty else "values"
            raise ValueError(f"{name} must not be empty; list at least one value")
        return values

    @property
    def parents(self) -> list[str]:
        """The category column."""
        return [self.category]

    @property
    def possible(self) -> NDArray[Any]:
        """The values of all lists as one array; numbers are float64."""
        values = as_array([choice for choices in self.values.values() for choice in choices])
        return values if values.dtype == object else values.astype(np.float64)

    def problems(self, place: str, siblings: Siblings) -> Iterator[Problem]:
        """A parent that is missing, is not a category, or has values other than the keys."""
        if self.category not in siblings:
            yield Problem(
                f"{place}.category",
                f"{self.category!r} is not a sampler column; name a category sampler column",
            )
            return
        parents = siblings[self.category]
        if not all(isinstance(parent, CategorySamplerParams) for parent in parents):
            yield Problem(
                f"{place}.category",
                f"{self.category!r} is a {parents[0].kind} sampler; name a category sampler column",
            )
            return
        found = _keys(parents)
        for key in sorted(found - self.values.keys()):
            yield Problem(
                f"{place}.values", f"has no list for {self.category} {key!r}; add this key"
            )
        for key in sorted(self.values.keys() - found):
            yield Problem(
                f"{place}.values", f"{key!r} is not a value of {self.category!r}; remove this key"
            )

    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> NDArray[Any]:
        """Draw values from the list of each row's category, shape (draws.size,)."""
        # `possible` holds all lists end to end: a value is found at the start of its list plus
        # a draw below the length of that list, for all rows at once.
        lengths = np.array([len(choices) for choices in self.values.values()])
        starts = np.cumsum(lengths) - lengths
        index = {key: code for code, key in enumerate(self.values)}
        parents = map(str, np.asarray(inputs[self.category]).tolist())
        codes = np.fromiter(map(index.__getitem__, parents), np.int64, draws.size)
        return self.possible[starts[codes] + draws.below(lengths[codes])]


def _keys(parents: Sequence[SamplerParams]) -> set[str]:
    """All values that the category can have, as strings."""
    return {
        str(value)
        for parent in parents
        if isinstance(parent, CategorySamplerParams)
        for value in as_array(parent.values).tolist()
    }
