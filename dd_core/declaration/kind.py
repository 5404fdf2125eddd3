"""How configurations name their kinds: `column_type: llm-text`, `seed_type: local` and so on.

A *family* (columns, samplers, seed sources ...) is an untagged base class; a *kind* is a subclass
that declares the family's tag as a one-value `Literal`. Declaring it is all the registration there
is: a field annotated with the family accepts every kind of it, validates by tag, and shows as a
discriminated union in JSON Schema and therefore in Prefect's parameter form.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
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
)
from pydantic_core import CoreSchema

from dd_core.declaration.syntax import parse
from dd_core.declaration.user_code import hash_source


class Declaration(BaseModel):
    """A frozen piece of configuration that rejects fields it does not know."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        ser_json_inf_nan="constants",
        defer_build=True,  # fields annotated with a family need all of its kinds
    )

    @classmethod
    def field_docs(cls) -> dict[str, str]:
        """The texts under the fields, by their names; those of base classes included."""
        texts: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            if issubclass(base, Declaration):
                texts |= _documented(base.__module__).get(base.__qualname__, {})
        return texts

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema with the fields' texts.

        Pydantic's `use_attribute_docstrings` would read them from the sources at every import,
        which takes longer than everything else that the import does.
        """
        made = handler(schema)
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


@cache
def _documented(module: str) -> dict[str, dict[str, str]]:
    """By class and field of a module, the text that stands under the field."""
    try:
        tree = parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):  # typed in at a prompt
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
    """Base of every family; see the module's docstring."""

    family_tag: ClassVar[str] = ""
    kinds: ClassVar[dict[str, type[Kind]]] = {}
    is_in_use: ClassVar[bool] = False
    """Whether the family's kinds are already part of some other declaration's schema."""

    def __init_subclass__(cls, tag: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if tag:
            cls.family_tag, cls.kinds, cls.is_in_use = tag, {}, False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        field = cls.model_fields.get(cls.family_tag)
        if field is None or get_origin(field.annotation) is not Literal:
            return
        (name,) = get_args(field.annotation)
        known = cls.kinds.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise TypeError(
                f"{cls.__qualname__!r} declares {cls.family_tag} {name!r}, "
                f"which {known.__qualname__!r} already has; choose another name"
            )
        cls.kinds[name] = cls
        if cls.is_in_use:
            _rebuild()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        is_family = source is cls and cls.family_tag and "family_tag" in cls.__dict__
        if not is_family or not cls.kinds:
            return handler(source)
        cls.is_in_use = True
        members = tuple(cls.kinds.values())
        if len(members) == 1:
            return handler.generate_schema(members[0])
        return handler.generate_schema(_union(members, cls.family_tag))

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """The kind that a mapping's tag names, validated; `ValueError` says what is wrong."""
        tag = str(given.get(cls.family_tag))
        if tag not in cls.kinds:
            known = ", ".join(repr(name) for name in sorted(cls.kinds))
            raise ValueError(f"{cls.family_tag} {tag!r} is not known; known are {known}")
        return cast("Self", cls.kinds[tag].model_validate(given))

    @property
    def kind(self) -> str:
        """The value of the family's tag, for example `llm-text`."""
        return str(getattr(self, self.family_tag))

    @property
    def own_code(self) -> dict[str, str | None]:
        """The hash of the code of a kind that somebody else declared; nothing for ours."""
        kind = type(self)
        own = not kind.__module__.startswith("dd_core.")
        return {"code": hash_source(kind)} if own else {}


def _rebuild() -> None:
    """Let declarations that were in use before know a kind that was declared after."""
    for declaration in _declarations(Declaration):  # each after those that it is made of
        if declaration.__pydantic_complete__:
            declaration.model_rebuild(force=True)


def _declarations(base: type[Declaration]) -> Iterator[type[Declaration]]:
    for declaration in base.__subclasses__():
        yield declaration
        yield from _declarations(declaration)


def import_kinds(package: str) -> None:
    """Import every module of a folder of kinds, in alphabetical order.

    Modules whose names begin with an underscore are helpers that several kinds share. They are
    loaded when a kind needs them.
    """
    folders = import_module(package).__path__
    for module in sorted(iter_modules(folders), key=lambda module: module.name):
        if not module.name.startswith("_") and not module.ispkg:
            import_module(f"{package}.{module.name}")


def _union(members: tuple[type[Kind], ...], tag: str) -> Any:
    from typing import Annotated

    return Annotated[Union[members], Discriminator(tag)]  # noqa: UP007  (built at run time)
