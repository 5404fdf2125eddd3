"""No key of a provider is in anything that a run writes, Prefect's database included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ServerFactory

pytestmark = pytest.mark.slow

MARKER = "sk-marker-0123456789-do-not-show"

PROGRAM = """
import asyncio, sys
from prefect.blocks.system import Secret
import dd_core.config as dd
from flows import DataDesignerProvider, DatasetStorage, generate_dataset

url, key = sys.argv[1:]

def config(model):
    made = dd.DataDesignerConfigBuilder([model])
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    return made.add_column(
        name="text", column_type="llm-text", model_alias="m", prompt="On {{ id }}",
        with_trace="all_messages",
    ).build()

async def main():
    await Secret(value=key).save("marker-key", overwrite=True)
    providers = [
        dd.ModelProvider(name="ours", endpoint=url, api_key="MARKER_KEY",
                         extra_headers=None),
        dd.ModelProvider(name="kept", endpoint=url, api_key="block:marker-key"),
    ]
    for provider in ("ours", "kept"):
        model = dd.ModelConfig(alias="m", model="tiny", provider=provider)
        summary = await generate_dataset(
            config(model), num_records=4, dataset_name=provider, model_providers=providers
        )
        assert summary.rows_written == 4, summary
    whole = DataDesignerProvider(endpoint=url, api_key=key, extra_headers={"x-team": key})
    await whole.save("whole", overwrite=True)
    storage = DatasetStorage(url="memory://kept", options={"token": key})
    await storage.save("kept", overwrite=True)
    model = dd.ModelConfig(alias="m", model="tiny", provider="whole")
    summary = await generate_dataset(
        config(model), num_records=4, artifact_path="block:kept", model_providers=["block:whole"]
    )
    assert summary.rows_written == 4, summary
    model = dd.ModelConfig(alias="m", model="tiny", provider="kept")
    for wrong in (key, "block:no-such-block"):
        bad = [dd.ModelProvider(name="ours", endpoint=url, api_key=wrong)]
        try:
            await generate_dataset(config(model), num_records=1, model_providers=bad)
        except Exception as error:
            print(type(error).__name__, error)
        else:
            raise AssertionError("a bad key was taken")

asyncio.run(main())
"""


def test_a_planted_key_is_found_nowhere(tmp_path: Path, bench_server: ServerFactory) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")
    } | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MARKER_KEY": MARKER,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    server = bench_server(error_rate=0.3)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.url, MARKER],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert "use the name of an environment variable" in done.stdout
    assert "no-such-block" in done.stdout
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in written), "Prefect's database is searched too"
    assert any(path.suffix == ".parquet" for path in written)
    holding = [path for path in written if MARKER.encode() in path.read_bytes()]
    assert holding == []
    assert MARKER not in done.stdout + done.stderr
