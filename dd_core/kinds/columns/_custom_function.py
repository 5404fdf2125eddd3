"""Functions of the user's that generate columns: what they declare, and how files name them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import BaseModel

from dd_core.declaration.user_code import import_object, list_parameters

_F = TypeVar("_F", bound=Callable[..., Any])
_ATTRIBUTE = "custom_column_metadata"
_NAMES = (("row", "df"), ("generator_params",), ("models",))


class GenerationStrategy(StrEnum):
    """What a function generates at a time."""

    CELL_BY_CELL = "cell_by_cell"
    FULL_COLUMN = "full_column"


@dataclass(frozen=True)
class CustomColumnMetadata:
    """What a function says of itself."""

    required_columns: tuple[str, ...] = ()
    side_effect_columns: tuple[str, ...] = ()
    model_aliases: tuple[str, ...] = ()


def custom_column_generator(
    required_columns: Sequence[str] | None = None,
    side_effect_columns: Sequence[str] | None = None,
    model_aliases: Sequence[str] | None = None,
) -> Callable[[_F], _F]:
    """Mark a function as the generator of a custom column.

    It takes `row` (a dict) or `df` (a DataFrame) with the required columns, then, if it wants
    them, `generator_params` and `models`, and returns the same with the column and its side
    effects added. Raises `TypeError` for a function of another form.
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
    """What the decorator noted; raises `ValueError` for undecorated functions."""
    if not callable(function):
        raise ValueError(f"{function!r} is no function")
    metadata = getattr(function, _ATTRIBUTE, None)
    if metadata is None:
        name = getattr(function, "__name__", repr(function))
        raise ValueError(f"{name!r} is not decorated; put @custom_column_generator() above it")
    return metadata


def find_function(name: str) -> Callable[..., Any]:
    """The decorated function that `package.module:function` names; raises `ValueError`.

    A function that was not meant to generate columns is refused.
    """
    found = import_object(name)
    get_metadata(found)
    return found


def convert_parameters(function: Callable[..., Any], given: Any) -> Any:
    """`generator_params` as the function's annotation wants them: a mapping becomes its model."""
    if not isinstance(given, Mapping) or "generator_params" not in list_parameters(function):
        return cast("Any", given)
    try:
        wanted: Any = get_type_hints(function).get("generator_params")
    except NameError:  # an annotation of a type that only type checkers see
        return cast("Any", given)
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):
        return wanted.model_validate(given)
    return cast("Any", given)


def describe(metadata: CustomColumnMetadata) -> dict[str, Any]:
    """The metadata as JSON types."""
    return asdict(metadata)


def _check_signature(function: Callable[..., Any]) -> None:
    names = list_parameters(function)
    expected = "row or df, then generator_params, then models"
    name = getattr(function, "__name__", repr(function))
    if not 1 <= len(names) <= len(_NAMES):
        raise TypeError(f"{name!r} takes {len(names)} parameters; it may take {expected}")
    for given, allowed in zip(names, _NAMES, strict=False):
        if given not in allowed:
            raise TypeError(f"{name!r} has a parameter {given!r}; it may take {expected}")
