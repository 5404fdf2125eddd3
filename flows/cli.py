"""The command line: `ddflows run`, `retry-failed`, `preview`, `estimate` and others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from flows.cli_cache import cache
from flows.cli_datasets import export, push, report
from flows.cli_errors import reports_errors
from flows.cli_limits import limits
from flows.cli_local import local

if TYPE_CHECKING:
    from dd_core.dataset_config import DataDesignerConfig
    from dd_core.run_config import RunConfig

_P = ParamSpec("_P")
_T = TypeVar("_T")


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="ddflows")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="prefect-data-designer")
@click.option(
    "--kinds",
    multiple=True,
    metavar="FILE",
    help="Python file or module that declares kinds of your own; may be repeated.",
)
def cli(kinds: tuple[str, ...]) -> None:
    """Generate synthetic datasets on Prefect."""
    # Functions that configurations name may be in the current folder.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    if kinds:  # child processes are to know them as well
        known = os.environ.get("DD_KINDS")
        os.environ["DD_KINDS"] = ",".join([*([known] if known else []), *kinds])


def _config(command: Callable[..., _T]) -> Callable[..., _T]:
    """The argument CONFIG; a Python file is given what follows `--`."""

    @click.argument("config", metavar="CONFIG")
    @click.argument("script_args", nargs=-1, metavar="[-- ARGS...]")
    @wraps(command)
    def configured(config: str, script_args: tuple[str, ...], **options: Any) -> _T:
        return command(config=reports_errors(_read_config)(config, script_args), **options)

    return configured


def _read_config(config: str, script_args: tuple[str, ...]) -> DataDesignerConfig | str:
    from dd_core.config_file import run_script

    if config.endswith(".py"):
        return run_script(Path(config), script_args)
    if script_args:
        raise click.UsageError(f"only a Python file takes arguments, not {config!r}")
    return config


_providers = click.option(
    "--providers", type=click.Path(exists=True, dir_okay=False), help="YAML file of providers."
)
_run_config = click.option(
    "-c",
    "--run-config",
    type=click.Path(exists=True, dir_okay=False),
    help="YAML file of run settings.",
)
_seed = click.option("--seed", type=int, help="Same seed, same sampled rows.")


@cli.command()
@_config
@click.option("-n", "--num-records", default=10, show_default=True, help="Rows to generate.")
@click.option("-d", "--dataset-name", default="dataset", show_default=True)
@click.option("-o", "--artifact-path", default="artifacts", show_default=True)
@click.option(
    "-r",
    "--resume",
    type=click.Choice(["never", "if_possible", "always"]),
    default="never",
    show_default=True,
    help="What to do when the dataset exists.",
)
@_run_config
@_seed
@_providers
@reports_errors
def run(
    config: DataDesignerConfig | str,
    num_records: int,
    dataset_name: str,
    artifact_path: str,
    resume: str,
    run_config: str | None,
    seed: int | None,
    providers: str | None,
) -> None:
    """Generate a dataset from CONFIG, a YAML or JSON file or its address.

    Runs the Prefect flow `generate-dataset` here, on the server of PREFECT_API_URL or a temporary
    one. The exit code is 0 only when all the rows are there.
    """
    from flows.local_run import run_here

    is_complete = run_here(
        config=config,
        num_records=num_records,
        dataset_name=dataset_name,
        artifact_path=artifact_path,
        resume=resume,
        run_config=_settings(run_config, seed),
        model_providers=_read_providers(providers),
    )
    sys.exit(0 if is_complete else 1)


@cli.command()
@_config
@click.option("-d", "--dataset-name", default="dataset", show_default=True)
@click.option("-o", "--artifact-path", default="artifacts", show_default=True)
@_run_config
@_providers
@reports_errors
def retry_failed(
    config: DataDesignerConfig | str,
    dataset_name: str,
    artifact_path: str,
    run_config: str | None,
    providers: str | None,
) -> None:
    """Generate anew the rows that a dataset lacks because they failed.

    They are listed in its folder `failed-rows`. Everything else is kept.
    """
    from dd_core.storage import DatasetDirectory
    from flows.local_run import run_here

    metadata = DatasetDirectory.place(artifact_path, dataset_name).metadata
    is_complete = run_here(
        config=config,
        num_records=metadata.get("target_num_records", 1),
        dataset_name=dataset_name,
        artifact_path=artifact_path,
        resume="always",
        retry_failed=True,
        run_config=_settings(run_config, None),
        model_providers=_read_providers(providers),
    )
    sys.exit(0 if is_complete else 1)


@cli.command()
@_config
@click.option("-n", "--num-records", default=10, show_default=True, help="Rows to generate.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the rows to a file.")
@_run_config
@_seed
@_providers
@reports_errors
def preview(
    config: DataDesignerConfig | str,
    num_records: int,
    output: str | None,
    run_config: str | None,
    seed: int | None,
    providers: str | None,
) -> None:
    """Generate a few rows of CONFIG in memory and show them. Does not use Prefect."""
    from dd_core import DataDesigner
    from flows.terminal import note_on, show_rows

    designer = DataDesigner(
        model_providers=_read_providers(providers), run_config=_settings(run_config, seed)
    )
    results = designer.preview(config, num_records=num_records)
    show_rows(results.records())
    for dropped in results.dropped:
        click.echo(f"row {dropped.row} dropped: {dropped.column}: {dropped.message}", err=True)
    click.echo(note_on(results.plan))
    if output is not None:
        from dd_core.export import export as write

        write(lambda: [results.table], output)
        click.echo(f"{results.table.num_rows} rows written to {output}")
    sys.exit(0 if len(results.dataset) == num_records else 1)


@cli.command()
@_config
@click.option("-n", "--num-records", default=1000, show_default=True, help="Rows to estimate for.")
@click.option("--probe-rows", default=5, show_default=True, help="Rows to generate for it.")
@_run_config
@_providers
@reports_errors
def estimate(
    config: DataDesignerConfig | str,
    num_records: int,
    probe_rows: int,
    run_config: str | None,
    providers: str | None,
) -> None:
    """Generate a few rows of CONFIG and say what a dataset will take: time, tokens, dollars."""
    from dd_core import DataDesigner
    from flows.terminal import show_estimate

    designer = DataDesigner(
        model_providers=_read_providers(providers), run_config=_settings(run_config, None)
    )
    show_estimate(designer.estimate(config, num_records=num_records, probe_rows=probe_rows))


@cli.command()
@_config
@_providers
@reports_errors
def validate(config: DataDesignerConfig | str, providers: str | None) -> None:
    """Check CONFIG without asking any model; lists everything that is wrong."""
    from dd_core import DataDesigner

    DataDesigner(model_providers=_read_providers(providers)).validate(config)
    click.echo("The configuration is valid.")


@cli.command("check-models")
@_config
@_providers
@reports_errors
def check_models(config: DataDesignerConfig | str, providers: str | None) -> None:
    """Ask every model that CONFIG uses one small question."""
    from dd_core import DataDesigner

    DataDesigner(model_providers=_read_providers(providers)).check_models(config)
    click.echo("All models answered.")


for _command in (report, export, push, cache, limits, local):
    cli.add_command(_command)


def _settings(path: str | None, seed: int | None) -> RunConfig:
    from dd_core.run_config import RunConfig

    given: dict[str, Any] = {}
    if path is not None:
        import yaml

        given = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    if seed is not None:
        given["seed"] = seed
    return RunConfig.model_validate(given)


def _read_providers(path: str | None) -> list[Any] | None:
    if path is None:
        return None
    import yaml

    from dd_core.models.config import ModelProvider

    loaded: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    listed: list[Any] = loaded.get("providers", []) if "providers" in loaded else loaded
    return [ModelProvider.model_validate(item) for item in listed]
