"""A Prefect server for the flow tests, with its database in memory."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import isawaitable

import pytest

# Read by the server's process: record task runs in batches, and no events, which tests don't read.
_SERVER = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # below 1, it never pauses
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",  # until it is tried again
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "DO_NOT_TRACK": "1",
}


# A database in memory has a single connection, so transactions follow one another. In a file, one
# of two transactions that start to write at once ends with an error, which leaves a cursor to the
# garbage collector. If the event loop of the server collects it while its connection waits for a
# lock, and the owner of the lock waits for the event loop, all stand still for 60 seconds.
_DATABASE = "sqlite+aiosqlite:///:memory:"


@pytest.fixture(autouse=True)
def _server_for_slow_tests(request: pytest.FixtureRequest) -> None:
    """Tests that are not marked as slow do without a server, which takes long to start."""
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("prefect_server")


@pytest.fixture(scope="package")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One server and one result storage for all flow tests that are slow."""
    os.environ.update(_SERVER)
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_LOCAL_STORAGE_PATH,
        PREFECT_SERVER_DATABASE_CONNECTION_URL,
        temporary_settings,
    )

    storage = tmp_path_factory.mktemp("results")
    with (
        temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: _DATABASE}),
        _serve_api() as url,
        temporary_settings({PREFECT_API_URL: url, PREFECT_LOCAL_STORAGE_PATH: storage}),
    ):
        yield
    gc.collect()  # what Prefect left behind is not to be found in the tests of others


@contextmanager
def _serve_api() -> Iterator[str]:
    """Serve Prefect's API from another process; yields the address of the API."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.utilities.asyncutils import run_coro_as_sync

    async def drain() -> None:
        for drained in (APILogWorker.instance().drain(), EventsWorker.drain_all()):
            if isawaitable(drained):
                await drained

    server = SubprocessASGIServer()
    server.start(timeout=300)
    try:
        yield server.api_url
        run_coro_as_sync(drain())
    finally:
        server.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Prefect's own API clients leave sockets to the garbage collector; ours are tested in core."""
    for item in items:
        if "flows" in item.path.parts:
            item.add_marker(
                pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
            )
