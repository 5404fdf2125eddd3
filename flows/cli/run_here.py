"""Runs the dataset flow in this process and shows its progress in the terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dd_core.storage.location import Location

    from ..session import DatasetRun


_SERVER_SETTINGS = {
    # By default, Prefect's server records task runs one by one. With SQLite, runs with many columns
    # would have to wait for it. See docs/deploying.md.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # Temporary servers of several runs share their request slots through files.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
        "prefect.server.concurrency.lease_storage.filesystem"
    ),
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
_QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING"}
"""The terminal shows progress instead of log lines, which only go to Prefect."""


def run_here(**parameters: Any) -> bool:
    """Run `generate-dataset` with these parameters; returns whether all requested rows exist."""
    set_server_defaults()
    return asyncio.run(_run(parameters))


def locate_datasets(artifact_path: str) -> str | Location:
    """The location in a storage block; an address is returned as it is."""
    from dd_core.declaration.secrets import BLOCK_PREFIX

    if not artifact_path.startswith(BLOCK_PREFIX):
        return artifact_path
    set_server_defaults()
    from ..blocks.storage import resolve_location_here

    return resolve_location_here(artifact_path)


def set_server_defaults() -> None:
    """Set what a temporary server needs, unless the environment sets it."""
    defaults = (
        _SERVER_SETTINGS if "PREFECT_LOGGING_LEVEL" in os.environ else _SERVER_SETTINGS | _QUIET
    )
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


async def _run(parameters: dict[str, Any]) -> bool:
    from dd_core.engine.run import check_plan

    from ..approval import require_ui, set_approver
    from ..artifacts.summary import RunSummary
    from ..blocks.providers import GivenServers, make_placeholder_providers
    from ..dataset import generate_dataset
    from ..session import on_run_start
    from .terminal import show_progress, show_summary

    # Problems of the configuration are reported before a server is started.
    given = {name: parameters[name] for name in GivenServers.model_fields}
    providers = make_placeholder_providers(GivenServers(**given))
    config, settings, rows = (parameters[name] for name in ("config", "run_config", "num_records"))
    check_plan(config, providers, settings, rows, has_versions=bool(parameters.get("version")))
    sessions: list[DatasetRun] = []
    on_run_start(sessions.append)
    if parameters.get("approve_after_preview"):
        if sys.stdin.isatty():
            set_approver(_ask_in_terminal)
        else:
            require_ui()
    flow: Any = generate_dataset
    flow_run = flow(**{**parameters, "config": config})
    summary: RunSummary = await show_progress(flow_run, sessions, settings.progress_interval)
    show_summary(summary, sessions[0] if sessions else None)
    return summary.rows_written >= summary.rows_asked


async def _ask_in_terminal(session: DatasetRun) -> bool:
    """Show the preview, and ask in the terminal whether to generate the rest."""
    import click

    from dd_core.designer.view.progress_bars import pause_bars

    from .terminal import show_rows

    with pause_bars():
        show_rows(session.preview)
        question = f"Generate the remaining {session.rows - len(session.preview):,} rows?"
        return await asyncio.to_thread(click.confirm, question, default=True)
