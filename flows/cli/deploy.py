"""`ddflows deploy`: creates a deployment that generates a dataset on a work pool."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    add_config_argument,
    artifacts_option,
    dataset_option,
    num_records_option,
    providers_option,
    read_servers,
    read_settings,
    run_config_option,
    version_option,
)

if TYPE_CHECKING:
    from dd_core.dataset.config import DataDesignerConfig

_ENTRYPOINT = "prefect_data_designer.dataset.generate_dataset"


@click.command()
@add_config_argument
@click.option("--pool", required=True, help="Work pool that runs the deployment.")
@click.option("--name", help="Name of the deployment; default: the name of the dataset.")
@click.option("--cron", help="Schedule, such as '30 2 * * *'. Each run generates a new version.")
@click.option(
    "--timezone", metavar="ZONE", help="Time zone of the schedule, such as Europe/Berlin."
)
@num_records_option
@dataset_option
@artifacts_option
@version_option
@click.option(
    "--batches-on",
    metavar="DEPLOYMENT",
    help="Generate the batches on the workers of this deployment, such as generate-batch/workers.",
)
@run_config_option
@providers_option
def deploy(
    config: DataDesignerConfig,
    pool: str,
    name: str | None,
    cron: str | None,
    timezone: str | None,
    num_records: int,
    dataset_name: str,
    artifact_path: str,
    version: str | None,
    batches_on: str | None,
    run_config: str | None,
    providers: str | None,
) -> None:
    """Create or update a deployment that generates a dataset.

    CONFIG is a YAML, JSON or Python file; see `ddflows run --help`.

    The deployment contains the configuration as it is now. If you change the configuration, deploy
    it again. Keys are not stored: the workers need the environment variables or blocks that the
    configuration refers to.
    """
    from dd_core import DataDesigner
    from dd_core.declaration.secrets import BLOCK_PREFIX
    from dd_core.storage.location import is_remote

    from ..blocks.providers import GivenServers, require_no_literal_keys, require_references

    servers, settings = read_servers(providers), read_settings(run_config)
    require_references(GivenServers(**servers))
    require_no_literal_keys(config)
    DataDesigner(**servers).validate(config)
    if not artifact_path.startswith(BLOCK_PREFIX) and not is_remote(artifact_path):
        artifact_path = str(Path(artifact_path).resolve())  # a worker runs in a folder of its own
    parameters: dict[str, Any] = {
        "config": config.to_dict(),
        "num_records": num_records,
        "dataset_name": dataset_name,
        "artifact_path": artifact_path,
        "version": version or ("scheduled" if cron else None),
        "batches_on": batches_on,
        "run_config": settings.model_dump(mode="json", exclude_unset=True),
        **{
            name: [each.model_dump(mode="json", exclude_unset=True) for each in listed or ()]
            for name, listed in servers.items()
        },
    }
    given = {key: value for key, value in parameters.items() if value not in (None, [], {})}
    created = asyncio.run(_deploy(pool, name or dataset_name, given, cron, timezone))
    click.echo(f"Deployment {created!r} is on the work pool {pool!r}.")
    click.echo(f"Start a worker with: prefect worker start --pool {pool!r}")
    click.echo(f"Start a run with:    prefect deployment run {created!r}")


async def _deploy(
    pool: str, name: str, parameters: dict[str, Any], cron: str | None, timezone: str | None
) -> str:
    """Create the deployment, or update the one of this name; returns its full name."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL
    from prefect.utilities.callables import parameter_schema

    from ..dataset import generate_dataset
    from ..distributed.deployment_runs import require_deployment

    if not PREFECT_API_URL.value():
        raise click.ClickException("PREFECT_API_URL is not set; set it to the API of your server")
    schedules, cancel = _make_schedules(cron, timezone), ConcurrencyLimitStrategy.CANCEL_NEW
    if "batches_on" in parameters:
        await require_deployment(parameters["batches_on"])
    async with get_client() as client:
        try:
            await client.read_work_pool(pool)
        except ObjectNotFound:
            raise click.ClickException(
                f"work pool {pool!r} does not exist; create it with "
                f"`prefect work-pool create --type process {pool}`"
            ) from None
        await client.create_deployment(
            flow_id=await client.create_flow(generate_dataset),
            name=name,
            work_pool_name=pool,
            entrypoint=_ENTRYPOINT,
            parameters=parameters,
            schedules=schedules,
            tags=["data-designer", parameters["dataset_name"]],
            parameter_openapi_schema=parameter_schema(generate_dataset).model_dump_for_openapi(),
            enforce_parameter_schema=True,
            concurrency_limit=1 if schedules else None,
            concurrency_options=ConcurrencyOptions(collision_strategy=cancel)
            if schedules
            else None,
        )
    return f"{generate_dataset.name}/{name}"


def _make_schedules(cron: str | None, timezone: str | None) -> list[Any]:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    if cron is None:
        if timezone is not None:
            raise click.UsageError("--timezone needs --cron")
        return []
    try:
        schedule = CronSchedule(cron=cron, timezone=timezone or "UTC")
    except ValidationError as error:
        problem = error.errors()[0]
        reason = problem["msg"].removeprefix("Value error, ")
        raise click.UsageError(f"--{problem['loc'][0]}: {reason}") from None
    return [DeploymentScheduleCreate(schedule=schedule, active=True, slug="scheduled")]
