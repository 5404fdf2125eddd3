"""Base of samplers of dates and times: drawn as datetime64[s], stored as strings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dd_core.errors import SamplerError
from dd_core.kinds.samplers._scalar import to_objects
from dd_core.kinds.samplers.sampler import SamplerParams, Support
from dd_core.storage.arrow import Values

_YEAR_10000 = np.datetime64("10000-01-01", "s")
_PROBE = datetime(2024, 11, 23, 21, 34, 56)  # no two parts are equal


class MomentSampler(SamplerParams):
    """Base of samplers whose values are dates and times; `convert_to` is a strftime pattern."""

    def conversion_problem(self, convert_to: str) -> str | None:
        """Reject patterns without directives, and patterns whose result strptime cannot read."""
        try:
            text = _PROBE.strftime(convert_to)
            datetime.strptime(text, convert_to)
        except ValueError:
            return f"{convert_to!r} is not a strftime pattern; use one such as '%Y-%m-%d %H:%M'"
        if text == convert_to:
            return f"{convert_to!r} has no directive; use a strftime pattern such as '%Y-%m-%d'"
        return None

    def support(self, convert_to: str | None) -> Support:
        """Dates and times, without bounds."""
        return Support("time")

    def arrow_type(self, convert_to: str | None) -> Any:
        """Type of text."""
        import pyarrow as pa

        return pa.string()

    def finish(self, values: Values, convert_to: str | None) -> NDArray[np.object_]:
        """Strings in the strftime pattern; default: ISO 8601 to the second."""
        moments: NDArray[np.datetime64] = np.asarray(values, dtype="datetime64[s]")
        # Each distinct time is formatted once. Integers sort faster than datetime64.
        seconds, inverse = np.unique(moments.view(np.int64), return_inverse=True)
        distinct = seconds.view(moments.dtype)
        if distinct.size and distinct[-1] >= _YEAR_10000:
            raise SamplerError(
                f"{distinct[-1]} is after the year 9999; use an earlier end or a smaller dt_max"
            )
        if convert_to is None:
            return np.datetime_as_string(distinct, unit="s").astype(object)[inverse]
        return to_objects([moment.strftime(convert_to) for moment in distinct.tolist()])[inverse]


def parse_moment(text: str) -> np.datetime64:
    """Read a date or time, to the second. Pandas reads strings that are not ISO 8601.

    Raises `ValueError` if the string is not a date or time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = _read_by_pandas(text)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)  # type: ignore[operator]
    return np.datetime64(moment, "s")


def _read_by_pandas(text: str) -> datetime:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    try:
        moment: Any = pd.to_datetime(text)  # pyright: ignore[reportUnknownMemberType]
    except (ValueError, OverflowError):
        moment = None
    if not isinstance(moment, pd.Timestamp):
        raise ValueError(
            f"{text!r} is not a date or time; write it like 2024-01-31 or 2024-01-31T12:00"
        )
    return moment.to_pydatetime(warn=False)
