"""Whether a process on another machine is still there, judged by what it lets be seen."""

from __future__ import annotations

_LOOKS = 6
"""Silence has to be seen at least so many times: the one who looks may have been away himself."""


class Silence:
    """How long a sign has not changed.

    Only the clock of the one who looks counts, so that clocks of machines need not agree.
    """

    def __init__(self) -> None:
        self._sign: object = None
        self._looked: float | None = None
        self._quiet: list[float] = []

    def look(self, sign: object, now: float) -> None:
        """The sign as it is at `now`, in seconds of a monotonic clock."""
        if sign != self._sign or self._looked is None:
            self._sign = sign
            self._quiet = []
        else:
            self._quiet.append(now - self._looked)
        self._looked = now

    def exceeds(self, seconds: float) -> bool:
        """Whether the sign has been the same for so long. A pause between two looks counts with
        at most a part of that."""
        most = seconds / _LOOKS
        return sum(min(pause, most) for pause in self._quiet) >= seconds
