"""A Prefect server for the flow tests, with its data in a temporary folder."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

# Read by the server's process: record task runs in batches, and no events, which tests don't read.
_SERVER = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "0.2",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "DO_NOT_TRACK": "1",
}


@pytest.fixture(autouse=True)
def _server_for_slow_tests(request: pytest.FixtureRequest) -> None:
    """Tests that are not marked as slow do without a server, which takes long to start."""
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("prefect_server")


@pytest.fixture(scope="package")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One server and one result storage for all flow tests that are slow."""
    os.environ.update(_SERVER)
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    storage = tmp_path_factory.mktemp("results")
    with (
        prefect_test_harness(server_startup_timeout=300),
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage}),
    ):
        yield
    gc.collect()  # what Prefect left behind is not to be found in the tests of others


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Prefect's own API clients leave sockets to the garbage collector; ours are tested in core."""
    for item in items:
        if "flows" in item.path.parts:
            item.add_marker(
                pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
            )
