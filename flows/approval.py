"""A person looks at the first rows before the rest is generated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from http import HTTPStatus
from uuid import uuid4

import httpx
from prefect.flow_runs import apause_flow_run, asuspend_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL
from pydantic import Field

from dd_core.errors import DataDesignerGenerationError
from dd_core.storage.batch import Batch

from .artifacts.markdown import make_artifact_key
from .session import DatasetRun, is_deployed

PREVIEW_ROWS = 10
_TIMEOUT = 7 * 24 * 3600
"""Seconds that a run waits for somebody."""
_GRACE = 3600
_POLL_SECONDS = 5

Asker = Callable[[DatasetRun], Awaitable[bool]]

_asker: ContextVar[Asker | None] = ContextVar("asker", default=None)


class Approval(RunInput):
    """What the person who looked at the preview decides."""

    go_on: bool = Field(
        default=True,
        title="Generate the rest",
        description="Switched off, the run ends here and the rows of the preview are kept.",
    )


def ask_with(asker: Asker) -> None:
    """Have this function ask, for runs of this context, in place of Prefect's UI."""
    _asker.set(asker)


def put_preview_first(batches: list[Batch]) -> list[Batch]:
    """The same rows with a small batch at the start."""
    if not batches or batches[0].size <= PREVIEW_ROWS:
        return batches
    first, *others = batches
    index = max(batch.index for batch in batches) + 1
    rest = Batch(index, first.start + PREVIEW_ROWS, first.size - PREVIEW_ROWS)
    return [Batch(first.index, first.start, PREVIEW_ROWS), rest, *others]


def require_approvable(wanted: bool, batches_on: str | None) -> None:
    """Raise if a preview cannot be shown because batches are generated elsewhere."""
    if wanted and batches_on is not None:
        raise DataDesignerGenerationError(
            "approve_after_preview does not work with batches_on; leave one of them out"
        )


def require_ui() -> None:
    """Raise if the run's server is a temporary one, whose UI nobody could open to approve."""
    if not PREFECT_API_URL.value():
        raise DataDesignerGenerationError(
            "nobody could approve the preview: there is no terminal to ask on, and a temporary "
            "server has no UI to resume the run in; set PREFECT_API_URL to a server, or leave out "
            "--approve"
        )


async def require_approval(session: DatasetRun, dataset: str) -> None:
    """Wait until somebody has looked at the preview; raises unless they let the run go on.

    An answer is kept with the dataset, so that the same run does not ask again when it is resumed.
    """
    given = session.directory.metadata.approved_runs
    if session.flow_run_id in given:
        return
    asker = _asker.get()
    if not await (asker(session) if asker else _asked_in_prefect(session, dataset)):
        raise DataDesignerGenerationError(
            f"the preview was declined; its rows are kept in {session.directory.path}"
        )
    session.directory.write_metadata(approved_runs=[*given, session.flow_run_id])


async def _asked_in_prefect(session: DatasetRun, dataset: str) -> bool:
    made = session.preview_artifact
    page = f"artifact/{made}" if made else f"key/{make_artifact_key(dataset, 'preview')}"
    get_run_logger().info("Waiting for approval of the preview: /artifacts/%s, then Resume", page)
    left = session.rows - sum(part.rows for part in session.parts.values())
    text = (
        f"**Approve the preview of {dataset}?** Look at [its rows](/artifacts/{page}) first. "
        f"{left:,} more rows are to be generated."
    )
    answer = await (_suspended(session, text) if is_deployed() else _paused(session, text))
    return answer.go_on


async def _paused(session: DatasetRun, text: str) -> Approval:
    """Wait in this process, which nobody else could start again."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await apause_flow_run(
                wait_for_input=Approval.with_initial_data(description=text),
                timeout=_TIMEOUT + _GRACE,  # Prefect would say less about it
                poll_interval=_POLL_SECONDS,
                key=f"approval-{uuid4()}",
            )
    except TimeoutError:
        raise DataDesignerGenerationError(
            f"nobody approved the preview within {_TIMEOUT // 86400} days; its rows are kept in "
            f"{session.directory.path}. Retry the run to be asked again"
        ) from None


async def _suspended(session: DatasetRun, text: str) -> Approval:
    """End this process until there is an answer; then a worker starts the run again."""
    directory, run = session.directory, session.flow_run_id
    asked: dict[str, str] = directory.metadata.approvals_asked
    question = Approval.with_initial_data(description=text)
    while True:
        key = asked.get(run) or f"approval-{uuid4()}"
        directory.write_metadata(approvals_asked={**asked, run: key})
        try:
            answer = await asuspend_flow_run(question, timeout=_TIMEOUT, key=key)
        except httpx.HTTPStatusError as error:
            if run not in asked or error.response.status_code != HTTPStatus.NOT_FOUND:
                raise
            answer = None  # nobody answered in time, and the run was started again: ask again
        asked = {each: asked[each] for each in asked if each != run}
        directory.write_metadata(approvals_asked=asked)
        if answer is not None:
            return answer
