"""The contract of a sampler: the parameters of a distribution, and how to draw values from it.

Each kind of sampler has its own module in `dd_core/kinds/samplers/`. Conditional parameters and
constraints are handled in `dd_core/kinds/columns/sampler.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dd_core.declaration.kind import Kind
from dd_core.errors import Problem
from dd_core.kinds.constraint import ScalarInequalityConstraint
from dd_core.kinds.draws import Draws
from dd_core.kinds.statistics import DistributionType
from dd_core.storage.arrow import Values


class SamplerType(StrEnum):
    """Names of the built-in samplers."""

    BERNOULLI = "bernoulli"
    BERNOULLI_MIXTURE = "bernoulli_mixture"
    BINOMIAL = "binomial"
    CATEGORY = "category"
    DATETIME = "datetime"
    GAUSSIAN = "gaussian"
    PERSON = "person"
    PERSON_FROM_FAKER = "person_from_faker"
    POISSON = "poisson"
    SCIPY = "scipy"
    SUBCATEGORY = "subcategory"
    TIMEDELTA = "timedelta"
    UNIFORM = "uniform"
    UUID = "uuid"


Order: TypeAlias = Literal["number", "text", "time"]
"""How values are ordered. Values of different orders cannot be compared with each other."""


@dataclass(frozen=True)
class Support:
    """What is known about a sampler's values before any of them is drawn."""

    order: Order
    low: float = -np.inf
    high: float = np.inf
    """For numbers: no value is below `low` or above `high`."""
    values: NDArray[Any] | None = None
    """All possible values; None if they cannot be listed."""

    def allows(self, constraints: Sequence[ScalarInequalityConstraint]) -> bool:
        """Whether at least one possible value satisfies all constraints."""
        candidates = self.values
        if candidates is None:
            # Inequalities change their result only at a right-hand side. So it is enough to try
            # the bounds, each right-hand side, and the floats directly below and above it.
            rhs = np.array([constraint.rhs for constraint in constraints])
            neighbors = [np.nextafter(rhs, -np.inf), np.nextafter(rhs, np.inf)]
            points = np.concatenate([[self.low, self.high], rhs, *neighbors])
            candidates = points[(points >= self.low) & (points <= self.high)]
        holds = np.ones(len(candidates), dtype=bool)
        for constraint in constraints:
            holds &= constraint.holds(candidates, {})
        return bool(holds.any())


class SamplerParams(Kind, tag="sampler_type"):
    """Base class of all samplers."""

    distribution_type: ClassVar[DistributionType] = "numerical"
    """Which statistics describe the values in a finished dataset."""

    @property
    def parents(self) -> list[str]:
        """Names of the sampler columns whose values `draw` needs."""
        return []

    def located(self, assets: Path) -> Self:
        """These parameters, reading managed datasets from the folder `assets`."""
        return self

    def content_hash(self) -> str | None:
        """Hash of the file that values are drawn from; None if there is no file."""
        return None

    def problems(self, place: str, siblings: Siblings) -> Iterator[Problem]:
        """Yield what is wrong with these parameters, given the other samplers, before a run."""
        yield from ()

    def conversion_problem(self, convert_to: str) -> str | None:
        """Why values cannot be converted to `convert_to`, and the fix; None if they can."""
        return None

    def support(self, convert_to: str | None) -> Support | None:
        """What `settle` can return; None if the values have no order and cannot be constrained."""
        return None

    def arrow_type(self, convert_to: str | None) -> Any:
        """Arrow type of the values that `finish` returns; None if it follows from the values."""
        return None

    @abstractmethod
    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> Values:
        """Draw `draws.size` values, each from the draws and the inputs of its own row only.

        `inputs` holds the values of `parents` for the same rows.
        """

    def settle(self, values: Values, convert_to: str | None) -> Values:
        """Drawn values as constraints compare them: rounded, and converted if they stay numbers."""
        return values

    def finish(self, values: Values, convert_to: str | None) -> Values:
        """Drawn values as the dataset stores them."""
        return values


Siblings: TypeAlias = Mapping[str, Sequence[SamplerParams]]
"""The parameters of all sampler columns by name: `params`, then the conditional parameters."""
