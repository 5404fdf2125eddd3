"""Shortens the pauses between retries when Prefect's server is busy.

A server on SQLite responds with 503 when a request meets the write lock of another one. Prefect's
client then sleeps for at least two seconds, although writes take only milliseconds. It respects a
`Retry-After` header, which these responses do not have, so this module adds one.

Written for Prefect 3.8.8; uses the private attribute `_client` of Prefect's client. Remove it when
the first pause of the client can be configured, or when the server sends `Retry-After`.
"""

from __future__ import annotations

import random
from http import HTTPStatus
from typing import Any

import httpx
from prefect.context import AsyncClientContext

_FIRST_PAUSE_SECONDS = 0.2
"""Each further pause is four times as long. Together, five pauses take about a minute."""
_PAUSE_COUNT = "dd_pauses"


def retry_quickly() -> None:
    """Make the client of this flow run and of its subflows retry quickly on a busy server."""
    context = AsyncClientContext.get()
    client: Any = getattr(context.client, "_client", None) if context is not None else None
    if not isinstance(client, httpx.AsyncClient):
        return
    hooks = {**client.event_hooks}
    if _set_retry_after not in hooks["response"]:
        client.event_hooks = {**hooks, "response": [*hooks["response"], _set_retry_after]}


async def _set_retry_after(response: httpx.Response) -> None:
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        # Prefect sends the same request object again, so it can carry the number of pauses.
        extensions = response.request.extensions
        pauses = extensions[_PAUSE_COUNT] = extensions.get(_PAUSE_COUNT, -1) + 1
        pause = _FIRST_PAUSE_SECONDS * 4**pauses * random.uniform(0.5, 1.5)
        response.headers.setdefault("Retry-After", f"{pause:.3f}")
