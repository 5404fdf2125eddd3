"""What samplers that draw from a distribution of `scipy.stats` share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dd_core.errors import Problem
from dd_core.kinds.draws import Draws
from dd_core.kinds.samplers._scalar import ScalarSampler
from dd_core.kinds.samplers.sampler import Siblings


class DistributionSampler(ScalarSampler):
    """Base of samplers that name a distribution of SciPy and its parameters."""

    dist_name: str
    """Name of a distribution of one variable in `scipy.stats`, for example `gamma`."""
    dist_params: dict[str, int | float | list[float]]
    """The distribution's shape parameters, `loc` and `scale`, by name. Numbers, except for the
    few distributions that take a list, such as `poisson_binom`."""

    def problems(self, place: str, siblings: Siblings) -> Iterator[Problem]:
        """A distribution that does not exist, and parameters that it does not take."""
        names = _distributions()
        if self.dist_name not in names:
            yield Problem(f"{place}.dist_name", self._unknown(names))
            return
        wrong = [*self._wrong_parameters()]
        for message in wrong:
            yield Problem(f"{place}.dist_params", message)
        if not wrong and self._trial() is None:
            yield Problem(
                f"{place}.dist_params",
                f"{self.dist_name!r} is not defined for {self.dist_params}; "
                f"see scipy.stats.{self.dist_name} for what it allows",
            )

    @property
    def ends(self) -> tuple[float, float]:
        """Least and greatest value of the distribution; unbounded while it cannot be drawn from."""
        known = self.dist_name in _distributions() and not [*self._wrong_parameters()]
        if not known or self._trial() is None:
            return -np.inf, np.inf
        low, high = self._frozen().support()
        return float(low), float(high)

    def deviates(self, draws: Draws) -> NDArray[Any]:
        """Draws from the distribution, float64 or int64, shape (draws.size,)."""
        frozen = self._frozen()
        return draws.blockwise(lambda random, count: _rvs(frozen, count, random))

    def _frozen(self) -> Any:
        return _distributions()[self.dist_name](**self.dist_params)

    def _wrong_parameters(self) -> Iterator[str]:
        distribution = _distributions()[self.dist_name]
        shapes = [name.strip() for name in (distribution.shapes or "").split(",") if name.strip()]
        takes = [*shapes, "loc", *(["scale"] if _is_continuous(distribution) else [])]
        for name in self.dist_params:
            if name not in takes:
                yield (
                    f"{self.dist_name!r} takes no {name!r}; "
                    f"{_meant(name, takes)}it takes {_listed(takes)}"
                )
        missing = [name for name in shapes if name not in self.dist_params]
        if missing:
            yield f"{self.dist_name!r} needs {_listed(missing)}; add what is missing"

    def _trial(self) -> NDArray[Any] | None:
        """A few draws; None if SciPy cannot make any."""
        try:
            ends = np.array(self._frozen().support(), dtype=np.float64)
            if ends.shape != (2,) or np.isnan(ends).any():
                return None
            values = _rvs(self._frozen(), 2, np.random.RandomState(0))
        except Exception:  # whatever SciPy raises, these parameters are of no use
            return None
        return None if np.isnan(values).any() else values

    def _unknown(self, names: dict[str, Any]) -> str:
        if hasattr(getattr(_stats(), self.dist_name, None), "rvs"):
            return (
                f"{self.dist_name!r} does not draw single numbers; "
                "use a distribution of one variable"
            )
        return (
            f"scipy.stats has no distribution {self.dist_name!r}; "
            f"{_meant(self.dist_name, [*names])}docs.scipy.org/doc/scipy/reference/stats.html "
            "lists all that there are"
        )


def _rvs(frozen: Any, count: int, random: np.random.RandomState) -> NDArray[Any]:
    values = np.asarray(frozen.rvs(size=count, random_state=random))
    return values.astype(np.int64 if values.dtype.kind in "iu" else np.float64)


def _stats() -> Any:
    return import_module("scipy.stats")


def _distributions() -> dict[str, Any]:
    """SciPy's distributions of one variable by name."""
    stats = _stats()
    kinds = (stats.rv_continuous, stats.rv_discrete)
    members = cast("dict[str, Any]", vars(stats))
    return {name: member for name, member in members.items() if isinstance(member, kinds)}


def _is_continuous(distribution: Any) -> bool:
    return isinstance(distribution, _stats().rv_continuous)


def _meant(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
