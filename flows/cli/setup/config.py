"""`ddflows config`: lists and changes the user's providers, models and tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from .home_files import HomeFile


_KINDS = ("provider", "model", "mcp-provider", "tool-config")
_kind = click.argument("kind", type=click.Choice(_KINDS))


@click.group()
def config() -> None:
    """List and change your default providers, models and tools.

    They are stored in YAML files in the folder DATA_DESIGNER_HOME; default: ~/.data-designer.
    Configurations use these providers, models and tool servers unless they declare their own. Tool
    configurations are only stored: copy them into the `tool_configs` of a configuration. Keys are
    never shown.
    """


@config.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print all fields as JSON.")
def list_(as_json: bool) -> None:
    """List providers, models, tool servers and tool configurations."""
    from .home_files import HOME_FILES

    if as_json:
        found = {
            kind: [_dump(each) for each in home_file.load()]
            for kind, home_file in HOME_FILES.items()
        }
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for number, home_file in enumerate(HOME_FILES.values()):
        origin = "built in" if home_file.load_defaults is not None else "none"
        place = str(home_file.path) if home_file.path.is_file() else origin
        click.echo(f"{'' if number == 0 else chr(10)}{home_file.title} ({place})")
        for each in home_file.load():
            click.echo(f"  {_summarize(home_file, _dump(each))}")


@config.command()
@_kind
@click.argument("name")
def show(kind: str, name: str) -> None:
    """Show one entry with all of its fields.

    NAME is the name of a provider, or the alias of a model or tool configuration.
    """
    from dd_core.declaration.yaml_text import dump_yaml

    from .home_files import HOME_FILES

    home_file = HOME_FILES[kind]
    found = [_dump(each) for each in home_file.load()]
    entry = found[_find(home_file, found, name)]
    click.echo(dump_yaml(entry, sort_keys=False), nl=False)


@config.command("set")
@_kind
@click.argument("name")
@click.argument("changes", metavar="FIELD=VALUE...", nargs=-1, required=True)
def set_(kind: str, name: str, changes: tuple[str, ...]) -> None:
    """Add an entry, or change fields of an existing one.

    NAME is the name of a provider, or the alias of a model or tool configuration. VALUE is YAML,
    such as 0.7 or [a, b]; without a value, the field is removed. Use dots for nested
    fields:

    \b
      ddflows config set provider gateway endpoint=https://llm.example.com/v1 api_key=GATEWAY_KEY
      ddflows config set model writer model=gpt-4.1 provider=gateway
      ddflows config set model writer inference_parameters.temperature=0.7

    For a key, enter the name of the environment variable that holds it. The first change also
    writes the built-in entries to the file. Comments are kept, except within the changed entry.
    """
    from .home_files import HOME_FILES, merge_changes, parse_changes

    home_file, parsed = HOME_FILES[kind], parse_changes(changes)
    for field, value in parsed.items():
        _refuse_keys(field, value)
    if home_file.id_field in parsed:
        raise click.UsageError(f"{home_file.id_field} is given as NAME; leave it out")
    entries = home_file.load_entries()
    index = next(_positions(home_file, entries, name), len(entries))
    old = entries[index] if index < len(entries) else {home_file.id_field: name}
    new = merge_changes(old, parsed)
    _validate(home_file, new)
    is_loss = home_file.save(entries, index, new)
    click.echo(f"{'Changed' if index < len(entries) else 'Added'} {name} in {home_file.path}")
    if is_loss:
        click.echo("Some comments in the file were lost.", err=True)


@config.command()
@_kind
@click.argument("name")
def remove(kind: str, name: str) -> None:
    """Remove an entry."""
    from .home_files import HOME_FILES

    home_file = HOME_FILES[kind]
    entries = home_file.load_entries()
    home_file.save(entries, _find(home_file, entries, name), None)
    click.echo(f"Removed {name} from {home_file.path}")


def _dump(declared: Any) -> dict[str, Any]:
    """The fields of a declaration that are set; keys are masked."""
    return declared.model_dump(mode="json", exclude_unset=True)


def _summarize(home_file: HomeFile, entry: Mapping[str, Any]) -> str:
    facts: list[str] = [str(entry[home_file.id_field])]
    for field in ("model", "provider", "endpoint", "base_url", "command", "providers"):
        if value := entry.get(field):
            shown = ", ".join(cast("list[str]", value)) if isinstance(value, list) else value
            facts.append(f"{field}: {shown}")
    key = entry.get("api_key") or entry.get("api_key_env_var")
    if key:
        facts.append(f"key: {'(hidden)' if str(key).startswith('*') else key}")
    return "  ".join(facts)


def _positions(home_file: HomeFile, entries: list[dict[str, Any]], name: str) -> Iterator[int]:
    for index, entry in enumerate(entries):
        if entry.get(home_file.id_field) == name:
            yield index


def _find(home_file: HomeFile, entries: list[dict[str, Any]], name: str) -> int:
    for index in _positions(home_file, entries, name):
        return index
    names = ", ".join(repr(entry.get(home_file.id_field)) for entry in entries) or "none"
    raise click.ClickException(f"there is no {home_file.kind} {name!r}; known: {names}")


def _refuse_keys(field: str, value: Any) -> None:
    """Refuse a key itself: it would stand in a file, and in the history of the shell."""
    from dd_core.redaction.rules import is_secret_name, mask_address, parse_key_reference

    if isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            _refuse_keys(f"{field}.{name}", inner)
        return
    name = field.rpartition(".")[2]
    if not isinstance(value, str) or name == "api_key_env_var":
        return
    if is_secret_name(name) and parse_key_reference(value) is None and "${" not in value:
        raise click.UsageError(
            f"{field} must be the name of an environment variable, such as GATEWAY_API_KEY, and "
            "not a key itself"
        )
    if "://" in value and mask_address(value) != value:
        raise click.UsageError(f"{field} contains a password or a key; leave it out")


def _validate(home_file: HomeFile, entry: dict[str, Any]) -> None:
    from pydantic import ValidationError

    from dd_core.dataset.files import find_config_problems

    try:
        home_file.parse(entry)
    except ValidationError as error:
        problems = "".join(f"\n  - {each}" for each in find_config_problems(error, entry))
        name = entry[home_file.id_field]
        raise click.ClickException(f"{home_file.kind} {name!r} is not valid:{problems}") from None
