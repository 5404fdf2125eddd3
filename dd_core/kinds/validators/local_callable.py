"""Validates rows with a user-defined function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from dd_core.declaration.user_code import (
    StandIn,
    get_import_name,
    hash_source,
    import_object,
    run_contained,
)
from dd_core.errors import ValidationColumnError, describe_error
from dd_core.kinds.validators.validator import Validator, ValidatorParams, Verdict, require_schema
from dd_core.storage.values import admit_value

_F = TypeVar("_F", bound=Callable[..., Any])
_MARK = "is_validation_function"


def validation_function(function: _F) -> _F:
    """Mark a function as a validator, so that configuration files may name it.

    A file names it as `package.module:function`. Functions without this decorator are rejected.
    """
    setattr(function, _MARK, True)
    return function


def _resolve_function(given: Any) -> Any:
    if isinstance(given, str):
        found = import_object(given)
        # Without the mark, a configuration file could call any function.
        if not isinstance(found, StandIn) and not getattr(found, _MARK, False):
            raise ValueError(f"{given!r} is not decorated; put @validation_function above it")
        return found
    if not callable(given):
        raise ValueError(f"{given!r} is not a function")
    return cast("Any", given)


class LocalCallableValidatorParams(ValidatorParams):
    """A function that maps a DataFrame of the target columns to one with a column `is_valid`."""

    validator_type: Literal["local_callable"] = "local_callable"
    validation_function: Annotated[
        Any,
        BeforeValidator(_resolve_function),
        PlainSerializer(get_import_name),
        WithJsonSchema(
            {"type": "string", "description": "Function, as `package.module:function`."}
        ),
    ]
    """The function; in a configuration file, `package.module:function` of a function that is
    decorated with `validation_function`."""
    output_schema: dict[str, Any] | None = None
    """JSON schema that `{"data": [verdicts]}` must satisfy; default: not checked."""

    def identity(self) -> dict[str, Any]:
        """Return the parameters and the hash of the function's source."""
        return {**super().identity(), "source": hash_source(self.validation_function)}

    def bind(self, targets: Sequence[str], batch_size: int) -> Validator:
        """Return the validator, which calls the function with up to `batch_size` rows."""
        return _FunctionValidator(self, targets, batch_size)


class _FunctionValidator(Validator):
    def __init__(
        self, params: LocalCallableValidatorParams, targets: Sequence[str], batch_size: int
    ) -> None:
        self.group_size = batch_size
        self._params = params
        self._targets = [*targets]

    async def validate(self, rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """Return the rows of the DataFrame that the function returns.

        Raises `ValidationColumnError` if the function fails or does not return `is_valid`.
        """
        import pandas as pd

        frame = pd.DataFrame([*rows], columns=self._targets, index=range(len(rows)))
        try:
            returned: Any = await asyncio.to_thread(
                run_contained, self._params.validation_function, frame
            )
        except Exception as error:
            raise ValidationColumnError(
                f"the validation function failed: {describe_error(error)}"
            ) from error
        if not isinstance(returned, pd.DataFrame) or "is_valid" not in returned.columns:
            raise ValidationColumnError(
                "the validation function must return a DataFrame with a column `is_valid`"
            )
        result: Any = returned
        verdicts: list[dict[str, Any]] = result.to_dict("records")
        for verdict in verdicts:
            verdict["is_valid"] = _to_verdict(verdict["is_valid"])
        if self._params.output_schema is not None:
            require_schema({"data": verdicts}, self._params.output_schema)
        return [*verdicts]


def _to_verdict(value: Any) -> bool | None:
    """Return Python's form of a verdict in a DataFrame; a missing value is no verdict."""
    plain = admit_value(value)  # NumPy booleans become Python's, pandas' NA becomes None
    if plain is None or plain != plain:
        return None
    if plain in (True, False):
        return bool(plain)
    raise ValidationColumnError(
        f"the validation function returned {plain!r} as `is_valid`; it must be True, False or None"
    )
