"""Adds tags to a task run that is already running.

Written for Prefect 3.8.8. Prefect has no public way to change the tags of a running task run, so
this module emits the event of the state change again, with the new tags. Remove it when Prefect can
tag a running task run, or start a tagged task run without taking a slot of the tag's limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from prefect.client.schemas.objects import TaskRun
from prefect.states import Running
from prefect.utilities.engine import emit_task_run_state_change_event

_DELAY_SECONDS = 30.0


@contextmanager
def tag_while_running(task_run: TaskRun, tags: Sequence[str]) -> Generator[None]:
    """Add tags to a running task run, in this process at once and on the server soon.

    The event of the final state carries the tags. A further event costs as much of the server's
    database as any other, so only a task run that takes some time gets one.
    """
    task_run.tags = [*task_run.tags, *tags]

    def emit() -> None:
        emit_task_run_state_change_event(task_run, task_run.state, Running())

    emitting = asyncio.get_running_loop().call_later(_DELAY_SECONDS, emit)
    try:
        yield
    finally:
        emitting.cancel()
