"""Versions of a dataset in the flow: which one a run makes, and what becomes of it."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.states import Failed

from dd_core.acceptance import GateResult, judge, require_passed
from dd_core.errors import GatesFailedError
from dd_core.storage import DatasetDirectory
from dd_core.versions import Versions
from flows.gate_table import show_gates
from flows.session import DatasetRun

SCHEDULED = "scheduled"
"""Instead of a version: the date for which the run is scheduled."""
ACCEPTED = "data-designer.dataset.accepted"
"""Event: a dataset or version passed its gates."""
FAILED = "data-designer.dataset.gates-failed"
"""Event: a dataset or version did not."""


async def version_of_this_run(version: str | None) -> str | None:
    """The version that a run makes: the same one however late it starts or is retried."""
    if version != SCHEDULED:
        return version
    context = FlowRunContext.get()
    flow_run = context.flow_run if context else None
    if flow_run is None or flow_run.expected_start_time is None:
        return datetime.now().date().isoformat()
    zone = await _time_zone(flow_run)
    return flow_run.expected_start_time.astimezone(zone).date().isoformat()


async def _time_zone(flow_run: FlowRun) -> tzinfo | None:
    """That of the schedule which made the run, or else of this machine."""
    if flow_run.deployment_id is None:
        return None
    async with get_client() as client:
        deployment = await client.read_deployment(flow_run.deployment_id)
    zones = {each.id: getattr(each.schedule, "timezone", None) for each in deployment.schedules}
    author = flow_run.created_by.id if flow_run.created_by else None
    if author is not None and author in zones:
        return ZoneInfo(zones[author] or "UTC")
    named = {zone for zone in zones.values() if zone}  # started by hand
    return ZoneInfo(named.pop()) if len(named) == 1 else None


async def settle(session: DatasetRun, dataset: str) -> Any:
    """Judge the finished dataset, move `latest` and tell Prefect; a failed state if it fails.

    None if the dataset is accepted, or has neither gates nor versions.
    """
    directory, engine = session.directory, session.engine
    results = await engine.in_thread(judge, directory, engine)
    if not results:
        return None
    if directory.version is not None:
        keep = engine.run_config.keep_versions
        await engine.in_thread(_publish, directory, keep)
    _tell(dataset, directory, results)
    await show_gates(dataset, directory, results)
    try:
        require_passed(directory, results)
    except GatesFailedError as error:
        return Failed(message=str(error), data=error)  # raising it would log a traceback
    return None


def _publish(directory: DatasetDirectory, keep: int | None) -> None:
    versions = Versions.around(directory)
    is_latest = versions.settle(directory)
    if is_latest and keep is not None:  # a back-fill is not to remove what it has just made
        versions.prune(keep)


def _tell(dataset: str, directory: DatasetDirectory, results: list[GateResult]) -> None:
    """Emit an event that automations can wait for."""
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
            "rows": directory.metadata.get("actual_num_records"),
            "failed": failed,
            "reason": "\n".join(failed),
        },
    )
