"""Fields that NeMo Data Designer does not have.

It refuses fields that it does not know. A field marked with `OWN` is therefore written only if it
does not have its default, and `list_own_fields` says where such fields are. Dumps for fingerprints
contain all fields, as they always did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic.fields import FieldInfo

from dd_core.declaration.kind import Declaration, Kind


class _Own:
    """The type of `OWN`."""


OWN = _Own()
"""Marks a field, as in `Annotated[int, OWN]`. A kind of our own marks the field of its tag."""


def drop_unset(declaration: Declaration, written: dict[str, Any]) -> dict[str, Any]:
    """Remove own fields with their defaults from a dump in JSON types, which is changed."""
    _omit(declaration, written)
    return written


def _omit(value: object, written: Any) -> None:
    for name, part in _list_parts(value):
        if isinstance(value, Declaration) and _is_unset(value, str(name)):
            written.pop(name, None)
        else:
            _omit(part, written[name] if name in _keys(written) else None)


def list_own_fields(declaration: Declaration) -> Iterator[str]:
    """Yield the places of own fields that are set, such as `columns.vector.dtype`."""
    return (".".join(place) for place in _list_own(declaration, ()))


def _list_own(value: object, place: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Kind) and _is_own_kind(value):
        yield (*place, value.family_tag)
        return
    for name, part in _list_parts(value):
        inner = (*place, _describe(name, part))
        if isinstance(value, Declaration) and _is_own(type(value).model_fields[str(name)]):
            if part != _default(type(value).model_fields[str(name)]):
                yield inner
        else:
            yield from _list_own(part, inner)


def _list_parts(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, Declaration):
        yield from ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        yield from ((str(name), part) for name, part in items)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from enumerate(cast("Sequence[object]", value))


def _keys(written: Any) -> Any:
    return range(len(written)) if isinstance(written, list) else written or ()  # pyright: ignore


def _describe(name: str | int, part: object) -> str:
    """A field's name; for a member of a list, its name or alias."""
    known = getattr(part, "name", None) or getattr(part, "alias", None)
    return str(known) if isinstance(name, int) and isinstance(known, str) else str(name)


def _is_own(field: FieldInfo) -> bool:
    return OWN in field.metadata


def _default(field: FieldInfo) -> object:
    return None if field.is_required() else field.get_default(call_default_factory=True)  # pyright: ignore


def _is_unset(declaration: Declaration, name: str) -> bool:
    field = type(declaration).model_fields[name]
    is_tag = isinstance(declaration, Kind) and name == declaration.family_tag
    return _is_own(field) and not is_tag and getattr(declaration, name) == _default(field)


def _is_own_kind(kind: Kind) -> bool:
    if not type(kind).__module__.startswith("dd_core."):
        return True
    tag = type(kind).model_fields.get(kind.family_tag)
    return tag is not None and _is_own(tag)
