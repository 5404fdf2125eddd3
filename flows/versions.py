"""Versions of a dataset: resolves the version of a run, and accepts it or fails the run."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.states import Failed

from dd_core.errors import GatesFailedError, InvalidConfigError, Problem
from dd_core.quality.acceptance import GateResult, require_passed
from dd_core.storage.directory import DatasetDirectory

from .artifacts.assets import record_asset
from .artifacts.gates import show_gates
from .session import DatasetRun

SCHEDULED = "scheduled"
"""Value of the parameter `version` that stands for the date for which the run is scheduled."""
_DAY = "%Y-%m-%d"
ACCEPTED = "data-designer.dataset.accepted"
"""Name of the event that is emitted when a dataset or version passed its gates."""
FAILED = "data-designer.dataset.gates-failed"
"""Name of the event that is emitted when a dataset or version failed its gates."""


async def resolve_version(version: str | None) -> str | None:
    """The version to generate; the same one even if the run starts late or is retried later.

    `scheduled:` may be followed by a format of the time, as for `strftime`.
    """
    name, _, form = (version or "").partition(":")
    if name != SCHEDULED:
        return version
    form = form or _DAY
    if "%" not in form:
        raise InvalidConfigError(
            [Problem("version", f"{version!r} is the same for all times; add, for example, {_DAY}")]
        )
    return (await _scheduled_time()).strftime(form)


async def _scheduled_time() -> datetime:
    """The time for which the run is scheduled, in the time zone of the schedule."""
    context = FlowRunContext.get()
    flow_run = context.flow_run if context else None
    if flow_run is None or flow_run.expected_start_time is None:
        return datetime.now().astimezone()
    return flow_run.expected_start_time.astimezone(await _time_zone(flow_run))


async def _time_zone(flow_run: FlowRun) -> tzinfo | None:
    """The time zone of the schedule that created the run; None for the one of this machine."""
    if flow_run.deployment_id is None:
        return None
    async with get_client() as client:
        deployment = await client.read_deployment(flow_run.deployment_id)
    zones = {each.id: getattr(each.schedule, "timezone", None) for each in deployment.schedules}
    creator = flow_run.created_by.id if flow_run.created_by else None
    if creator is not None and creator in zones:
        return ZoneInfo(zones[creator] or "UTC")
    # The run was started by hand. If all schedules agree on a time zone, the person means that one.
    distinct = {zone for zone in zones.values() if zone}
    return ZoneInfo(distinct.pop()) if len(distinct) == 1 else None


async def accept_or_fail(session: DatasetRun, dataset: str, results: list[GateResult]) -> Any:
    """Show the results of the gates and emit an event; returns a failed state if a gate failed.

    Returns None if the dataset is accepted, or if it has neither gates nor versions.
    """
    directory = session.directory
    if not results:
        return None
    _emit_outcome(dataset, directory, results)
    await show_gates(dataset, directory, results)
    try:
        require_passed(directory, results)
    except GatesFailedError as error:
        return Failed(message=str(error), data=error)  # raising the error would log a traceback
    await record_asset(dataset, directory, results)
    return None


def _emit_outcome(dataset: str, directory: DatasetDirectory, results: list[GateResult]) -> None:
    """Emit an event that can trigger automations."""
    failed = [str(each) for each in results if not each.passed]
    version = directory.version or ""
    emit_event(
        FAILED if failed else ACCEPTED,
        resource={
            "prefect.resource.id": f"data-designer.dataset.{dataset}",
            "prefect.resource.name": dataset,
            "data-designer.version": version,
        },
        payload={
            "dataset": dataset,
            "version": version,
            "path": str(directory.path),
            "rows": directory.metadata.actual_num_records,
            "failed": failed,
            "reason": "\n".join(failed),
        },
    )
