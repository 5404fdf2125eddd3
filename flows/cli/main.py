"""The `ddflows` command: `run`, `retry-failed`, `preview`, `estimate` and other subcommands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .backfill import backfill
from .boundary import BoundaryGroup
from .cache import cache
from .datasets.preview import preview
from .datasets.publish import export, push, report
from .datasets.show import show
from .datasets.verify import verify
from .deploy import deploy
from .limits import limits
from .lookup import kinds, models, schema
from .options import (
    ROW_COUNT,
    add_config_argument,
    artifacts_option,
    dataset_option,
    list_uses,
    num_records_option,
    providers_option,
    read_servers,
    read_settings,
    run_config_option,
    seed_option,
    version_option,
    wait_option,
)
from .recipes.commands import init, recipes
from .resume import resume
from .setup.config import config
from .setup.local import local
from .setup.personas import personas

if TYPE_CHECKING:
    from dd_core.dataset.config import DataDesignerConfig


@click.group(cls=BoundaryGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="prefect-data-designer")
@click.option(
    "--kinds",
    "kind_files",
    multiple=True,
    metavar="FILE",
    help="Python file or module that declares custom kinds of columns, samplers, seed sources, "
    "validators or processors. Can be repeated.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(kind_files: tuple[str, ...], debug: bool) -> None:
    """Generate synthetic datasets with Prefect."""
    # Configurations may refer to functions in modules of the current folder.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    if kind_files:  # an environment variable, so that child processes load them too
        existing = os.environ.get("DD_KINDS")
        os.environ["DD_KINDS"] = ",".join([*([existing] if existing else []), *kind_files])


@cli.command()
@add_config_argument
@num_records_option
@dataset_option
@artifacts_option
@click.option(
    "-r",
    "--resume",
    type=click.Choice(["never", "if_possible", "always"]),
    default="never",
    show_default=True,
    help="What to do if the dataset exists. never: create a new one next to it. if_possible: "
    "continue it, or create a new one if the configuration differs. always: continue it, or fail.",
)
@version_option
@click.option(
    "--batches-on",
    metavar="DEPLOYMENT",
    help="Generate the batches on the workers of this deployment, such as generate-batch/workers.",
)
@click.option("--approve", is_flag=True, help="Ask for approval after the first ten rows.")
@run_config_option
@seed_option
@wait_option
@providers_option
def run(
    config: DataDesignerConfig,
    num_records: int,
    dataset_name: str,
    artifact_path: str,
    resume: str,
    version: str | None,
    batches_on: str | None,
    approve: bool,
    run_config: str | None,
    seed: int | None,
    wait: float | None,
    providers: str | None,
) -> None:
    """Generate a dataset.

    CONFIG is the path or http(s) URL of a YAML or JSON file, or a Python file that builds a
    configuration from ARGS.

    Runs the Prefect flow `generate-dataset` in this process. Uses the server at PREFECT_API_URL, or
    a temporary one if it is not set. The exit code is 0 only if no row is missing.
    """
    from .run_here import run_here

    is_complete = run_here(
        config=config,
        num_records=num_records,
        dataset_name=dataset_name,
        artifact_path=artifact_path,
        resume=resume,
        version=version,
        batches_on=batches_on,
        approve_after_preview=approve,
        run_config=read_settings(run_config, seed, wait),
        **read_servers(providers),
    )
    sys.exit(0 if is_complete else 1)


@cli.command()
@add_config_argument
@dataset_option
@artifacts_option
@click.option("--version", metavar="NAME", help="Version of the dataset, such as 2026-11-24.")
@run_config_option
@wait_option
@providers_option
def retry_failed(
    config: DataDesignerConfig,
    dataset_name: str,
    artifact_path: str,
    version: str | None,
    run_config: str | None,
    wait: float | None,
    providers: str | None,
) -> None:
    """Retry the failed rows of a dataset.

    CONFIG is a YAML, JSON or Python file; see `ddflows run --help`.

    The folder `failed-rows` of the dataset lists these rows. All other rows are kept.
    """
    from dd_core.storage.directory import DatasetDirectory

    from .run_here import locate_datasets, run_here

    location = locate_datasets(artifact_path)
    metadata = DatasetDirectory.place(location, dataset_name, version).metadata
    is_complete = run_here(
        config=config,
        num_records=metadata.target_num_records or 1,
        dataset_name=dataset_name,
        artifact_path=artifact_path,
        resume="always",
        retry_failed=True,
        version=version,
        run_config=read_settings(run_config, None, wait),
        **read_servers(providers),
    )
    sys.exit(0 if is_complete else 1)


@cli.command()
@add_config_argument
@click.option(
    "-n",
    "--num-records",
    type=ROW_COUNT,
    default=1000,
    show_default=True,
    help="Number of rows in the dataset.",
)
@click.option(
    "--probe-rows",
    type=ROW_COUNT,
    default=5,
    show_default=True,
    help="Number of rows to generate for the estimate.",
)
@run_config_option
@providers_option
def estimate(
    config: DataDesignerConfig,
    num_records: int,
    probe_rows: int,
    run_config: str | None,
    providers: str | None,
) -> None:
    """Estimate the time and cost of a dataset.

    CONFIG is a YAML, JSON or Python file; see `ddflows run --help`.

    Generates a few rows, and extrapolates requests, tokens, time and cost from them.
    """
    from dd_core import DataDesigner

    from .terminal import show_estimate

    settings = read_settings(run_config, shown=True)
    designer = DataDesigner(**read_servers(providers), run_config=settings)
    show_estimate(designer.estimate(config, num_records=num_records, probe_rows=probe_rows))


@cli.command()
@add_config_argument
@providers_option
@click.option(
    "--portable",
    is_flag=True,
    help="Also list everything that NeMo Data Designer could not read. If there is anything, the "
    "exit code is 1.",
)
def validate(config: DataDesignerConfig, providers: str | None, portable: bool) -> None:
    """Check a configuration and list all problems.

    CONFIG is a YAML, JSON or Python file; see `ddflows run --help`.

    Does not call any model. Also lists what the configuration uses on this machine: the code that
    it imports, the files that it reads and the keys that it uses.
    """
    from dd_core import DataDesigner

    requests = DataDesigner(**read_servers(providers)).count_requests(config)
    click.echo("The configuration is valid.")
    if requests:
        listed = ", ".join(f"{name} {count}" for name, count in requests.items())
        click.echo(f"A row takes at most {sum(requests.values())} requests to models: {listed}.")
    for use in list_uses():
        click.echo(f"It {use}.")
    if portable:
        from dd_core.dataset.planning.portability import list_unportable

        if found := list_unportable(config):
            click.echo("NeMo Data Designer cannot read it:")
            click.echo("\n".join(f"  - {problem}" for problem in found))
            sys.exit(1)
        click.echo("NeMo Data Designer can read it.")


@cli.command("check-models")
@add_config_argument
@providers_option
def check_models(config: DataDesignerConfig, providers: str | None) -> None:
    """Check whether models and tool servers respond.

    CONFIG is a YAML, JSON or Python file; see `ddflows run --help`.

    Sends one request to every model of the configuration, connects to its tool servers, and lists
    their tools.
    """
    from dd_core import DataDesigner

    tools = DataDesigner(**read_servers(providers)).check_models(config)
    click.echo("All models and tool servers answered." if tools else "All models answered.")
    for alias, names in tools.items():
        shown = (name if name.isprintable() else repr(name) for name in names)
        click.echo(f"Tools {alias!r}: {', '.join(shown)}")


_COMMANDS = (
    *(preview, backfill, deploy, resume),
    *(show, report, export, push, verify),
    *(kinds, schema, models),
    *(config, personas, cache, limits, local),
    *(recipes, init),
)
for _command in _COMMANDS:
    cli.add_command(_command)
