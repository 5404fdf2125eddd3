"""Waits for a person to approve the first rows before the rest is generated."""

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
_TIMEOUT_SECONDS = 7 * 24 * 3600
"""Seconds that a run waits for approval."""
_GRACE_SECONDS = 3600
_POLL_SECONDS = 5

Approver = Callable[[DatasetRun], Awaitable[bool]]
"""Returns whether the rest of the rows should be generated."""

_approver: ContextVar[Approver | None] = ContextVar("approver", default=None)


class Approval(RunInput):
    """The decision of the person who looked at the preview."""

    go_on: bool = Field(
        default=True,
        title="Generate the rest",
        description="If you switch this off, the run ends and the rows of the preview are kept.",
    )


def set_approver(approver: Approver) -> None:
    """Call this function for approval, instead of asking in Prefect's UI, in this context."""
    _approver.set(approver)


def put_preview_first(batches: list[Batch]) -> list[Batch]:
    """Split the first batch so that the rows of the preview are a batch of their own."""
    if not batches or batches[0].size <= PREVIEW_ROWS:
        return batches
    first, *others = batches
    index = max(batch.index for batch in batches) + 1
    rest = Batch(index, first.start + PREVIEW_ROWS, first.size - PREVIEW_ROWS)
    return [Batch(first.index, first.start, PREVIEW_ROWS), rest, *others]


def require_approvable(needs_approval: bool, batches_on: str | None) -> None:
    """Raise if the preview cannot be shown because other machines generate the batches."""
    if needs_approval and batches_on is not None:
        raise DataDesignerGenerationError(
            "approve_after_preview does not work with batches_on; remove one of them"
        )


def require_ui() -> None:
    """Raise if the run uses a temporary server, which has no UI to approve the preview in."""
    if not PREFECT_API_URL.value():
        raise DataDesignerGenerationError(
            "nobody could approve the preview: there is no terminal, and a temporary server has no "
            "UI; set PREFECT_API_URL to a server, or remove --approve"
        )


async def require_approval(session: DatasetRun, dataset: str) -> None:
    """Wait for the approval of the preview; raises if the preview is declined.

    The approval is stored with the dataset, so that the same run does not ask again when it is
    resumed.
    """
    approved = session.directory.metadata.approved_runs
    if session.flow_run_id in approved:
        return
    approver = _approver.get()
    if not await (approver(session) if approver else _ask_in_prefect(session, dataset)):
        raise DataDesignerGenerationError(
            f"the preview was declined; its rows are kept in {session.directory.path}"
        )
    session.directory.write_metadata(approved_runs=[*approved, session.flow_run_id])


async def _ask_in_prefect(session: DatasetRun, dataset: str) -> bool:
    artifact = session.preview_artifact
    page = f"artifact/{artifact}" if artifact else f"key/{make_artifact_key(dataset, 'preview')}"
    get_run_logger().info(
        "waiting for approval of the preview: open /artifacts/%s, then resume the run", page
    )
    missing = session.rows - sum(part.rows for part in session.parts.values())
    text = (
        f"**Approve the preview of {dataset}?** Look at [its rows](/artifacts/{page}) first. "
        f"{missing:,} more rows remain to be generated."
    )
    answer = await (_suspend(session, text) if is_deployed() else _pause(session, text))
    return answer.go_on


async def _pause(session: DatasetRun, text: str) -> Approval:
    """Wait in this process, because no worker could start the run again."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await apause_flow_run(
                wait_for_input=Approval.with_initial_data(description=text),
                timeout=_TIMEOUT_SECONDS + _GRACE_SECONDS,  # our own timeout has the better message
                poll_interval=_POLL_SECONDS,
                key=f"approval-{uuid4()}",
            )
    except TimeoutError:
        raise DataDesignerGenerationError(
            f"nobody approved the preview within {_TIMEOUT_SECONDS // 86400} days; its rows are "
            f"kept in {session.directory.path}. Retry the run to get the form again"
        ) from None


async def _suspend(session: DatasetRun, text: str) -> Approval:
    """End this process; a worker starts the run again when the form has been submitted.

    The key of the form is stored with the dataset, so that the process that a worker starts later
    finds the response to the same form.
    """
    directory, run = session.directory, session.flow_run_id
    keys: dict[str, str] = directory.metadata.approvals_asked
    form = Approval.with_initial_data(description=text)
    while True:
        key = keys.get(run) or f"approval-{uuid4()}"
        directory.write_metadata(approvals_asked={**keys, run: key})
        try:
            answer = await asuspend_flow_run(form, timeout=_TIMEOUT_SECONDS, key=key)
        except httpx.HTTPStatusError as error:
            if run not in keys or error.response.status_code != HTTPStatus.NOT_FOUND:
                raise
            answer = None  # the form timed out, and the run was started again: show a new form
        keys = {each: keys[each] for each in keys if each != run}
        directory.write_metadata(approvals_asked=keys)
        if answer is not None:
            return answer
