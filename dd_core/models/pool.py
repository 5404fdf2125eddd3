"""The models of a run: one `Model` per alias, with shared connections and limiters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tenacity import wait_incrementing

from dd_core.errors import ModelError, ModelRateLimitError, ModelTimeoutError, Problem
from dd_core.models.address import parse_address
from dd_core.models.admission.backend import Backend, Health
from dd_core.models.admission.limiter import (
    DEFAULT_MAX_RETRY_AFTER,
    Limiter,
    RequestAdmissionTuningConfig,
)
from dd_core.models.admission.request_queue import CellLimit
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.config import GenerationType, ModelConfig
from dd_core.models.model import Model
from dd_core.models.probe import Probe
from dd_core.models.providers import Providers, Upstream
from dd_core.models.usage import BudgetTracker
from dd_core.models.wire.client import Client
from dd_core.models.wire.connections import AiohttpConnections, TransportConnections
from dd_core.models.wire.transport import Connections
from dd_core.retries import retry_async

if TYPE_CHECKING:
    import httpx

_DEFAULT_TIMEOUT = 60.0
_CHECK_TIMEOUT = 180.0
_SKIP_CHECKS = "DATA_DESIGNER_SKIP_MODEL_HEALTH_CHECKS"
"""Environment variable; with `1` or `true`, no model is checked."""


Limiters = dict[tuple[str, str], Limiter]
"""The limiters of servers, by address and model. Runs may share them."""


class ModelPool(Mapping[str, Model]):
    """The models of a run by alias. An async context manager, because it owns the connections."""

    def __init__(
        self,
        configs: Iterable[ModelConfig],
        providers: Providers,
        cell_limit: CellLimit,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        budget: BudgetTracker | None = None,
        max_retries: int = 3,
        max_retry_after: float = DEFAULT_MAX_RETRY_AFTER,
        tuning: RequestAdmissionTuningConfig | None = None,
        limiters: Limiters | None = None,
    ) -> None:
        self._configs = {config.alias: config for config in configs}
        self._providers = providers
        self._connections: Connections | None = None
        if transport is not None:
            self._connections = TransportConnections(transport)
        self._cell_limit = cell_limit
        self._budget = budget or BudgetTracker(None, lambda reason: None)
        self._max_retries = max_retries
        self._max_retry_after = max_retry_after
        self._tuning = tuning
        self._models: dict[str, Model] = {}
        self._limiters: Limiters = {} if limiters is None else limiters

    async def __aenter__(self) -> ModelPool:
        served = {alias: await self._resolve(config) for alias, config in self._configs.items()}
        if self._connections is None and served:
            urls = [upstream.url for each in served.values() for upstream, _, _ in each]
            secure = any(url.lower().startswith("https:") for url in urls)
            self._connections = AiohttpConnections(secure=secure)
        for alias, config in self._configs.items():
            backends = [self._backend(config, *each) for each in served[alias]]
            if len(backends) > 1:
                for backend in backends:
                    backend.health = Health()
            self._models[alias] = Model(
                config,
                backends,
                self._cell_limit,
                self._budget,
                self._max_retries,
                self._max_retry_after,
            )
            self._models[alias].provider = self._providers.provider_of(config)
        for alias, config in self._configs.items():
            self._models[alias].fallback = self._models.get(config.fallback or "")
        return self

    async def _resolve(self, config: ModelConfig) -> list[tuple[Upstream, str, float]]:
        """The server, the model id and the weight of each endpoint of a model."""
        return [
            (await self._start_if_local(self._providers.upstream(served)), served.model, weight)
            for served, weight in config.at_endpoints()
        ]

    def _backend(
        self, config: ModelConfig, upstream: Upstream, model: str, weight: float
    ) -> Backend:
        parameters = config.inference_parameters
        assert self._connections is not None
        timeout = float(parameters.timeout or _DEFAULT_TIMEOUT)
        address = parse_address(upstream.url).join("")
        limiter = self._limiters.setdefault((address, model), Limiter(1, self._tuning))
        # Aliases of the same model at the same server share one limiter. Together they may use the
        # largest of their maximums. Each also has a queue, which enforces its own maximum.
        limiter.raise_maximum(parameters.max_parallel_requests)
        limiter.rates.add_limits(parameters.rates(), getattr(parameters, "max_tokens", None))
        most_bytes = parameters.max_response_bytes
        body = parameters.extra_body
        client = Client(upstream, timeout, self._connections, model, body, most_bytes)
        return Backend(client, limiter, weight)

    async def __aexit__(self, *exc: object) -> None:
        if self._connections is not None:
            await self._connections.aclose()

    async def _start_if_local(self, upstream: Upstream) -> Upstream:
        """Return the upstream; for the embedded model, start its server and set the URL."""
        if upstream.wire != "local":
            return upstream
        from dataclasses import replace

        from dd_core.models.local.launcher import get_shared_server

        server = await get_shared_server()
        return replace(upstream, url=server.url)

    def __getitem__(self, alias: str) -> Model:
        return self._models[alias]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    async def check(
        self,
        *,
        images: bool = False,
        attempts: int = 1,
        backoff: float = 0.0,
        known: Container[str] = (),
        probes: Mapping[str, Sequence[Probe | None]] | None = None,
    ) -> None:
        """Check the readiness of all models in parallel; raises the first `ModelError`.

        Each model gets one small request, or one for each of its `probes`, given by alias, in which
        None stands for the usual one. Image models are checked only if `images` is true,
        because an image costs money. The aliases in `known` are not checked. After a retryable
        error, the check is repeated up to `attempts` times, after attempt number x `backoff`
        seconds. A model whose server asks to wait for long is ready: its requests wait. No model is
        checked if the environment variable `DATA_DESIGNER_SKIP_MODEL_HEALTH_CHECKS` is set.
        """
        if os.environ.get(_SKIP_CHECKS, "").lower() in ("1", "true"):
            return
        unchecked = [
            model
            for model in self._models.values()
            if not model.config.skip_health_check
            and model.alias not in known
            and (images or model.config.generation_type is not GenerationType.IMAGE)
        ]
        checks = [
            self._check_with_retries(model, probe, attempts, backoff)
            for model in unchecked
            for probe in (probes or {}).get(model.alias, [None])
        ]
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                await asyncio.gather(*checks)
        except TimeoutError:
            names = ", ".join(repr(model.alias) for model in unchecked if not model.answered_at)
            raise ModelTimeoutError(
                f"the readiness check did not end within {_CHECK_TIMEOUT:g} s (no answer from: "
                f"{names or 'unknown'}); check that the servers answer, or set `skip_health_check`"
            ) from None

    async def _check_with_retries(
        self, model: Model, probe: Probe | None, attempts: int, backoff: float
    ) -> None:
        def is_transient(error: BaseException) -> bool:
            return isinstance(error, ModelError) and error.retryable

        wait = wait_incrementing(start=backoff, increment=backoff)
        async for attempt in retry_async(is_transient, attempts=attempts, wait=wait):
            with attempt:
                await self._check(model, probe)

    async def _check(self, model: Model, probe: Probe | None) -> None:
        """Send one small request to a model; it is not part of the usage of the dataset."""
        slot, name = RequestSlot(model.queue), "(readiness check)"
        limits: dict[str, Any] = {"max_retries": 0, "max_retry_after": _CHECK_TIMEOUT}
        try:
            match model.config.generation_type:
                case _ if probe is not None:
                    await probe.send(model, slot, name, **limits)
                case GenerationType.CHAT_COMPLETION:
                    message = {"role": "user", "content": "Say hello."}
                    await model.ask(slot, [message], name, **limits)
                case GenerationType.EMBEDDING:
                    await model.embed(slot, ["Hello."], name, **limits)
                case GenerationType.IMAGE:
                    await model.draw(slot, "A dot.", [], name, **limits)
        except ModelRateLimitError:
            return  # its key and its address are right, and its queue waits
        except ModelError as error:
            if error.retryable and (error.retry_after or 0.0) > _CHECK_TIMEOUT:
                return  # its queue waits for longer than this check may take
            purpose = f" for {probe.purpose}" if probe is not None else ""
            error.add_note(
                f"while checking the readiness of model {model.alias!r}{purpose} before the run"
            )
            raise
        finally:
            model.usage.pop(name, None)


def check_providers(configs: Iterable[ModelConfig], providers: Providers) -> Iterator[Problem]:
    """Find problems with providers and API keys before a run."""
    for config in configs:
        problem = providers.problem(config)
        if problem is not None:
            yield problem
