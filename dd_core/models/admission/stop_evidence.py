"""Decides when the refusals of a model prove that the whole run has to stop.

A rejected key, an empty account or an unknown model ends a run only if the model has not answered
yet, or if it refuses several different rows without an answer in between. Until then a refusal is a
matter of its own row. Routers and content filters refuse single rows with the same statuses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dd_core.errors import ModelError, ModelQuotaExceededError, ModelRateLimitError

_logger = logging.getLogger(__name__)
_ROWS = 3
"""Different rows that are refused without an answer in between."""
_ROWS_OF_CONTENT = 5
"""The same for statuses with which servers also refuse a prompt for what it contains."""
_SECONDS = 90.0
"""Time after which a limit per minute should have accepted a request."""
_REPEATED = (401, 402, 404, 429)
"""Statuses that do not depend on the row, so that a request is repeated until there is proof."""


class StopEvidence:
    """What speaks for stopping the run, for one model."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.has_answered = False
        self._clock = clock
        self._kind: type[ModelError] | None = None
        """Class of the refusals since the last answer."""
        self._since = 0.0
        self._refusals = 0
        self._rows = 0
        self._told: set[type[ModelError]] = set()
        self._known_rows: set[int] = set()
        """Rows that were refused before. When they are retried, they prove nothing new."""

    def answered(self) -> None:
        """Note an answer, which ends a series of refusals."""
        self.has_answered = True
        self._kind = None

    def weigh(self, error: ModelError, row: int) -> ModelError:
        """The error that a refusal amounts to: `fatal` only if there is proof."""
        if not error.fatal or error.status is None:
            return error
        if self._is_proved(error, row):
            return error
        is_429 = error.status == 429 and isinstance(error, ModelQuotaExceededError)
        if is_429 and not error.is_certain:  # a limit per minute may use the same words
            limited = ModelRateLimitError(str(error))
            limited.status = 429
            return limited
        if type(error) not in self._told:
            self._told.add(type(error))
            _logger.warning("%s. The run continues, because the model has answered before", error)
        error.fatal = False
        error.retryable = self._repeats(error)
        return error

    def _is_proved(self, error: ModelError, row: int) -> bool:
        if self._kind is not type(error):
            self._kind, self._since = type(error), self._clock()
            self._refusals = self._rows = 0
        self._refusals += 1
        if row not in self._known_rows:
            self._known_rows.add(row)
            self._rows += 1
        is_about_words = not error.is_certain
        if not self.has_answered:
            return not (is_about_words and error.status == 400)
        if is_about_words and error.status == 429:
            return self._refusals >= _ROWS_OF_CONTENT and self._clock() - self._since >= _SECONDS
        return self._rows >= (_ROWS if self._repeats(error) else _ROWS_OF_CONTENT)

    @staticmethod
    def _repeats(error: ModelError) -> bool:
        """Whether the refusal does not depend on the row, so that it is worth a retry."""
        return error.status in _REPEATED or 300 <= (error.status or 0) < 400
