"""How configurations name their kinds: `column_type: llm-text`, `seed_type: local` and so on.

A *family* (columns, samplers, seed sources ...) is an untagged base class. A *kind* is a subclass
that declares the family's tag as a one-value `Literal`. The declaration is the whole registration:
a field annotated with the family accepts every kind of it and validates by tag. The field is a
discriminated union in JSON Schema, and therefore in Prefect's parameter form.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import pairwise
from pkgutil import iter_modules
from typing import Any, ClassVar, Literal, Self, Union, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema

from dd_core.declaration.loading import ensure_loaded
from dd_core.declaration.syntax import parse
from dd_core.declaration.trust import require_trust
from dd_core.declaration.user_code import hash_source
from dd_core.redaction.rules import mask_fields


class Declaration(BaseModel):
    """Base class of all configuration: frozen, and rejects unknown fields."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        ser_json_inf_nan="constants",
        defer_build=True,  # fields annotated with a family need all of its kinds
        hide_input_in_errors=True,  # it may hold keys
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, mask_fields(value, name or "") if isinstance(value, str | dict) else value

    @classmethod
    def field_docs(cls) -> dict[str, str]:
        """The docstrings of the fields by field name, including those of base classes."""
        docs: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            if issubclass(base, Declaration):
                docs |= _read_field_docs(base.__module__).get(base.__qualname__, {})
        return docs

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema, with `anyOf` for alternatives and the docstrings of fields as descriptions.

        Pydantic writes `oneOf` for kinds. But where a tag may be left out, more than one of them
        can match, and Prefect's forms show alternatives only for `anyOf`.

        Pydantic's `use_attribute_docstrings` would read the source files at every import, which
        takes longer than the rest of the import.
        """
        made = handler(schema)
        _allow_several(made)
        properties: dict[str, dict[str, Any]]
        properties = handler.resolve_ref_schema(made).get("properties", {})
        for name, text in cls.field_docs().items():
            if name in properties:
                properties[name].setdefault("description", text)
        return made

    def changed(self, **fields: Any) -> Self:
        """A validated copy with some fields replaced."""
        present = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).model_validate(present | fields)


def _allow_several(schema: Any) -> None:
    """Rename each `oneOf` to `anyOf`, in place.

    Alternatives within an alternative join those around them, because forms do not offer them.
    """
    if isinstance(schema, dict):
        fields = cast("dict[str, Any]", schema)
        for value in fields.values():
            _allow_several(value)
        if "oneOf" in fields:
            fields["anyOf"] = fields.pop("oneOf")
        if "anyOf" in fields:
            groups = [each.get("anyOf", [each]) for each in fields["anyOf"]]
            fields["anyOf"] = [alternative for group in groups for alternative in group]
    elif isinstance(schema, list):
        for each in cast("list[Any]", schema):
            _allow_several(each)


@cache
def _read_field_docs(module: str) -> dict[str, dict[str, str]]:
    """The docstrings of fields in a module, by class and field name."""
    try:
        tree = parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):  # defined at an interactive prompt
        return {}
    return {
        node.name: {
            field.target.id: inspect.cleandoc(text.value.value)
            for field, text in pairwise(node.body)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        }
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


class Kind(Declaration):
    """Base class of every family; see the module docstring."""

    family_tag: ClassVar[str] = ""
    kinds: ClassVar[dict[str, type[Kind]]] = {}
    is_in_use: ClassVar[bool] = False
    """Whether the schema of another declaration already contains the family's kinds."""

    def __init_subclass__(cls, tag: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if tag:
            cls.family_tag, cls.kinds, cls.is_in_use = tag, {}, False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        field = cls.model_fields.get(cls.family_tag)
        if field is None:
            return  # a base class without a tag
        names = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        if len(names) != 1:
            raise TypeError(
                f"{cls.__qualname__!r} must declare {cls.family_tag} as a Literal with one value, "
                f"for example `{cls.family_tag}: Literal['my-kind'] = 'my-kind'`"
            )
        name = names[0]
        known = cls.kinds.get(name)
        # A module that is imported again declares the same class again, which is not a conflict.
        if known is not None and (known.__module__, known.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            classes = [f"{each.__module__}.{each.__qualname__}" for each in (known, cls)]
            raise TypeError(
                f"{cls.family_tag} {name!r} is declared twice, by {classes[0]} and by "
                f"{classes[1]}; choose another tag for the custom kind"
            )
        cls.kinds[name] = cls
        if cls.is_in_use:
            _rebuild()

    @model_validator(mode="before")
    @classmethod
    def _custom_kinds_need_trust(cls, given: Any) -> Any:
        """Custom kinds may do anything with what a configuration contains."""
        if not cls.__module__.startswith("dd_core."):
            require_trust(f"uses the custom kind {cls.__qualname__!r}")
        return given

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        is_family = source is cls and cls.family_tag and "family_tag" in cls.__dict__
        if not is_family:
            return handler(source)
        ensure_loaded()
        if not cls.kinds:
            return handler(source)
        cls.is_in_use = True
        # Sorted, because kinds are imported in any order and the form should not change with it.
        members = tuple(kind for _, kind in sorted(cls.kinds.items()))
        if len(members) == 1:
            return handler.generate_schema(members[0])
        return handler.generate_schema(_union(members, cls.family_tag))

    @classmethod
    def all_kinds(cls) -> Mapping[str, type[Kind]]:
        """Every kind of the family by its tag."""
        ensure_loaded()
        return cls.kinds

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Validate a mapping as the kind that its tag names; raises `ValueError`."""
        tag = str(given.get(cls.family_tag))
        kinds = cls.all_kinds()
        if tag not in kinds:
            known = ", ".join(repr(name) for name in sorted(kinds))
            raise ValueError(f"{cls.family_tag} {tag!r} is unknown; use one of {known}")
        return cast("Self", kinds[tag].model_validate(given))

    @property
    def kind(self) -> str:
        """The value of the family's tag, for example `llm-text`."""
        return str(getattr(self, self.family_tag))

    @property
    def own_code(self) -> dict[str, str | None]:
        """The source hash of a custom kind, for fingerprints; empty for built-in kinds."""
        kind = type(self)
        is_custom = not kind.__module__.startswith("dd_core.")
        return {"code": hash_source(kind)} if is_custom else {}


def _rebuild() -> None:
    """Rebuild the schemas in use, so that they accept a kind that was declared later."""
    for declaration in _declarations(Declaration):  # each comes after those that it contains
        if declaration.__pydantic_complete__:
            declaration.model_rebuild(force=True)


def _declarations(base: type[Declaration]) -> Iterator[type[Declaration]]:
    for declaration in base.__subclasses__():
        yield declaration
        yield from _declarations(declaration)


def import_kinds(package: str) -> None:
    """Import every module of a folder of kinds, in alphabetical order.

    Modules with a leading underscore are helpers shared by several kinds. They are imported when a
    kind needs them.
    """
    folders = import_module(package).__path__
    for module in sorted(iter_modules(folders), key=lambda module: module.name):
        if not module.name.startswith("_") and not module.ispkg:
            import_module(f"{package}.{module.name}")


def find_repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, in alphabetical order."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


class _FormOrder:
    """Puts kinds with fewer fields first in the schema of their family.

    A form of Prefect recognizes a chosen kind by the names of its fields, and takes the first kind
    that has them all. If `hf`, which has all fields of `local`, came first, nobody could choose
    `local`.
    """

    def __init__(self, members: Sequence[type[Kind]]) -> None:
        self._members = members

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        made = handler(schema)
        sizes = [len(kind.model_fields) for kind in self._members]
        by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
        made["anyOf"] = [made["anyOf"][place] for place in by_size]
        return made


def _union(members: tuple[type[Kind], ...], tag: str) -> Any:
    from typing import Annotated

    order = _FormOrder(members)
    return Annotated[Union[members], Discriminator(tag), order]  # noqa: UP007  (built at run time)
