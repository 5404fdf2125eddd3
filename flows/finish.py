"""What is done with a generated dataset as a whole: processors, and profilers that ask models."""

from __future__ import annotations

from typing import cast

from prefect import task
from prefect.logging import get_run_logger
from prefect.utilities.annotations import quote

from dd_core.analysis import profile_in_run
from dd_core.processing import process_dataset
from dd_core.processor import in_stage
from dd_core.storage import DatasetDirectory
from flows.session import DatasetRun


async def finish(session: DatasetRun, num_records: int) -> None:
    """What is done with the dataset as a whole; tasks only where there is something to do."""
    config = session.engine.plan.config
    given = cast("DatasetRun", quote(session))
    if in_stage(config.processors, "after_generation"):
        await process(given)
    if config.profilers:
        await profile(given, num_records)


@task(name="process-dataset")
async def process(session: DatasetRun) -> None:
    """Let processors that work on the dataset as a whole make it from what was generated."""
    directory = session.directory
    await session.engine.in_thread(process_dataset, directory, session.engine.plan)
    for name, rows in after_processing(directory).items():
        get_run_logger().info("%s: %s rows", name, rows)


@task(name="profile-dataset")
async def profile(session: DatasetRun, num_records: int) -> None:
    """Let models say what the finished dataset is like."""
    await profile_in_run(session.engine, session.directory, num_records)


def after_processing(directory: DatasetDirectory) -> dict[str, str]:
    """The rows that each processor has left, for people."""
    steps = directory.metadata.get("processed", {}).get("steps", [])
    return {f"rows after {step['name']}": f"{step['rows']:,}" for step in steps}


def short_of_rows(session: DatasetRun, written: int, asked: int) -> tuple[str, str]:
    """Name and message of the state of a run that made some of its rows: why, and how to go on."""
    short = f"{written:,} of {asked:,} rows; {session.dropped_count:,} dropped"
    stopped = session.engine.stopped_by
    if stopped is None:
        return "Rows missing", short
    return "Stopped early", (
        f"{short}: {stopped}. What was finished is kept in {session.directory.path}; "
        "run again with resume='if_possible' to continue"
    )
