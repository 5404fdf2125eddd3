"""Retries of operations that may succeed later, with exponential back-off and jitter.

Everything that retries uses these policies, except for requests to models: their loop also learns
the server's limits (`dd_core/models/model.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_never,
    wait_exponential_jitter,
)
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

Errors = tuple[type[Exception], ...] | Callable[[BaseException], bool]
"""What is retried: classes of exceptions, or a predicate."""


def retry_async(
    errors: Errors,
    *,
    attempts: int | None,
    first_wait: float = 0.5,
    longest_wait: float = 8.0,
    wait: wait_base | None = None,
    before_wait: Callable[[BaseException], None] | None = None,
) -> AsyncRetrying:
    """Attempts for `async for attempt in retry_async(...): with attempt: ...`.

    At most `attempts` attempts, without a limit if None. The last error is raised as it is. Waits
    are in seconds. `wait` replaces the exponential back-off. `before_wait` is called with each
    error that is retried.
    """
    return AsyncRetrying(
        retry=_condition(errors),
        stop=_stop(attempts),
        wait=wait
        or wait_exponential_jitter(multiplier=first_wait, max=longest_wait, jitter=first_wait),
        before_sleep=_call_with_error(before_wait) if before_wait is not None else None,
        reraise=True,
    )


def retry_blocking(
    errors: Errors, *, attempts: int | None, first_wait: float = 0.5, longest_wait: float = 8.0
) -> Retrying:
    """Like `retry_async`, for code that runs in a thread."""
    return Retrying(
        retry=_condition(errors),
        stop=_stop(attempts),
        wait=wait_exponential_jitter(multiplier=first_wait, max=longest_wait, jitter=first_wait),
        reraise=True,
    )


def _call_with_error(
    function: Callable[[BaseException], None],
) -> Callable[[RetryCallState], None]:
    def call(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if error is not None:
            function(error)

    return call


def _condition(errors: Errors) -> retry_base:
    if callable(errors):
        return retry_if_exception(errors)
    return retry_if_exception_type(errors)


def _stop(attempts: int | None) -> stop_base:
    return stop_never if attempts is None else stop_after_attempt(attempts)
