"""Processes that the flow tests start on their Prefect server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any
from uuid import UUID, uuid4

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flows import Flow
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOCAL_STORAGE_PATH
from prefect.utilities.callables import parameter_schema


def environment() -> dict[str, str]:
    """That of a process with the server and the result storage of the tests."""
    return os.environ | {
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_LOCAL_STORAGE_PATH": str(PREFECT_LOCAL_STORAGE_PATH.value()),
        "PREFECT_WORKER_QUERY_SECONDS": "0.5",
    }


def start_flow(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A process that calls a flow: a program, and its arguments."""
    own = {"PREFECT_HOME": str(PREFECT_HOME.value())}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment() | own)


async def start_worker(
    pool: str, *more: str, environ: dict[str, str] | None = None
) -> asyncio.subprocess.Process:
    """A worker of a pool of processes, with further options and variables."""
    options = ["--type", "process", "--pool", pool, *more]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "prefect", "worker", "start", *options),
        env=environment() | (environ or {}),
    )


async def deploy(
    client: PrefectClient, flow: Flow[..., object], entrypoint: str
) -> tuple[str, UUID]:
    """Deploy a flow on a new pool of processes: the pool's name and the deployment's id."""
    pool = f"pool-{uuid4().hex[:8]}"
    await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    return pool, await redeploy(client, flow, entrypoint, pool)


async def redeploy(
    client: PrefectClient, flow: Flow[..., object], entrypoint: str, pool: str, **more: Any
) -> UUID:
    """Deploy a flow on a pool, by default under the pool's name: the deployment's id."""
    given: dict[str, Any] = {"name": pool, **more}
    return await client.create_deployment(
        flow_id=await client.create_flow(flow),
        work_pool_name=pool,
        entrypoint=entrypoint,
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        **given,
    )
