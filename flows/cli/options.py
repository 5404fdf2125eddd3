"""Arguments and options that several commands of `ddflows` share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from dd_core.dataset.config import DataDesignerConfig
    from dd_core.dataset.run_config import RunConfig
    from dd_core.dataset.workflow.config import WorkflowConfig


_T = TypeVar("_T")
_USES = "flows.cli.uses"
"""Key of the command's context for what its configuration uses of this machine."""

ROW_COUNT = click.IntRange(min=1)
"""Type of options that are a number of rows."""


def add_config_argument(
    command: Callable[..., _T], on_workflow: Callable[..., _T] | None = None
) -> Callable[..., _T]:
    """Add the argument CONFIG, and arguments after `--` for a configuration in a Python file.

    The command receives the loaded configuration. It must have the option `--providers`. If the
    file contains a workflow, `on_workflow` is called instead, with the workflow and the options.
    """

    @click.argument("config", metavar="CONFIG")
    @click.argument("script_args", nargs=-1, metavar="[-- ARGS...]")
    @click.option(
        "--trust",
        is_flag=True,
        help="Allow a configuration that is loaded from a URL to import code, read files and use "
        "keys on this machine. Review it first.",
    )
    @wraps(command)
    def configured(config: str, script_args: tuple[str, ...], trust: bool, **options: Any) -> _T:
        if (workflow := _read_workflow(config)) is not None:
            if on_workflow is None:
                raise click.UsageError(f"{config!r} is a workflow; this command needs a dataset")
            return on_workflow(workflow, **options)
        loaded = _read_config(config, script_args, options["providers"], trust=trust)
        return command(config=loaded, **options)

    return configured


def _read_workflow(config: str) -> WorkflowConfig | None:
    """The workflow in a file; None if the file contains something else."""
    from dd_core.dataset.source import is_address, read_mapping
    from dd_core.dataset.workflow.config import is_workflow, load_workflow
    from dd_core.errors import InvalidConfigError

    if config.endswith(".py") or is_address(config):
        return None
    try:
        if not is_workflow(read_mapping(config)):
            return None
    except InvalidConfigError:  # reported by the command
        return None
    return load_workflow(config).resolve_paths()


def _read_config(
    config: str, script_args: tuple[str, ...], providers: str | None, *, trust: bool
) -> DataDesignerConfig:
    from dd_core import install_alias
    from dd_core.dataset.files import load_config, run_script
    from dd_core.dataset.source import is_address
    from dd_core.declaration.trust import observe_uses
    from dd_core.models.providers import Providers

    if config.endswith(".py") and not is_address(config):
        install_alias(unless_installed=True)  # scripts for NeMo Data Designer run unchanged
        return run_script(Path(config), script_args).resolve_paths()
    if script_args:
        raise click.UsageError(f"{config!r} does not accept ARGS; only a Python file does")
    with observe_uses(trusted=True) as reading:
        loaded = load_config(config, Providers(read_providers(providers)), trust=trust)
    click.get_current_context().meta[_USES] = reading.uses
    return loaded.resolve_paths()  # runs may continue in processes in other directories


def list_uses() -> list[str]:
    """What the configuration of this command uses of this machine."""
    return click.get_current_context().meta.get(_USES, [])


providers_option = click.option(
    "--providers",
    type=click.Path(exists=True, dir_okay=False),
    help="YAML file with model providers (`providers`) and tool servers (`mcp_providers`).",
)
run_config_option = click.option(
    "-c",
    "--run-config",
    type=click.Path(exists=True, dir_okay=False),
    help="YAML file with run settings.",
)
num_records_option = click.option(
    "-n",
    "--num-records",
    type=ROW_COUNT,
    default=10,
    show_default=True,
    help="Number of rows to generate.",
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
    help="Folder or storage URL of the datasets, or block:NAME for a storage block.",
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
    help="If another process is generating the dataset, wait for up to this long; default: fail "
    "at once.",
)


def read_settings(
    path: str | None, seed: int | None = None, wait: float | None = None, *, shown: bool = False
) -> RunConfig:
    """Read run settings from a YAML file, and set the seed and the wait if they are given.

    With `shown`, the library shows its progress.
    """
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
    if shown:
        given["display_tui"] = True
    return _validate(RunConfig, given, path or "--seed")


def read_servers(path: str | None) -> dict[str, Any]:
    """Read `model_providers` and `mcp_providers` from a YAML file.

    Each is None if the file does not contain it, which stands for the user's defaults.
    """
    from dd_core.models.tools.providers import choose_declaration

    tools = _read_list(path, "mcp_providers")
    given = None if tools is None else [_validate(choose_declaration(e), e, path) for e in tools]
    return {"model_providers": read_providers(path), "mcp_providers": given}


def read_providers(path: str | None) -> list[Any] | None:
    """Read model providers from a YAML file."""
    from dd_core.models.config import ModelProvider

    models = _read_list(path, "providers")
    return None if models is None else [_validate(ModelProvider, each, path) for each in models]


def _read_list(path: str | None, key: str) -> list[Any] | None:
    """The list under a key; a file that is a list contains model providers only."""
    if path is None:
        return None
    loaded = _read_yaml(path)
    content = cast("dict[str, Any]", loaded if isinstance(loaded, dict) else {"providers": loaded})
    if key not in content:
        return None
    if not isinstance(content[key], list):
        raise click.ClickException(f"{path!r} has no top-level list `{key}`; add it")
    return content[key]


def _validate(declaration: type[_T], given: Any, place: str | None) -> _T:
    from pydantic import TypeAdapter, ValidationError

    from dd_core.dataset.files import find_config_problems

    try:
        return TypeAdapter(declaration).validate_python(given)
    except ValidationError as error:
        content = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        problems = find_config_problems(error, content)
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise click.ClickException(f"{place!r} is not valid:{listed}") from None


def _read_yaml(path: str) -> Any:
    from dd_core.declaration.yaml_text import load_yaml_file
    from dd_core.errors import InvalidConfigError

    try:
        return load_yaml_file(path) or {}
    except InvalidConfigError as error:
        raise click.ClickException(str(error)) from None
