"""Verdicts of a server."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson
from pydantic import Field, field_validator

from dd_core.errors import ValidationColumnError
from dd_core.kinds.validators.validator import Validator, ValidatorParams, Verdict, require_schema

if TYPE_CHECKING:
    import httpx


_logger = logging.getLogger(__name__)
_PASSING = (429, 500, 502, 503, 504)
_LONGEST_PAUSE = 60.0
_LIMITS = ("timeout", "max_retries", "retry_backoff", "max_parallel_requests")


class RemoteValidatorParams(ValidatorParams):
    """`{"data": [row, ...]}` is posted to a server, which answers `{"data": [verdict, ...]}`."""

    validator_type: Literal["remote"] = "remote"
    endpoint_url: str
    """Address of the server."""
    output_schema: dict[str, Any] | None = None
    """JSON schema that the answer must satisfy."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds to wait for an answer."""
    max_retries: int = Field(default=3, ge=0)
    """Further requests after 429, 5xx and lost connections."""
    retry_backoff: float = Field(default=2.0, gt=1)
    """The pauses between them grow by this factor."""
    max_parallel_requests: int = Field(default=4, ge=1)
    """Requests in flight at the same time, in each batch."""

    @field_validator("endpoint_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"endpoint_url {value!r} must start with http:// or https://")
        return value

    def identity(self) -> dict[str, Any]:
        """The declaration without limits and timeouts."""
        kept = super().identity()
        return {name: value for name, value in kept.items() if name not in _LIMITS}

    def bind(self, targets: Sequence[str], batch_size: int) -> Validator:
        """The validator, which sends up to `batch_size` rows a request."""
        return _Remote(self, targets, batch_size)


class _Remote(Validator):
    def __init__(
        self, params: RemoteValidatorParams, targets: Sequence[str], batch_size: int
    ) -> None:
        self.group_size = batch_size
        self.max_parallel_groups = params.max_parallel_requests
        self._params = params
        self._targets = targets

    async def validate(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Verdict]:
        """What the server says; `is_valid` is None where it does not answer."""
        data = [{name: row[name] for name in self._targets} for row in rows]
        try:
            verdicts = await self._asked(orjson.dumps({"data": data}, default=str))
        except ValidationColumnError as error:
            _logger.warning("%d rows could not be validated: %s", len(rows), error)
            return [{"is_valid": None}] * len(rows)
        if len(verdicts) != len(rows):
            raise ValidationColumnError(
                f"the validator was sent {len(rows)} rows and answered with {len(verdicts)}"
            )
        return verdicts

    async def _asked(self, content: bytes) -> list[dict[str, Any]]:
        import httpx

        url, reason = self._params.endpoint_url, ""
        async with httpx.AsyncClient(timeout=self._params.timeout) as client:
            for attempt in range(self._params.max_retries + 1):
                try:
                    headers = {"content-type": "application/json"}
                    response = await client.post(url, content=content, headers=headers)
                except httpx.TransportError as error:
                    reason = f"{type(error).__name__} at {url}"
                else:
                    if response.status_code < 300:
                        return self._read(response)
                    reason = f"{url} answered {response.status_code}"
                    if response.status_code not in _PASSING:
                        break
                if attempt < self._params.max_retries:
                    longest = min(_LONGEST_PAUSE, 0.5 * self._params.retry_backoff**attempt)
                    await asyncio.sleep(random.uniform(0.0, longest))
        raise ValidationColumnError(reason)

    def _read(self, response: httpx.Response) -> list[dict[str, Any]]:
        try:
            answer: Any = orjson.loads(response.content)
            verdicts = cast("list[dict[str, Any]]", answer["data"])
            missing = [each for each in verdicts if "is_valid" not in each]
        except (ValueError, KeyError, TypeError) as error:
            raise ValidationColumnError(
                f"the answer has no list `data` of verdicts ({type(error).__name__})"
            ) from None
        if missing:
            raise ValidationColumnError("a verdict has no `is_valid`")
        if self._params.output_schema is not None:
            require_schema(answer, self._params.output_schema)
        return verdicts
