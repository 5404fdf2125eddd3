"""Runs the dataset flow in this process and shows it on the terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dd_core.storage.location import Location

    from ..session import DatasetRun


_SERVER_SETTINGS = {
    # Prefect's SQLite server records task runs one by one unless told otherwise, which makes a run
    # with many columns wait for it. See docs/deploying.md.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # Temporary servers of several runs see each other's request slots.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
        "prefect.server.concurrency.lease_storage.filesystem"
    ),
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_LEVEL": "WARNING",
}


def run_here(**parameters: Any) -> bool:
    """Run `generate-dataset` with these parameters; True when every row asked for is there."""
    _prepare_server()
    return asyncio.run(_run(parameters))


def locate_datasets(artifact_path: str) -> str | Location:
    """Where datasets are: what a storage block holds, or the address as it is."""
    from dd_core.models.secrets import BLOCK_PREFIX

    if not artifact_path.startswith(BLOCK_PREFIX):
        return artifact_path
    _prepare_server()
    from ..blocks.storage import resolve_location_here

    return resolve_location_here(artifact_path)


def _prepare_server() -> None:
    for name, value in _SERVER_SETTINGS.items():
        os.environ.setdefault(name, value)


async def _run(parameters: dict[str, Any]) -> bool:
    from dd_core.dataset.files import load_config
    from dd_core.engine.run import check_plan

    from ..approval import ask_with, require_ui
    from ..artifacts.summary import RunSummary
    from ..blocks.providers import make_placeholder_providers
    from ..dataset import generate_dataset
    from ..session import on_run_start
    from .terminal import show_progress, show_summary

    # What is wrong with the configuration is said before any server is started.
    providers = make_placeholder_providers(parameters["model_providers"])
    config = load_config(parameters["config"], providers)
    settings, rows = parameters["run_config"], parameters["num_records"]
    check_plan(config, providers, settings, rows, has_versions=bool(parameters.get("version")))
    sessions: list[DatasetRun] = []
    on_run_start(sessions.append)
    if parameters.get("approve_after_preview"):
        if sys.stdin.isatty():
            ask_with(_ask)
        else:
            require_ui()
    flow: Any = generate_dataset
    running = flow(**{**parameters, "config": config})
    summary: RunSummary = await show_progress(running, sessions, settings.progress_interval)
    show_summary(summary, sessions[0])
    return summary.rows_written >= summary.rows_asked


async def _ask(session: DatasetRun) -> bool:
    """Show the preview and ask the person at the terminal whether to go on."""
    import click

    from .terminal import pause_bars, show_rows

    with pause_bars():
        show_rows(session.preview)
        question = f"Generate the other {session.rows - len(session.preview):,} rows?"
        return await asyncio.to_thread(click.confirm, question, default=True)
