"""Tells how long a server asks to wait, and ends a run that would have to wait for too long."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from dd_core.errors import ModelError, ModelWaitTooLongError

_logger = logging.getLogger(__name__)
LONG_WAIT = 60.0
"""Seconds from which a requested wait is told."""
_CENTURY = 100 * 365 * 86400.0


class LongWaits:
    """The long waits that the servers of one model ask for with `Retry-After`."""

    def __init__(self, alias: str, longest: float) -> None:
        self._alias = alias
        self._longest = longest
        """Longest wait in seconds; a longer one raises `ModelWaitTooLongError`."""
        self._told_until = 0.0

    def check(self, error: ModelError) -> None:
        """Tell a long wait at once, and only once for all requests that end with it."""
        wait = error.retry_after or 0.0
        if wait < LONG_WAIT:
            return
        until = time.time() + wait
        asked = f"model {self._alias!r} accepts requests again at {format_time(until)}, "
        asked += f"in {wait:,.0f} s (Retry-After)"
        if wait > self._longest:
            raise ModelWaitTooLongError(
                f"{asked}. RunConfig.max_retry_after allows {self._longest:,.0f} s; resume the run "
                f"at that time, or raise the setting. The server said: {error}"
            ) from error
        if until > self._told_until + LONG_WAIT:
            self._told_until = until
            _logger.warning(
                "%s. The run waits until then. To stop it, interrupt it: finished work is kept, "
                "and the run can be resumed. The server said: %s",
                asked,
                error,
            )


def format_time(seconds: float) -> str:
    """A time, in seconds since 1970, as local date and time."""
    latest = time.time() + _CENTURY
    local = datetime.fromtimestamp(min(seconds, latest)).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S %Z")
