"""The secrets that this process knows, and the doors out that they must not pass.

Whoever resolves a key registers it. From then on, messages of this package's errors and records of
all loggers are masked. `mask_error` masks an error that leaves the package, with its causes.
"""

from __future__ import annotations

import inspect
import logging
import threading
import traceback
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from dd_core.redaction.redactor import Redactor
from dd_core.redaction.rules import Secrets, is_unmistakable

_P = ParamSpec("_P")
_T = TypeVar("_T")
_lock = threading.Lock()
_known = Secrets()
_redactor = Redactor(_known)
_NOT_IN_VARS = ("filename", "filename2", "strerror")


def register_secrets(found: Secrets) -> None:
    """Register secrets for the rest of the process; keys such as `EMPTY` or `test` are left out."""
    global _redactor
    new = {secret for secret in found.secrets if is_unmistakable(secret)}
    with _lock:
        if new <= _known.secrets:
            return
        if not _known.secrets:
            logging.setLogRecordFactory(_mask_records(logging.getLogRecordFactory()))
        _known.secrets |= new
        _redactor = Redactor(_known)


def register_secret(secret: str) -> None:
    """Register one key or password."""
    found = Secrets()
    found.add_secret(secret)
    register_secrets(found)


def register_address(address: str) -> None:
    """Register the user, the password and the keys of an address."""
    found = Secrets()
    found.add_address(address)
    register_secrets(found)


def mask_secrets(text: str) -> str:
    """Mask all registered secrets in a text."""
    return _redactor.mask(text) if _known.secrets else text


def mask_values(value: Any) -> Any:
    """Mask all registered secrets in the texts of a value of JSON types."""
    if isinstance(value, str):
        return mask_secrets(value)
    if isinstance(value, dict):
        fields = cast("dict[Any, Any]", value)
        return {mask_values(name): mask_values(member) for name, member in fields.items()}
    if isinstance(value, list):
        return [mask_values(member) for member in cast("list[Any]", value)]
    return value


def mask_error(error: BaseException) -> None:
    """Mask the secrets in an error, its notes and its causes. A cause that still has one is cut.

    Libraries put requests and addresses into their errors, and tracebacks show all causes.
    """
    if not _known.secrets:
        return
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        _mask_own(each)
        for name in ("__cause__", "__context__"):
            cause: BaseException | None = getattr(each, name)
            if cause is None:
                continue
            _mask_own(cause)
            if _is_leaky(cause):
                setattr(each, name, None)
            else:
                waiting.append(cause)
        if isinstance(each, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", each).exceptions


@contextmanager
def mask_raised() -> Generator[None]:
    """Mask what is raised inside."""
    try:
        yield
    except BaseException as error:
        mask_error(error)
        raise


def mask_errors(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Mask what a function raises; also if it is asynchronous."""
    if inspect.iscoroutinefunction(function):
        work = cast("Callable[_P, Coroutine[Any, Any, Any]]", function)

        @wraps(work)
        async def guarded_work(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            with mask_raised():
                return await work(*args, **kwargs)

        return cast("Callable[_P, _T]", guarded_work)

    @wraps(function)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with mask_raised():
            return function(*args, **kwargs)

    return guarded


def _mask_own(error: BaseException) -> None:
    """Mask the texts of one error."""
    masked = tuple(mask_values(each) for each in error.args)
    if masked != error.args:
        error.args = masked
    for name in (*vars(error), *_NOT_IN_VARS):
        value = getattr(error, name, None)
        if isinstance(value, str | list | dict) and (shown := mask_values(value)) != value:
            setattr(error, name, shown)


def _is_leaky(error: BaseException) -> bool:
    try:
        shown = "".join(traceback.format_exception_only(error)) + repr(error)
    except Exception:  # errors of users' code have texts of their own
        return True
    return mask_secrets(shown) != shown


def _mask_records(make_record: Any) -> Any:
    """A factory of log records without secrets, whoever logs them and at which level."""

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = make_record(*args, **kwargs)
        try:
            shown = record.getMessage()
        except Exception:  # the handler reports a wrong number of arguments
            shown = str(record.msg) + repr(record.args)
        if (masked := mask_secrets(shown)) != shown:
            record.msg, record.args = masked, ()
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
            if (masked := mask_secrets(text)) != text:
                record.exc_text, record.exc_info = masked, None
        return record

    return make
