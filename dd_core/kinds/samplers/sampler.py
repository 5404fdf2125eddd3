"""The contract of a sampler: parameters of a distribution that can draw values for rows.

A kind of sampler lives in one file of `dd_core/samplers/`. Conditional parameters and constraints
are the business of `dd_core/kinds/columns/sampler.py`.
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
    """Names of the samplers that configurations written for NeMo Data Designer may use."""

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
"""What values compare with: those of different orders cannot be compared."""


@dataclass(frozen=True)
class Support:
    """What is known about a sampler's values before any is drawn."""

    order: Order
    low: float = -np.inf
    high: float = np.inf
    """Numbers only: no value is less than `low` or greater than `high`."""
    values: NDArray[Any] | None = None
    """Every possible value, where they can be listed."""

    def allows(self, constraints: Sequence[ScalarInequalityConstraint]) -> bool:
        """False if no value whatever satisfies all constraints."""
        candidates = self.values
        if candidates is None:
            rhs = np.array([constraint.rhs for constraint in constraints])
            beside = [np.nextafter(rhs, -np.inf), np.nextafter(rhs, np.inf)]
            points = np.concatenate([[self.low, self.high], rhs, *beside])
            candidates = points[(points >= self.low) & (points <= self.high)]
        holds = np.ones(len(candidates), dtype=bool)
        for constraint in constraints:
            holds &= constraint.holds(candidates, {})
        return bool(holds.any())


class SamplerParams(Kind, tag="sampler_type"):
    """What every kind of sampler has in common."""

    distribution_type: ClassVar[DistributionType] = "numerical"
    """Which figures describe the values of a finished dataset."""

    @property
    def parents(self) -> list[str]:
        """Other sampler columns whose values `draw` needs."""
        return []

    def located(self, assets: Path) -> Self:
        """The same parameters, told which folder managed datasets are in."""
        return self

    def content_hash(self) -> str | None:
        """Stands for the content of the file that values are drawn from, if there is one."""
        return None

    def problems(self, place: str, siblings: Siblings) -> Iterator[Problem]:
        """What is wrong with these parameters given the other samplers, found before a run."""
        yield from ()

    def conversion_problem(self, convert_to: str) -> str | None:
        """Why values cannot be converted to `convert_to`, and what to do; None if they can."""
        return None

    def support(self, convert_to: str | None) -> Support | None:
        """What `settle` can give; None if the values have no order, so no constraint applies."""
        return None

    @abstractmethod
    def draw(self, draws: Draws, inputs: Mapping[str, Values]) -> Values:
        """`draws.size` values; a value depends only on the row's draws and the row's inputs.

        `inputs` holds what `parents` drew for the same rows.
        """

    def settle(self, values: Values, convert_to: str | None) -> Values:
        """Drawn values as constraints compare them: rounded, numbers converted to numbers."""
        return values

    def finish(self, values: Values, convert_to: str | None) -> Values:
        """Drawn values as the dataset stores them."""
        return values


Siblings: TypeAlias = Mapping[str, Sequence[SamplerParams]]
"""The parameters of every sampler column by name: `params`, then the conditional ones."""
