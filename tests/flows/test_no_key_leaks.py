"""No key of a provider is in anything that a run writes, Prefect's database included."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.echo import ANSWERS, chat, http, serve_echo

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


ECHO_PROGRAM = """
import asyncio, sys
import dd_core.config as dd
from flows import DataDesignerProvider, DatasetStorage, generate_column, generate_dataset

url, key = sys.argv[1:]
generate_column.retry_delay_seconds = 0.1

def config(**fields):
    made = dd.DataDesignerConfigBuilder([dd.ModelConfig(alias="m", model="tiny", **fields)])
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    return made.add_column(
        name="text", column_type="llm-text", model_alias="m", prompt="On {{ id }}",
        with_trace="all_messages",
    ).build()

settings = dd.RunConfig(max_request_retries=0, disable_early_shutdown=True)

async def attempt(made, **fields):
    try:
        summary = await generate_dataset(made, run_config=settings, **fields)
        print("wrote", summary.rows_written)
    except Exception as error:
        print("failed", type(error).__name__, *str(error).split())

async def main():
    block = DataDesignerProvider(
        endpoint=url, api_key=key, extra_headers={"x-gateway": f"Bearer {key}"},
        extra_body={"note": "short"},
    )
    for fields in ({"endpoint": f"{url}?key={key}"}, {"extra_body": {"note": f"for {key}"}}):
        try:
            DataDesignerProvider(**{"endpoint": url} | fields)
        except ValueError as error:
            assert "contains a key" in str(error)
        else:
            raise AssertionError("a block that shows a key was accepted")
    await block.save("echo", overwrite=True)
    await attempt(config(provider="echo"), num_records=60, model_providers=["block:echo"])
    parameters = {"extra_body": {"tag": key}}
    model = dict(base_url=f"{url}?key={key}", inference_parameters=parameters)
    await attempt(config(**model), num_records=20, dataset_name="model")
    raw = config(**model).model_dump()
    await attempt(raw, num_records=4, dataset_name="raw")
    for fields in (
        {"extra_headers": {"authorization": f"Bearer {key}"}},
        {"extra_body": {"api_key": key}},
        {"endpoint": f"http://me:{key}@a.test/v1"},
        {"endpoint": f"http://a.test/v1?key={key}"},
        {"api_key": key, "unknown": 1},
    ):
        given = {"name": "p", "endpoint": url} | fields
        await attempt(config(provider="p"), model_providers=[given])
    await attempt(config(base_url=f"http://me:{key}@a.test/v1"))
    await attempt(f"http://me:{key}@127.0.0.1:9/config.yaml?token={key}")
    await attempt(config(**model), artifact_path=f"s3://me:{key}@bucket/x")

asyncio.run(main())
"""


def _run(program: str, tmp_path: Path, *arguments: str) -> str:
    """Run a program with a Prefect server of its own; returns what it printed.

    Fails if the marker is in anything that was written or printed.
    """
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")
    } | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "MARKER_KEY": MARKER,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, MARKER],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in written), "Prefect's database is searched too"
    assert any(path.suffix == ".parquet" for path in written)
    # The beginning and the end of the key count, too.
    for part in (MARKER[:11], MARKER[-11:]):
        holding = [path for path in written if part.encode() in path.read_bytes()]
        assert holding == []
        assert part not in done.stdout + done.stderr
    return done.stdout


def test_a_planted_key_is_found_nowhere(tmp_path: Path, bench_server: ServerFactory) -> None:
    printed = _run(PROGRAM, tmp_path, bench_server(error_rate=0.3).url)
    assert "use the name of an environment variable" in printed
    assert "no-such-block" in printed


def test_a_quoted_key_is_found_nowhere(tmp_path: Path) -> None:
    parts = [ANSWERS[name] for name in ANSWERS if name not in ("redirect", "retry after")]
    requests = count()

    def respond(body: str, said: str) -> bytes:
        number = next(requests)
        if "Say hello" in body or number % 2 == 0:
            return http(chat("fine"))
        return parts[number // 2 % len(parts)](said)

    with serve_echo(respond) as url:
        printed = _run(ECHO_PROGRAM, tmp_path, url)
    assert next(requests) > 2 * len(parts)
    lines = printed.splitlines()
    assert len(lines) == 11, printed
    assert [line.split()[0] for line in lines] == ["wrote"] * 3 + ["failed"] * 8, printed
    assert printed.count("block of the type Data Designer Provider") == 4
