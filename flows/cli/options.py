"""Arguments and options that several commands of `ddflows` share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from dd_core.dataset.config import DataDesignerConfig
    from dd_core.dataset.run_config import RunConfig


_P = ParamSpec("_P")
_T = TypeVar("_T")

ROW_COUNT = click.IntRange(min=1)
"""Type of options that are a number of rows."""


def add_config_argument(command: Callable[..., _T]) -> Callable[..., _T]:
    """Add the argument CONFIG, and arguments after `--` for a configuration in a Python file."""

    @click.argument("config", metavar="CONFIG")
    @click.argument("script_args", nargs=-1, metavar="[-- ARGS...]")
    @wraps(command)
    def configured(config: str, script_args: tuple[str, ...], **options: Any) -> _T:
        return command(config=report_errors(_read_config)(config, script_args), **options)

    return configured


def _read_config(config: str, script_args: tuple[str, ...]) -> DataDesignerConfig | str:
    from dd_core.dataset.files import run_script

    if config.endswith(".py"):
        return run_script(Path(config), script_args)
    if script_args:
        raise click.UsageError(f"{config!r} does not accept ARGS; only a Python file does")
    return config


providers_option = click.option(
    "--providers",
    type=click.Path(exists=True, dir_okay=False),
    help="YAML file with model providers.",
)
run_config_option = click.option(
    "-c",
    "--run-config",
    type=click.Path(exists=True, dir_okay=False),
    help="YAML file with run settings.",
)
seed_option = click.option(
    "--seed", type=int, help="Random seed. The same seed gives the same sampled rows."
)
dataset_option = click.option(
    "-d",
    "--dataset-name",
    default="dataset",
    show_default=True,
    help="Name of the dataset's folder.",
)
artifacts_option = click.option(
    "-o",
    "--artifact-path",
    default="artifacts",
    show_default=True,
    help="Folder or storage address of the datasets, or block:NAME for a storage block.",
)
version_option = click.option(
    "--version",
    metavar="NAME",
    help="Version of the dataset to create or continue, such as 2026-11-24.",
)


wait_option = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="If another process is generating the dataset, wait for it this long; default: fail.",
)


def read_settings(
    path: str | None, seed: int | None = None, wait: float | None = None
) -> RunConfig:
    """Read run settings from a YAML file, and set the seed and the wait if they are given."""
    from dd_core.dataset.run_config import RunConfig

    given: dict[str, Any] = {}
    if path is not None:
        loaded = _read_yaml(path)
        if not isinstance(loaded, dict):
            raise click.ClickException(f"{path!r} must contain settings such as `buffer_size: 100`")
        given = loaded  # pyright: ignore[reportUnknownVariableType]
    if seed is not None:
        given["seed"] = seed
    if wait is not None:
        given["wait_for_owner"] = wait
    return RunConfig.model_validate(given)


def read_providers(path: str | None) -> list[Any] | None:
    """Read model providers from a YAML file."""
    if path is None:
        return None
    from dd_core.models.config import ModelProvider

    loaded = _read_yaml(path)
    listed: Any = loaded.get("providers", []) if isinstance(loaded, dict) else loaded  # pyright: ignore
    if not isinstance(listed, list):
        raise click.ClickException(f"{path!r} has no top-level list `providers`; add it")
    return [ModelProvider.model_validate(item) for item in listed]  # pyright: ignore


def _read_yaml(path: str) -> Any:
    from dd_core.declaration.yaml_text import load_yaml_file
    from dd_core.errors import InvalidConfigError

    try:
        return load_yaml_file(path) or {}
    except InvalidConfigError as error:
        raise click.ClickException(str(error)) from None


def report_errors(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Report expected errors as a message with exit code 1, without a traceback."""

    @wraps(command)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        from pydantic import ValidationError

        from dd_core.errors import DataDesignerError

        try:
            return command(*args, **kwargs)
        except (DataDesignerError, FileNotFoundError, ValidationError) as error:
            raise click.ClickException(str(error)) from None

    return guarded
