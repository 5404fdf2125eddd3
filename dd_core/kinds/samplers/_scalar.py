"""Bases of samplers of numbers and listed values: rounding and conversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_core.errors import SamplerError
from dd_core.kinds.samplers.sampler import SamplerParams, Support
from dd_core.storage.arrow import Values, to_array


class ScalarSampler(SamplerParams):
    """Base of samplers whose values are numbers or strings; `convert_to` is the name of a type."""

    @property
    def rounding(self) -> int | None:
        """Decimal places to round values to; None for no rounding."""
        return None

    @property
    def possible(self) -> NDArray[Any] | None:
        """All values that can be drawn; None if they cannot be listed."""
        return None

    @property
    def draws_integers(self) -> bool:
        """Whether values that cannot be listed are integers; default: floats."""
        return False

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value that can be drawn, both inclusive."""
        return -np.inf, np.inf

    def conversion_problem(self, convert_to: str) -> str | None:
        """Reject types other than `float`, `int` and `str`, and strings that are not numbers."""
        if convert_to not in ("float", "int", "str"):
            message = f"{self.kind} values cannot be converted to {convert_to!r}"
            return f"{message}; use 'float', 'int' or 'str'"
        if self.possible is not None and convert_to != "str":
            try:
                numbers = self.possible.astype(np.float64)
            except ValueError:
                return f"some values are not numbers, which {convert_to!r} requires; use 'str'"
            if convert_to == "int" and not _fit_int64(numbers):
                return "some values are infinite or too large for 'int'; use 'float'"
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

    def arrow_type(self, convert_to: str | None) -> Any:
        """Type of the possible values or of the numbers after conversion."""
        import pyarrow as pa

        if convert_to == "str":
            return pa.string()
        if convert_to is not None:
            return pa.int64() if convert_to == "int" else pa.float64()
        if self.possible is not None:
            return to_array(self.settle(self.possible, None)).type
        return pa.int64() if self.draws_integers else pa.float64()

    def settle(self, values: Values, convert_to: str | None) -> NDArray[Any]:
        """Values after rounding and conversion to float64 or int64; halves round to even."""
        settled = np.asarray(values)
        if self.rounding is not None:
            settled = settled.round(self.rounding)
        if convert_to == "float":
            return settled.astype(np.float64)
        if convert_to == "int" and settled.dtype.kind != "i":
            return _integers(settled.astype(np.float64))
        return settled

    def finish(self, values: Values, convert_to: str | None) -> NDArray[Any]:
        """Settled values, as strings if `convert_to` is `str`."""
        settled = self.settle(values, convert_to)
        if convert_to != "str" or settled.dtype == object:
            return settled
        return to_objects([str(value) for value in settled.tolist()])


_MOST_PLACES = 300
"""Places beyond which rounding changes no float."""


class RoundedSampler(ScalarSampler):
    """Untagged base of samplers whose numbers can be rounded."""

    decimal_places: int | None = None
    """Decimal places to round values to; default: no rounding."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        # Pydantic puts inherited fields first. In dumps and in Prefect's form, this one comes
        # after the kind's own fields.
        fields = cls.__pydantic_fields__
        fields["decimal_places"] = fields.pop("decimal_places")
        super().__pydantic_init_subclass__(**kwargs)

    @property
    def rounding(self) -> int | None:
        """The decimal places, within the range of floats."""
        places = self.decimal_places
        if places is None or places > _MOST_PLACES:
            return None
        return max(places, -_MOST_PLACES)


def _integers(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round numbers half to even, as int64; raises `SamplerError` if 64 bits cannot hold one."""
    if not _fit_int64(numbers):
        raise SamplerError(
            "a drawn value is infinite or too large for 'int'; "
            "use convert_to='float', or a distribution with shorter tails"
        )
    return np.rint(numbers).astype(np.int64)


def _fit_int64(numbers: NDArray[np.float64]) -> bool:
    return bool((np.abs(numbers) < 2.0**63).all())


def to_objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """An array of Python objects. NumPy's own string type pads every string to the longest one."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def as_array(values: Sequence[str | int | float]) -> NDArray[Any]:
    """Values as an array of one type: int64, float64, or strings if any value is a string."""
    if any(isinstance(value, str) for value in values):
        return to_objects([str(value) for value in values])
    array = np.array(values)
    return array if array.dtype == np.int64 else array.astype(np.float64)
