"""User-defined functions behind custom columns: decorator, signature and import name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import BaseModel

from dd_core.declaration.user_code import StandIn, import_object, list_parameters

_F = TypeVar("_F", bound=Callable[..., Any])
_ATTRIBUTE = "custom_column_metadata"
_PARAMETERS = (("row", "df"), ("generator_params",), ("models",))
"""The names that a function's parameters may have, by position."""


class GenerationStrategy(StrEnum):
    """How much a function generates per call: one row, or all rows of a batch."""

    CELL_BY_CELL = "cell_by_cell"
    FULL_COLUMN = "full_column"


@dataclass(frozen=True)
class CustomColumnMetadata:
    """The arguments of a function's `custom_column_generator` decorator."""

    required_columns: tuple[str, ...] = ()
    """Columns that the function reads."""
    side_effect_columns: tuple[str, ...] = ()
    """Additional columns that the function returns."""
    model_aliases: tuple[str, ...] = ()
    """Aliases of the models that the function may call."""


def custom_column_generator(
    required_columns: Sequence[str] | None = None,
    side_effect_columns: Sequence[str] | None = None,
    model_aliases: Sequence[str] | None = None,
) -> Callable[[_F], _F]:
    """Mark a function as the generator of a custom column.

    The function takes `row` (a dict) or `df` (a DataFrame) with the required columns, optionally
    followed by `generator_params` and `models`. It returns the row or the DataFrame with the column
    and its side effects added. Raises `TypeError` if the function has other parameters.

    Args:
        required_columns: Columns that the function reads. It is called once they are available.
        side_effect_columns: Additional columns that the function returns.
        model_aliases: Aliases of the models that the function may call.
    """

    def mark(function: _F) -> _F:
        _check_signature(function)
        metadata = CustomColumnMetadata(
            tuple(required_columns or ()),
            tuple(side_effect_columns or ()),
            tuple(model_aliases or ()),
        )
        setattr(function, _ATTRIBUTE, metadata)
        return function

    return mark


def get_metadata(function: Any) -> CustomColumnMetadata:
    """Return the metadata of a decorated function; raises `ValueError` for any other object."""
    if not callable(function):
        raise ValueError(f"{function!r} is not a function")
    if isinstance(function, StandIn):
        return CustomColumnMetadata()
    metadata = getattr(function, _ATTRIBUTE, None)
    if metadata is None:
        name = getattr(function, "__name__", repr(function))
        raise ValueError(f"{name!r} is not decorated; put @custom_column_generator() above it")
    return metadata


def find_function(name: str) -> Callable[..., Any]:
    """Import the decorated function that `package.module:function` names.

    Raises `ValueError` if it cannot be imported or is not decorated. Because of the decorator, a
    configuration file cannot call arbitrary functions.
    """
    found = import_object(name)
    get_metadata(found)
    return found


def convert_parameters(function: Callable[..., Any], given: Any) -> Any:
    """Convert `generator_params` to the pydantic model that the function's annotation names.

    Anything but a mapping, and parameters without such an annotation, are returned unchanged.
    """
    if not isinstance(given, Mapping) or "generator_params" not in list_parameters(function):
        return cast("Any", given)
    try:
        annotation: Any = get_type_hints(function).get("generator_params")
    except NameError:  # an annotation of a type that only type checkers see
        return cast("Any", given)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_validate(given)
    return cast("Any", given)


def describe(metadata: CustomColumnMetadata) -> dict[str, Any]:
    """Return the metadata as JSON types."""
    return asdict(metadata)


def _check_signature(function: Callable[..., Any]) -> None:
    names = list_parameters(function)
    expected = "row or df, optionally followed by generator_params and models"
    name = getattr(function, "__name__", repr(function))
    if not 1 <= len(names) <= len(_PARAMETERS):
        raise TypeError(f"{name!r} takes {len(names)} parameters; it must take {expected}")
    for given, allowed in zip(names, _PARAMETERS, strict=False):
        if given not in allowed:
            raise TypeError(f"{name!r} has a parameter {given!r}; it must take {expected}")
