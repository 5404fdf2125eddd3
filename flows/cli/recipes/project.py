"""Finds recipes, and writes projects that start from one."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

CATALOGUE = Path(__file__).with_name("catalogue")
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n+", re.DOTALL)
_LOCAL_MODEL = re.compile(r"^( +)model: .*\n +provider: local\n", re.MULTILINE)
_NOT_COPIED = ("__pycache__", "sample.jsonl")

CONFIG, RUN_CONFIG, PAGE, DEPLOYMENTS = "dataset.yaml", "run.yaml", "README.md", "prefect.yaml"
TOOLS = "tools.yaml"
"""The files of a project."""


@dataclass(frozen=True)
class Recipe:
    """A recipe and what is known of it."""

    name: str
    title: str
    makes: str
    """What a row contains."""
    calls: str
    """Calls of models per row, in words."""
    yields: str
    """Share of the rows that is left after filtering, in words."""
    page: str
    """Its page, in Markdown."""

    @property
    def folder(self) -> Path:
        """The folder with its files."""
        return CATALOGUE / self.name

    @property
    def options(self) -> str:
        """Options of the commands that use the configuration."""
        return f" --providers {TOOLS}" if (self.folder / TOOLS).exists() else ""


@dataclass(frozen=True)
class ModelChoice:
    """The model of a new project."""

    model: str
    base_url: str
    api_key_env_var: str | None = None


def list_recipes() -> list[Recipe]:
    """All recipes by name."""
    return [_load(folder) for folder in sorted(CATALOGUE.iterdir()) if folder.is_dir()]


def get_recipe(name: str) -> Recipe:
    """The recipe of this name; raises `ValueError`."""
    recipes = {each.name: each for each in list_recipes()}
    if name not in recipes:
        close = get_close_matches(name, recipes, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"recipes are {', '.join(recipes)}"
        raise ValueError(f"there is no recipe {name!r}; {hint}")
    return recipes[name]


def write_project(recipe: Recipe, folder: Path, choice: ModelChoice | None = None) -> list[Path]:
    """Copy a recipe into a folder that is new or empty, and add a deployment; returns the files.

    `choice` replaces the small local model of the recipe. Raises `ValueError` if the folder is not
    empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{str(folder)!r} is not empty; choose another folder")
    shutil.copytree(
        recipe.folder, folder, ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True
    )
    config = folder / CONFIG
    if choice is not None:
        config.write_text(_use_model(config.read_text(), choice))
    (folder / PAGE).write_text(_add_commands(recipe))
    settings: Any = yaml.safe_load((folder / RUN_CONFIG).read_text())
    (folder / DEPLOYMENTS).write_text(_write_deployments(recipe, settings))
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _load(folder: Path) -> Recipe:
    text = (folder / PAGE).read_text()
    front = _FRONT_MATTER.match(text)
    assert front is not None, f"{folder.name} has no front matter"
    facts: dict[str, Any] = yaml.safe_load(front[1])
    return Recipe(
        name=folder.name,
        title=facts["title"],
        makes=facts["makes"],
        calls=str(facts["calls"]),
        yields=facts["yield"],
        page=text[front.end() :],
    )


def _use_model(config: str, choice: ModelChoice) -> str:
    """The configuration with another model in place of the local one."""
    key = choice.api_key_env_var
    fields = {"model": choice.model, "base_url": choice.base_url}
    fields |= {} if key is None else {"api_key_env_var": key}
    lines = "".join(f"{{indent}}{name}: {_quote(value)}\n" for name, value in fields.items())
    changed = _LOCAL_MODEL.sub(lambda found: lines.replace("{indent}", found[1]), config)
    comment, _, rest = changed.partition("model_configs:")
    return f"model_configs:{rest}" if comment.startswith("#") else changed


def _quote(value: str) -> str:
    return yaml.safe_dump(value, width=1000).removesuffix("\n...\n").strip()


def _add_commands(recipe: Recipe) -> str:
    extra = f"- `input/`, and other files that `{CONFIG}` reads;\n"
    return f"""{recipe.page.rstrip()}

## Use this project

- `{CONFIG}` declares the columns, `{RUN_CONFIG}` the settings of a run and its quality gates;
{extra}- `{DEPLOYMENTS}` deploys the dataset to a Prefect work pool, with a new version every night.

```bash
ddflows validate {CONFIG}{recipe.options}
ddflows preview {CONFIG} -n 3{recipe.options}
ddflows estimate {CONFIG} -n 1000{recipe.options}
ddflows run {CONFIG} -c {RUN_CONFIG} -n 100 -d {recipe.name}{recipe.options}
```

To deploy it, create a work pool once, deploy, and start a worker in this folder:

```bash
prefect work-pool create --type process datasets
prefect --no-prompt deploy --all
prefect worker start --pool datasets
```

The first version is generated at night. To generate one now, run this in another terminal:

```bash
prefect deployment run generate-dataset/{recipe.name} --watch
```

Model calls per row: {recipe.calls}. Usual yield: {recipe.yields}.
"""


def _write_deployments(recipe: Recipe, settings: Any) -> str:
    parameters: dict[str, Any] = {"config": CONFIG, "dataset_name": recipe.name, "num_records": 100}
    if recipe.options:
        parameters |= yaml.safe_load((recipe.folder / TOOLS).read_text())
    entry = {
        "name": recipe.name,
        "description": recipe.title,
        "entrypoint": "prefect_data_designer.dataset.generate_dataset",
        "parameters": {**parameters, "version": "scheduled", "run_config": settings},
        "work_pool": {"name": "datasets"},
        "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
        "schedules": [{"cron": "30 2 * * *", "slug": "nightly", "active": True}],
    }
    text = yaml.safe_dump({"name": recipe.name, "deployments": [entry]}, sort_keys=False)
    return f"# `prefect deploy --all` in this folder creates the deployment.\n{text}"
