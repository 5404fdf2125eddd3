"""`ddflows kinds`, `schema` and `models`: look up what a configuration can contain."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .options import providers_option, read_providers

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from dd_core.dataset.catalog import FieldFacts, KindFacts


_json = click.option("--json", "as_json", is_flag=True, help="Print all details as JSON.")


@click.command()
@click.argument("name", metavar="[FAMILY|KIND]", required=False)
@_json
def kinds(name: str | None, as_json: bool) -> None:
    """List what a configuration can declare.

    FAMILY is column, sampler, seed, validator, processor, media or other. KIND is a tag such as
    llm-text, a class such as LLMTextColumnConfig, or FAMILY/TAG if several families have the tag.
    For a kind, all fields are listed with their types and defaults.

    Custom kinds are included; see `ddflows --kinds`.
    """
    from dd_core.dataset.catalog import list_families, list_kinds

    with _report_unknown():
        found = list_kinds(name)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2, ensure_ascii=False))
    elif name is None or name.removesuffix("s") in list_families():
        _list(found)
    else:
        click.echo("\n\n".join(_describe(each) for each in found))


@click.command()
@click.argument("kind", required=False)
def schema(kind: str | None) -> None:
    """Print the JSON schema of a configuration, or of one KIND.

    KIND is a tag such as llm-text, or a class such as RunConfig; see `ddflows kinds`. With this
    schema, editors can check a configuration while you write it.
    """
    from dd_core.dataset.catalog import make_schema

    with _report_unknown():
        made = make_schema(kind)
    click.echo(json.dumps(made, indent=2, ensure_ascii=False))


@click.command()
@_json
@providers_option
def models(as_json: bool, providers: str | None) -> None:
    """List the default models, and show which of them can be used.

    These are the models of a configuration without `model_configs`. A model cannot be used if its
    provider is unknown or its key is missing. Does not call any model; to call them, use
    `ddflows check-models`.
    """
    from dd_core.models.providers import Providers, load_default_models

    known = Providers(read_providers(providers))
    rows: list[dict[str, Any]] = []
    for model in load_default_models():
        problem = known.problem(model)
        rows.append(
            {
                "alias": model.alias,
                "model": model.model,
                "provider": known.name_for(model),
                "generation_type": model.generation_type.value,
                "usable": problem is None,
                "reason": None if problem is None else problem.message,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    texts = [(r["alias"], r["model"], r["provider"] or "", r["reason"] or "usable") for r in rows]
    _print_columns(("ALIAS", "MODEL", "PROVIDER", "STATE"), texts)


@contextmanager
def _report_unknown() -> Generator[None]:
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _list(found: Sequence[KindFacts]) -> None:
    rows = [
        (each.family, each.name, f"{each.summary}{' (custom)' if each.is_custom else ''}")
        for each in found
    ]
    _print_columns(("FAMILY", "KIND", "WHAT IT IS"), rows)


def _describe(kind: KindFacts) -> str:
    tag = f" ({kind.tag_field}: {kind.name})" if kind.tag_field else ""
    origin = f"Custom: {kind.module}.{kind.class_name}" if kind.is_custom else kind.class_name
    lines = [f"{kind.family} {kind.name}{tag}", f"Class: {origin}", "", kind.description, ""]
    lines += _format_fields(kind.fields)
    for name, fields in kind.parts.items():
        lines += ["", f"{name}:", *_format_fields(fields)]
    return "\n".join(lines)


def _format_fields(fields: Sequence[FieldFacts]) -> list[str]:
    lines: list[str] = []
    for field in fields:
        default = json.dumps(field.default, ensure_ascii=False)
        state = "required" if field.required else f"default: {default}"
        lines.append(f"  {field.name}: {field.type}; {state}")
        if field.description:
            lines.append(f"      {field.description}")
    return lines


def _print_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns as plain text. The last one may be long."""
    table = [heads, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(heads) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]))
