"""Validates rows with a server."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

from pydantic import Field, field_validator

from dd_core.declaration.written import Address, check_key
from dd_core.errors import Problem, ValidationColumnError
from dd_core.kinds.scope import Scope
from dd_core.kinds.validators.validator import Validator, ValidatorParams, Verdict, require_schema
from dd_core.models.wire.transport import LostError
from dd_core.redaction.registry import register_address
from dd_core.redaction.rules import mask_address
from dd_core.storage.json_codec import dump_json, load_json

_logger = logging.getLogger(__name__)
_TRANSIENT = (429, 500, 502, 503, 504)
"""Statuses after which a request is retried."""
_MAX_PAUSE = 60.0
_FIELDS_WITHOUT_EFFECT = ("timeout", "max_retries", "retry_backoff", "max_parallel_requests")
"""Fields that do not affect the verdicts."""


class _TransientError(ValidationColumnError):
    """A failed request that may succeed when it is retried."""


class RemoteValidatorParams(ValidatorParams):
    """A server that receives `{"data": [row, ...]}` and returns `{"data": [verdict, ...]}`."""

    validator_type: Literal["remote"] = "remote"
    endpoint_url: Address
    """URL of the server."""
    output_schema: dict[str, Any] | None = None
    """JSON schema that the response must satisfy; default: not checked."""
    timeout: float = Field(default=30.0, gt=0)
    """Deadline of a request in seconds, up to the last byte of the response; default: 30."""
    max_retries: int = Field(default=3, ge=0)
    """Retries after status 429, 500, 502, 503 or 504, and after lost connections; default: 3."""
    retry_backoff: float = Field(default=2.0, gt=1)
    """Factor by which the pause grows with each retry; default: 2."""
    max_parallel_requests: int = Field(default=4, ge=1)
    """Maximum number of requests in flight per batch; default: 4."""

    @field_validator("endpoint_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError(
                f"endpoint_url {mask_address(value)!r} must start with http:// or https://"
            )
        return value

    def problems(self, place: str, targets: Sequence[str], scope: Scope) -> Iterator[Problem]:
        """A URL whose key was left out when the configuration was written."""
        yield from check_key(f"{place}.validator_params.endpoint_url", self.endpoint_url)

    def identity(self) -> dict[str, Any]:
        """Return the parameters without limits and timeouts."""
        fields = super().identity()
        return {name: fields[name] for name in fields if name not in _FIELDS_WITHOUT_EFFECT}

    def bind(self, targets: Sequence[str], batch_size: int) -> Validator:
        """Return the validator, which sends up to `batch_size` rows per request."""
        return _RemoteValidator(self, targets, batch_size)


class _RemoteValidator(Validator):
    def __init__(
        self, params: RemoteValidatorParams, targets: Sequence[str], batch_size: int
    ) -> None:
        self.group_size = batch_size
        self.max_parallel_groups = params.max_parallel_requests
        self._params = params
        self._targets = targets

    async def validate(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Verdict]:
        """Return the server's verdicts; `is_valid` is None for all rows if the request fails."""
        data = [{name: row[name] for name in self._targets} for row in rows]
        try:
            verdicts = await self._request(dump_json({"data": data}))
        except ValidationColumnError as error:
            _logger.warning("%d rows could not be validated: %s", len(rows), error)
            return [{"is_valid": None}] * len(rows)
        # If the number is wrong, no verdict can be assigned to its row, so the rows are dropped.
        if len(verdicts) != len(rows):
            raise ValidationColumnError(
                f"the server received {len(rows)} rows and returned {len(verdicts)} verdicts; "
                "it must return one verdict per row"
            )
        return verdicts

    async def _request(self, content: bytes) -> list[dict[str, Any]]:
        """Send rows to the server and return its verdicts; transient failures are retried.

        Raises `ValidationColumnError` if there are no valid verdicts after the last attempt.
        """
        from tenacity import wait_random_exponential

        from dd_core.models.wire.connections import AiohttpConnections
        from dd_core.retries import retry_async

        params, address = self._params, self._params.endpoint_url
        register_address(address)
        url = mask_address(address)
        wait = wait_random_exponential(
            multiplier=0.5, max=_MAX_PAUSE, exp_base=params.retry_backoff
        )
        connections = AiohttpConnections(secure=url.startswith("https:"))
        try:
            async for attempt in retry_async(
                (_TransientError,), attempts=params.max_retries + 1, wait=wait
            ):
                with attempt:
                    try:
                        headers = {"content-type": "application/json"}
                        response = await connections.send(
                            "POST", address, headers, content, params.timeout
                        )
                    except LostError as error:
                        kind = ValidationColumnError if error.is_too_long else _TransientError
                        raise kind(f"{error.kind} at {url}: {error}") from error
                    if response.status in _TRANSIENT:
                        raise _TransientError(f"{url} returned status {response.status}")
                    if response.status >= 300:
                        raise ValidationColumnError(f"{url} returned status {response.status}")
                    return self._read(response.content)
        finally:
            await connections.aclose()
        raise AssertionError("the last attempt raises its error")

    def _read(self, content: bytes) -> list[dict[str, Any]]:
        try:
            answer = load_json(content)
            verdicts = cast("list[dict[str, Any]]", answer["data"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValidationColumnError(
                f"the response has no list 'data' of verdicts ({type(error).__name__})"
            ) from None
        if type(verdicts) is not list or not all(type(each) is dict for each in verdicts):
            raise ValidationColumnError("'data' in the response is not a list of objects")
        if not all("is_valid" in each for each in verdicts):
            raise ValidationColumnError("a verdict in the response has no field 'is_valid'")
        if self._params.output_schema is not None:
            require_schema(answer, self._params.output_schema)
        return verdicts
