"""Prefect's server on SQLite refuses a request when another one is just being written (503).

Prefect's client then sleeps for two seconds before it asks again, unless the answer says when to:
which such answers do not. A moment is enough, for writes take milliseconds.
"""

from __future__ import annotations

import random
from http import HTTPStatus
from typing import Any

import httpx
from prefect.context import AsyncClientContext

_FIRST = 0.2
"""Seconds; each further pause is four times as long, so that the five of them are a minute."""
_PAUSES = "dd_pauses"


def retry_quickly() -> None:
    """Let the client of this flow run, and of those that it calls, ask a busy server again soon."""
    context = AsyncClientContext.get()
    client: Any = getattr(context.client, "_client", None) if context is not None else None
    if isinstance(client, httpx.AsyncClient) and _say_when not in client.event_hooks["response"]:
        hooks = {**client.event_hooks}
        client.event_hooks = {**hooks, "response": [*hooks["response"], _say_when]}


async def _say_when(response: httpx.Response) -> None:
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        known = response.request.extensions  # the same request is sent again
        pauses = known[_PAUSES] = known.get(_PAUSES, -1) + 1
        pause = _FIRST * 4**pauses * random.uniform(0.5, 1.5)
        response.headers.setdefault("Retry-After", f"{pause:.3f}")
