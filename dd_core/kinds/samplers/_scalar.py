"""What samplers of numbers and of listed values share: rounding and conversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_core.errors import SamplerError
from dd_core.kinds.samplers.sampler import SamplerParams, Support
from dd_core.storage.arrow import Values


class ScalarSampler(SamplerParams):
    """Base of samplers whose values are numbers or short texts; `convert_to` is a type's name."""

    @property
    def rounding(self) -> int | None:
        """Decimal places that values are rounded to."""
        return getattr(self, "decimal_places", None)

    @property
    def possible(self) -> NDArray[Any] | None:
        """Every value that can be drawn, where they can be listed."""
        return None

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest value that can be drawn, both included."""
        return -np.inf, np.inf

    def conversion_problem(self, convert_to: str) -> str | None:
        """Only float, int and str exist, and only numbers become numbers."""
        if convert_to not in ("float", "int", "str"):
            return f"{self.kind} values cannot become {convert_to!r}; use 'float', 'int' or 'str'"
        if self.possible is not None and convert_to != "str":
            try:
                numbers = self.possible.astype(np.float64)
            except ValueError:
                return f"some of the values are no numbers, so they cannot become {convert_to!r}"
            if convert_to == "int" and not _fit_int64(numbers):
                return "some of the values are infinite or too large to become 'int'; use 'float'"
        return None

    def support(self, convert_to: str | None) -> Support:
        """Listed values, or the range of numbers after rounding and conversion."""
        if self.possible is not None:
            values = self.settle(self.possible, convert_to)
            return Support("text" if values.dtype == object else "number", values=values)
        ends = np.array(self.range)
        if self.rounding is not None:
            ends = ends.round(self.rounding)
        low, high = np.rint(ends) if convert_to == "int" else ends
        return Support("number", low=float(low), high=float(high))

    def settle(self, values: Values, convert_to: str | None) -> NDArray[Any]:
        """Rounded, then as float64 or int64 if that is asked for; halves round to even."""
        settled = np.asarray(values)
        if self.rounding is not None:
            settled = settled.round(self.rounding)
        if convert_to == "float":
            return settled.astype(np.float64)
        if convert_to == "int" and settled.dtype.kind != "i":
            return _integers(settled.astype(np.float64))
        return settled

    def finish(self, values: Values, convert_to: str | None) -> NDArray[Any]:
        """As settled; text if `convert_to` is str."""
        settled = self.settle(values, convert_to)
        if convert_to != "str" or settled.dtype == object:
            return settled
        return to_objects([str(value) for value in settled.tolist()])


def _integers(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rounded, halves to even; raises `SamplerError` for what 64 bits cannot hold."""
    if not _fit_int64(numbers):
        raise SamplerError(
            "a value that was drawn is infinite or too large to become 'int'; "
            "use convert_to='float', or a distribution with shorter tails"
        )
    return np.rint(numbers).astype(np.int64)


def _fit_int64(numbers: NDArray[np.float64]) -> bool:
    return bool((np.abs(numbers) < 2.0**63).all())


def to_objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """An array of Python objects; texts need no padding to the longest then."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def as_array(values: Sequence[str | int | float]) -> NDArray[Any]:
    """Values as an array of one type: int64, float64 or, if any is a text, Python strings."""
    if any(isinstance(value, str) for value in values):
        return to_objects([str(value) for value in values])
    array = np.array(values)
    return array if array.dtype == np.int64 else array.astype(np.float64)
