"""Base of samplers that draw from a distribution in `scipy.stats`."""

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
    """Untagged base of samplers that name a SciPy distribution and its parameters."""

    dist_name: str
    """Name of a univariate distribution in `scipy.stats`, for example `gamma`."""
    dist_params: dict[str, int | float | list[float]]
    """Parameters of the distribution by name: its shape parameters, `loc` and, if it is continuous,
    `scale`. They are numbers; a few distributions, such as `poisson_binom`, take lists."""

    def problems(self, place: str, siblings: Siblings) -> Iterator[Problem]:
        """An unknown distribution, or parameters that the distribution does not accept."""
        names = _distributions()
        if self.dist_name not in names:
            yield Problem(f"{place}.dist_name", self._explain_unknown(names))
            return
        wrong = [*self._wrong_parameters()]
        for message in wrong:
            yield Problem(f"{place}.dist_params", message)
        if not wrong and self._trial() is None:
            yield Problem(
                f"{place}.dist_params",
                f"{self.dist_name!r} is not defined for {self.dist_params}; "
                f"see scipy.stats.{self.dist_name} for the allowed values",
            )

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest value; unbounded if the distribution is unknown or undefined."""
        known = self.dist_name in _distributions() and not [*self._wrong_parameters()]
        if not known or self._trial() is None:
            return -np.inf, np.inf
        low, high = self._frozen().support()
        return float(low), float(high)

    @property
    def is_discrete(self) -> bool:
        """Whether the distribution has only integers."""
        return not _is_continuous(_distributions()[self.dist_name])

    def deviates(self, draws: Draws) -> NDArray[Any]:
        """Draw from the distribution: float64 or int64, shape (draws.size,)."""
        frozen = self._frozen()
        return draws.blockwise(lambda random, count: _rvs(frozen, count, random))

    def _frozen(self) -> Any:
        return _distributions()[self.dist_name](**self.dist_params)

    def _wrong_parameters(self) -> Iterator[str]:
        distribution = _distributions()[self.dist_name]
        shapes = [name.strip() for name in (distribution.shapes or "").split(",") if name.strip()]
        accepted = [*shapes, "loc", *(["scale"] if _is_continuous(distribution) else [])]
        for name in self.dist_params:
            if name not in accepted:
                yield (
                    f"{self.dist_name!r} has no parameter {name!r}; "
                    f"{_suggest(name, accepted)}it accepts {_quote(accepted)}"
                )
        missing = [name for name in shapes if name not in self.dist_params]
        if missing:
            yield f"{self.dist_name!r} requires {_quote(missing)}; add what is missing"

    def _trial(self) -> NDArray[Any] | None:
        """Two draws, to see whether SciPy accepts the parameters; None if it does not."""
        try:
            ends = np.array(self._frozen().support(), dtype=np.float64)
            if ends.shape != (2,) or np.isnan(ends).any():
                return None
            values = _rvs(self._frozen(), 2, np.random.RandomState(0))
        except Exception:  # whatever SciPy raises, these parameters cannot be used
            return None
        return None if np.isnan(values).any() else values

    def _explain_unknown(self, names: dict[str, Any]) -> str:
        if hasattr(getattr(_stats(), self.dist_name, None), "rvs"):
            return f"{self.dist_name!r} does not draw single numbers; use a univariate distribution"
        return (
            f"scipy.stats has no distribution {self.dist_name!r}; "
            f"{_suggest(self.dist_name, [*names])}docs.scipy.org/doc/scipy/reference/stats.html "
            "lists all distributions"
        )


def _rvs(frozen: Any, count: int, random: np.random.RandomState) -> NDArray[Any]:
    values = np.asarray(frozen.rvs(size=count, random_state=random))
    return values.astype(np.int64 if values.dtype.kind in "iu" else np.float64)


def _stats() -> Any:
    return import_module("scipy.stats")


def _distributions() -> dict[str, Any]:
    """SciPy's univariate distributions by name."""
    stats = _stats()
    kinds = (stats.rv_continuous, stats.rv_discrete)
    members = cast("dict[str, Any]", vars(stats))
    return {name: member for name, member in members.items() if isinstance(member, kinds)}


def _is_continuous(distribution: Any) -> bool:
    return isinstance(distribution, _stats().rv_continuous)


def _suggest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def _quote(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
