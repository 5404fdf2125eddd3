"""Downloads a file from an address, with a deadline and a largest size."""

from __future__ import annotations

import asyncio
import threading
from urllib.parse import urljoin, urlsplit

from dd_core.models.wire.transport import HttpResponse, LostError

_MAX_REDIRECTS = 5
_GRACE = 1.0
"""Seconds after the deadline until a download is abandoned that does not end by itself."""


class DownloadError(Exception):
    """A file could not be downloaded. The message completes a sentence that begins with its URL."""


def read_address(url: str, *, most_bytes: int, deadline: float) -> bytes:
    """Download the file at a URL; raises `DownloadError`.

    `deadline` is in seconds and includes redirects and name resolution. `most_bytes` is counted
    after decompression. May be called while an event loop is running.
    """
    outcome: list[bytes | Exception] = []

    def work() -> None:
        try:
            outcome.append(asyncio.run(_download(url, most_bytes, deadline)))
        except Exception as error:
            outcome.append(error)

    # A daemon: a name server that does not answer must not keep the process alive.
    thread = threading.Thread(target=work, name="dd-download", daemon=True)
    thread.start()
    thread.join(deadline + _GRACE)
    if not outcome:
        raise DownloadError(_describe_delay(deadline))
    found = outcome[0]
    if isinstance(found, LostError):
        raise DownloadError(_describe_loss(found, most_bytes, deadline)) from found
    if isinstance(found, Exception):
        raise found
    return found


async def _download(url: str, most_bytes: int, deadline: float) -> bytes:
    from dd_core.models.wire.connections import AiohttpConnections

    connections = AiohttpConnections(secure=True)
    ends_at = asyncio.get_running_loop().time() + deadline
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            _require_http(url)
            wait = max(ends_at - asyncio.get_running_loop().time(), 0.001)
            answer = await connections.send("GET", url, {}, None, wait, most_bytes)
            target = _find_target(url, answer)
            if target is None:
                return _read_answer(answer)
            url = target
    finally:
        await connections.aclose()
    raise DownloadError(f"redirects more than {_MAX_REDIRECTS} times; use the final address")


def _require_http(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https"):
        raise DownloadError(f"redirects to {parts.scheme + '://'!r}; only http and https are used")


def _find_target(url: str, answer: HttpResponse) -> str | None:
    """The address that an answer redirects to; None if it does not redirect."""
    location = answer.headers.get("location")
    if not (300 <= answer.status < 400 and location):
        return None
    try:
        return urljoin(url, location)
    except ValueError:
        raise DownloadError("redirects to an address that is not valid") from None


def _read_answer(answer: HttpResponse) -> bytes:
    if answer.status != 200:
        raise DownloadError(f"returned status {answer.status}; check the address")
    return answer.content


def _describe_loss(error: LostError, most_bytes: int, deadline: float) -> str:
    if error.timed_out:
        return _describe_delay(deadline)
    if error.is_too_long:
        return f"is larger than {most_bytes / 1_000_000:g} MB"
    return f"could not be reached ({error.kind}: {error}); check the address"


def _describe_delay(deadline: float) -> str:
    return f"did not arrive in full within {deadline:g} s"
