"""What can be declared: all kinds with their fields, custom ones included, and JSON schemas."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from pydantic.json_schema import GenerateJsonSchema

from dd_core.dataset.config import DataDesignerConfig, JudgeScoreProfilerConfig
from dd_core.dataset.gates import ColumnGates, Gates
from dd_core.dataset.run_config import RunConfig
from dd_core.declaration.kind import Declaration, Kind
from dd_core.kinds.columns.column import Column
from dd_core.kinds.constraint import ColumnInequalityConstraint, ScalarInequalityConstraint
from dd_core.kinds.media import ModalityContext
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.samplers.sampler import SamplerParams
from dd_core.kinds.seeds.seed import SeedConfig, SeedSource
from dd_core.kinds.validators.validator import ValidatorParams
from dd_core.models.config import ModelConfig, ModelProvider
from dd_core.models.tools.config import LocalStdioMCPProvider, MCPProvider, ToolConfig

_FAMILIES: dict[str, type[Kind]] = {
    "column": Column,
    "sampler": SamplerParams,
    "seed": SeedSource,
    "validator": ValidatorParams,
    "processor": ProcessorConfig,
    "media": ModalityContext,
}
_OTHERS: tuple[type[Declaration], ...] = (
    DataDesignerConfig,
    *(ModelConfig, ModelProvider, SeedConfig, RunConfig, Gates, ColumnGates),
    *(ScalarInequalityConstraint, ColumnInequalityConstraint, JudgeScoreProfilerConfig),
    *(ToolConfig, MCPProvider, LocalStdioMCPProvider),
)
_OTHER = "other"
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
}

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class FieldFacts:
    """One field of a declaration."""

    name: str
    type: str
    """Type in words, for example `list of string`."""
    required: bool
    default: Any
    """Default as JSON; None for a required field."""
    description: str


@dataclass(frozen=True)
class KindFacts:
    """One kind, or another declaration, and what can be said in it."""

    family: str
    """`column`, `sampler`, `seed`, `validator`, `processor`, `media` or `other`."""
    name: str
    """The tag, for example `llm-text`; the class of a declaration that is no kind."""
    tag_field: str
    """The field that holds the tag, for example `column_type`; empty if there is none."""
    class_name: str
    module: str
    is_custom: bool
    """Whether it is declared outside this package."""
    summary: str
    description: str
    fields: tuple[FieldFacts, ...]
    parts: Mapping[str, tuple[FieldFacts, ...]]
    """Fields of the declarations that the fields contain, by name."""


def list_kinds(name: str | None = None) -> list[KindFacts]:
    """All kinds, or those of a family, with a tag or with a class name.

    Raises `ValueError` for a name that does not exist.
    """
    return [_describe(*each) for each in _find(name)]


def make_schema(name: str | None = None) -> dict[str, Any]:
    """The JSON schema of a configuration, or of one kind by its tag, class name or `family/tag`.

    Raises `ValueError` if there is no such kind, or more than one.
    """
    if name is None:
        found: type[Declaration] = DataDesignerConfig
    else:
        matches = _find(name)
        if len(matches) > 1:
            names = ", ".join(f"{family}/{tag}" for family, tag, _ in matches)
            raise ValueError(f"{name!r} stands for several kinds; use one of {names}")
        found = matches[0][2]
    schema = found.model_json_schema()
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


def list_families() -> list[str]:
    """The names of the families."""
    return [*_FAMILIES, _OTHER]


def _all() -> Iterator[tuple[str, str, type[Declaration]]]:
    for family, base in _FAMILIES.items():
        for tag, kind in sorted(base.all_kinds().items()):
            yield family, tag, kind
    for declaration in _OTHERS:
        yield _OTHER, declaration.__name__, declaration


def _find(name: str | None) -> list[tuple[str, str, type[Declaration]]]:
    known = [*_all()]
    if name is None:
        return known
    family = name.removesuffix("s") if name.removesuffix("s") in _FAMILIES else name
    for matches in (
        [each for each in known if each[0] == family],
        [each for each in known if name in (each[1], f"{each[0]}/{each[1]}", each[2].__name__)],
    ):
        if matches:
            return matches
    names = [*list_families(), *(tag for _, tag, _ in known)]
    names += [declaration.__name__ for _, _, declaration in known]
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"families are {', '.join(list_families())}"
    raise ValueError(f"there is no family or kind {name!r}; {hint}")


def _describe(family: str, tag: str, declaration: type[Declaration]) -> KindFacts:
    schema = declaration.model_json_schema()
    definitions: Schema = schema.get("$defs", {})
    tag_field = declaration.family_tag if issubclass(declaration, Kind) else ""
    text = inspect.cleandoc(declaration.__doc__ or "")
    parts = {part: _fields(definitions[part], definitions, "") for part in _parts(schema)}
    return KindFacts(
        family=family,
        name=tag,
        tag_field=tag_field,
        class_name=declaration.__name__,
        module=declaration.__module__,
        is_custom=not declaration.__module__.startswith("dd_core."),
        summary=" ".join(text.partition("\n\n")[0].split()),
        description=text,
        fields=_fields(schema, definitions, tag_field),
        parts=parts,
    )


def _parts(schema: Schema) -> list[str]:
    """The declarations that the fields of a schema contain; kinds of families are left out."""
    definitions: Schema = schema.get("$defs", {})
    kinds = {kind.__name__ for base in _FAMILIES.values() for kind in base.all_kinds().values()}
    found: dict[str, None] = {}
    waiting = [*_references(schema.get("properties", {}))]
    while waiting:
        name = waiting.pop(0)
        if name in found or name in kinds or "properties" not in definitions.get(name, {}):
            continue
        found[name] = None
        waiting += _references(definitions[name]["properties"])
    return [*found]


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in cast("list[Any]", schema):
            yield from _references(each)
    elif isinstance(schema, dict):
        fields = cast("dict[str, Any]", schema)
        if isinstance(fields.get("$ref"), str):
            yield fields["$ref"].rpartition("/")[2]
        for name, value in fields.items():
            if name != "discriminator":
                yield from _references(value)


def _fields(schema: Schema, definitions: Schema, tag_field: str) -> tuple[FieldFacts, ...]:
    required: list[str] = schema.get("required", [])
    properties: Mapping[str, Schema] = schema.get("properties", {})
    return tuple(
        FieldFacts(
            name=name,
            type=_type_of(field, definitions),
            required=name in required,
            default=field.get("default"),
            description=" ".join(str(field.get("description", "")).split()),
        )
        for name, field in properties.items()
        if name != tag_field
    )


def _type_of(schema: Schema, definitions: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        target: Schema = definitions.get(name, {})
        return _type_of(target, definitions) if "properties" not in target else name
    if "discriminator" in schema:
        tag = schema["discriminator"]["propertyName"]
        family = [name for name, base in _FAMILIES.items() if base.family_tag == tag]
        if family:
            return f"{family[0]} (a kind)"
    if alternatives := schema.get("anyOf"):
        types = [_type_of(each, definitions) for each in alternatives if each != {"type": "null"}]
        return " or ".join(dict.fromkeys(types))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " | ".join(str(value) for value in values)
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    bounds += ["not empty" for key in ("minLength", "minItems") if schema.get(key)]
    return ", ".join([_plain_type(schema, definitions), *bounds])


def _plain_type(schema: Schema, definitions: Schema) -> str:
    match schema.get("type"):
        case "array":
            items = schema.get("items")
            return f"list of {_type_of(items, definitions)}" if items else "list"
        case "object":
            values = schema.get("additionalProperties")
            if isinstance(values, dict) and values:
                return f"mapping to {_type_of(cast('Schema', values), definitions)}"
            return "mapping"
        case str() as name:
            return name
        case _:
            return "any"
