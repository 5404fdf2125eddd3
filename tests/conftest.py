"""Fixtures that are shared by several test packages."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from benchmarks.server import BenchServer

ServerFactory = Callable[..., BenchServer]
_LONGEST = (
    "test_docs_shell.py",
    "test_controls.py",
    "test_no_key_leaks.py",
    "test_worker_runs.py",
    "test_obstacles.py",
    "test_fuzz.py",
)
"""Files with tests that take a minute each."""

# A property must not fail because the machine is busy.
settings.register_profile(
    "busy machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machine")

# A shell starts background jobs with SIGINT ignored. Processes that tests start would inherit that,
# and neither Ctrl-C nor Prefect's worker, which sends itself SIGINT, would end them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def bench_server() -> Iterator[ServerFactory]:
    """Starts OpenAI-compatible servers as separate processes: `bench_server(latency=0.1)`."""
    servers: list[BenchServer] = []

    def start(**options: Any) -> BenchServer:
        servers.append(BenchServer(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own providers and models from the tests."""
    monkeypatch.setenv("DATA_DESIGNER_HOME", str(tmp_path_factory.mktemp("home")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that processes do not wait for one another at the end."""
    order = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
