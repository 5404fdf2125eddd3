"""How the command line tells what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

_P = ParamSpec("_P")
_T = TypeVar("_T")


def reports_errors(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Turn the errors that we raise on purpose into a message and exit code 1."""

    @wraps(command)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        from pydantic import ValidationError

        from dd_core.errors import DataDesignerError

        try:
            return command(*args, **kwargs)
        except (DataDesignerError, FileNotFoundError, ValidationError) as error:
            raise click.ClickException(str(error)) from None

    return guarded
