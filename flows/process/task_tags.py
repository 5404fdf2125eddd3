"""Adds tags to a task run that is already running.

Written for Prefect 3.8.8. Prefect has no public way to change the tags of a running task run, so
this module emits the event of the state change again, with the new tags. Remove it when Prefect can
tag a running task run, or start a tagged task run without taking a slot of the tag's limit.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect.client.schemas.objects import TaskRun
from prefect.states import Running
from prefect.utilities.engine import emit_task_run_state_change_event


def add_task_tags(task_run: TaskRun, tags: Sequence[str]) -> None:
    """Add tags to a running task run, in this process and on the server."""
    task_run.tags = [*task_run.tags, *tags]
    emit_task_run_state_change_event(task_run, task_run.state, Running())
