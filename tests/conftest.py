"""Fixtures that several parts of the tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from benchmarks.server import BenchServer

ServerFactory = Callable[..., BenchServer]

# A busy machine is no reason for a property to fail.
settings.register_profile(
    "busy machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machine")


@pytest.fixture
def bench_server() -> Iterator[ServerFactory]:
    """Starts OpenAI-compatible servers as processes of their own: `bench_server(latency=0.1)`."""
    servers: list[BenchServer] = []

    def start(**options: Any) -> BenchServer:
        servers.append(BenchServer(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the providers or models that the person at the keyboard has set up."""
    monkeypatch.setenv("DATA_DESIGNER_HOME", str(tmp_path_factory.mktemp("home")))
