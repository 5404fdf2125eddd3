"""`ddflows recipes` and `ddflows init`: start from a configuration that works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from .project import ModelChoice, Recipe


@click.group()
def recipes() -> None:
    """List recipes, show one, or start a project from one.

    A recipe is a ready-made configuration for a common kind of dataset, with a page that describes
    it.
    """


def add_model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose the model of a new project."""
    for option in (
        click.option(
            "--key-variable", metavar="NAME", help="Environment variable that holds the API key."
        ),
        click.option("--model", metavar="NAME", help="ID of the model on this server."),
        click.option(
            "--endpoint",
            metavar="URL",
            help="Base URL of an OpenAI-compatible server, such as http://localhost:8000/v1; "
            "default: a small model on this machine.",
        ),
    ):
        command = option(command)
    return command


@recipes.command("list")
def list_all() -> None:
    """List all recipes."""
    from rich.console import Console
    from rich.table import Table

    from .project import list_recipes

    table = Table("recipe", "generates", "model calls per row", box=None, pad_edge=False)
    for each in list_recipes():
        table.add_row(each.name, each.makes, each.calls)
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 160)
    console.print(table)


@recipes.command()
@click.argument("name")
def show(name: str) -> None:
    """Show the page of a recipe and its configuration."""
    from .project import CONFIG

    recipe = _get(name)
    click.echo(f"{recipe.page.rstrip()}\n\nCalls per row: {recipe.calls}")
    click.echo(f"Usual yield: {recipe.yields}\n\n{CONFIG}:\n")
    click.echo((recipe.folder / CONFIG).read_text().rstrip())
    sample = recipe.folder / "sample.jsonl"
    if sample.exists():
        click.echo("\nRows that the small local model has made (larger models write better):\n")
        click.echo(sample.read_text().rstrip())


@recipes.command()
@click.argument("name")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
@add_model_options
def new(
    name: str,
    folder: Path | None,
    endpoint: str | None,
    model: str | None,
    key_variable: str | None,
) -> None:
    """Start a project from a recipe.

    `ddflows recipes list` shows the names. FOLDER must be new or empty; default: the name of the
    recipe. The project contains a configuration, run settings with quality gates, sample input, a
    deployment, and a README with the commands to use.
    """
    _write(name, folder or Path(name), _choose_model(endpoint, model, key_variable))


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option("--recipe", metavar="NAME", help="Recipe; see `ddflows recipes list`.")
@add_model_options
def init(
    folder: Path | None,
    recipe: str | None,
    endpoint: str | None,
    model: str | None,
    key_variable: str | None,
) -> None:
    """Start a project, and prompt for missing options.

    FOLDER must be new or empty; default: the name of the recipe.
    """
    from .project import list_recipes

    if recipe is None:
        known = list_recipes()
        for each in known:
            click.echo(f"  {each.name}: {each.title}")
        names = click.Choice([each.name for each in known])
        recipe = click.prompt("Which recipe", type=names, show_choices=False)
    if endpoint is None and model is None:
        question = "Endpoint of your models (empty: a small model on this machine)"
        endpoint = click.prompt(question, default="", show_default=False) or None
    if endpoint and model is None:
        model = click.prompt("Name of the model")
        answer = click.prompt("Variable with its API key (empty: none)", "", show_default=False)
        key_variable = key_variable or answer or None
    _write(str(recipe), folder or Path(str(recipe)), _choose_model(endpoint, model, key_variable))


def _write(name: str, folder: Path, choice: ModelChoice | None) -> None:
    from .project import CONFIG, PAGE, write_project

    try:
        files = write_project(_get(name), folder, choice)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    for file in files:
        click.echo(f"  {file}")
    click.echo(f"Try it: cd {folder} && ddflows preview {CONFIG} -n 3. Then read {PAGE}.")


def _get(name: str) -> Recipe:
    from .project import get_recipe

    try:
        return get_recipe(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _choose_model(
    endpoint: str | None, model: str | None, key_variable: str | None
) -> ModelChoice | None:
    from .project import ModelChoice

    if endpoint is None and model is None and key_variable is None:
        return None
    if endpoint is None or model is None:
        raise click.UsageError("--endpoint and --model need each other; give both")
    return ModelChoice(model, endpoint, key_variable)
