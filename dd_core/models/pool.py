"""The models of a run: one `Model` an alias, made when first asked for, over one transport."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Iterator, Mapping

import httpx

from dd_core.errors import ModelError, Problem
from dd_core.models.admission.backend import Backend, Health
from dd_core.models.admission.limiter import Limiter, RequestAdmissionTuningConfig
from dd_core.models.admission.request_queue import CellLimit
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.config import GenerationType, ModelConfig
from dd_core.models.model import Model
from dd_core.models.providers import Providers, Upstream
from dd_core.models.usage import BudgetTracker
from dd_core.models.wire.client import Client
from dd_core.models.wire.connections import AiohttpConnections, TransportConnections
from dd_core.models.wire.transport import Connections

_DEFAULT_TIMEOUT = 60.0
_CHECK_TIMEOUT = 180.0


class ModelPool(Mapping[str, Model]):
    """Models by alias. Use as an async context manager: it owns the connections."""

    def __init__(
        self,
        configs: Iterable[ModelConfig],
        providers: Providers,
        cell_limit: CellLimit,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        budget: BudgetTracker | None = None,
        max_retries: int = 3,
        tuning: RequestAdmissionTuningConfig | None = None,
    ) -> None:
        self._configs = {config.alias: config for config in configs}
        self._providers = providers
        self._connections: Connections | None = None
        if transport is not None:
            self._connections = TransportConnections(transport)
        self._cell_limit = cell_limit
        self._budget = budget or BudgetTracker(None, lambda reason: None)
        self._max_retries = max_retries
        self._tuning = tuning
        self._models: dict[str, Model] = {}
        self._limiters: dict[tuple[str, str], Limiter] = {}

    async def __aenter__(self) -> ModelPool:
        served = {alias: await self._served(config) for alias, config in self._configs.items()}
        if self._connections is None and served:
            urls = [upstream.url for each in served.values() for upstream, _, _ in each]
            secure = any(url.startswith("https:") for url in urls)
            self._connections = AiohttpConnections(secure=secure)
        for alias, config in self._configs.items():
            backends = [self._backend(config, *each) for each in served[alias]]
            if len(backends) > 1:
                for backend in backends:
                    backend.health = Health()
            self._models[alias] = Model(
                config, backends, self._cell_limit, self._budget, self._max_retries
            )
        for alias, config in self._configs.items():
            self._models[alias].fallback = self._models.get(config.fallback or "")
        return self

    async def _served(self, config: ModelConfig) -> list[tuple[Upstream, str, float]]:
        """Where a model is served, under which id, and with which weight."""
        return [
            (await self._reachable(self._providers.upstream(served)), served.model, weight)
            for served, weight in config.at_endpoints()
        ]

    def _backend(
        self, config: ModelConfig, upstream: Upstream, model: str, weight: float
    ) -> Backend:
        parameters = config.inference_parameters
        assert self._connections is not None
        timeout = float(parameters.timeout or _DEFAULT_TIMEOUT)
        limiter = self._limiters.setdefault((upstream.url, model), Limiter(1, self._tuning))
        # Two aliases of one model share its server: together they may have what the more
        # generous of them allows, and each keeps to its own maximum.
        limiter.raise_maximum(parameters.max_parallel_requests)
        limiter.rates.limit(parameters.rates(), getattr(parameters, "max_tokens", None))
        return Backend(Client(upstream, timeout, self._connections, model), limiter, weight)

    async def __aexit__(self, *exc: object) -> None:
        if self._connections is not None:
            await self._connections.aclose()

    async def _reachable(self, upstream: Upstream) -> Upstream:
        """The upstream itself; the embedded server is started and its address filled in."""
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
    ) -> None:
        """Ask every model one small question, all at once; raises the first `ModelError`.

        Image models are asked only if `images` is true, because an image costs money; the aliases
        in `known` are not asked. What may pass is tried again after attempt x `backoff` seconds.
        """
        probes = [
            self._patient_probe(model, attempts, backoff)
            for model in self._models.values()
            if not model.config.skip_health_check
            and model.alias not in known
            and (images or model.config.generation_type is not GenerationType.IMAGE)
        ]
        async with asyncio.timeout(_CHECK_TIMEOUT):
            await asyncio.gather(*probes)

    async def _patient_probe(self, model: Model, attempts: int, backoff: float) -> None:
        for attempt in range(1, attempts):
            try:
                await self._probe(model)
            except ModelError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(attempt * backoff)
            else:
                return
        await self._probe(model)

    async def _probe(self, model: Model) -> None:
        slot, name = RequestSlot(model.queue), "(readiness check)"
        try:
            match model.config.generation_type:
                case GenerationType.CHAT_COMPLETION:
                    question = {"role": "user", "content": "Say hello."}
                    await model.ask(slot, [question], name, max_retries=0)
                case GenerationType.EMBEDDING:
                    await model.embed(slot, ["Hello."], name, max_retries=0)
                case GenerationType.IMAGE:
                    await model.draw(slot, "A dot.", [], name, max_retries=0)
        except ModelError as error:
            error.add_note(f"while checking the model {model.alias!r} before the run")
            raise
        finally:
            model.usage.pop(name, None)


def check_providers(configs: Iterable[ModelConfig], providers: Providers) -> Iterator[Problem]:
    """What keeps models from being asked, found before a run."""
    for config in configs:
        problem = providers.problem(config)
        if problem is not None:
            yield problem
