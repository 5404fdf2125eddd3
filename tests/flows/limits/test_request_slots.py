"""Request slots: one limit for each alias in Prefect, shared by all runs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner
from prefect import flow, get_client, task
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags, TaskRunFilter
from prefect.settings import PREFECT_HOME

import dd_core.config as dd
from flows import RunSummary, generate_dataset
from flows.cli.main import cli
from flows.limits.leases import correct_count, free_dead, lease, release, renew
from flows.limits.tag_limits import (
    AliasLimit,
    Holder,
    create_limit,
    make_tag,
    parse_limits,
    read_holder,
    read_limits,
    set_limit,
    set_rate,
)
from flows.process.liveness import ProcessLock, process_is_dead
from tests.conftest import ServerFactory
from tests.datasets import chain

pytestmark = pytest.mark.slow

_A, _B, _C = sorted(Holder.of(UUID(int=number)) for number in (1, 2, 3))


def _limit(limit: int, held: dict[Holder, int], *waiting: Holder, others: int = 0) -> AliasLimit:
    return AliasLimit(limit=limit, held=held, waiting=frozenset(waiting), others=others)


@pytest.fixture
async def client() -> AsyncIterator[PrefectClient]:
    async with get_client() as connected:
        yield connected


def _alias() -> str:
    return f"m{uuid4().hex[:8]}"


async def _state(client: PrefectClient, alias: str) -> AliasLimit:
    tag = make_tag(alias)
    return parse_limits(await read_limits(client), [tag])[tag]


async def _taken(client: PrefectClient, alias: str) -> int:
    return (await client.read_global_concurrency_limit_by_name(f"tag:model:{alias}")).active_slots


def tagged_with(tag: str) -> FlowRunFilter:
    return FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))


async def _until(holds: Callable[[], Awaitable[bool]], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.1)


def _named(alias: str, url: str, length: int = 1, **fields: Any) -> dd.DataDesignerConfig:
    """The chain, with a model alias of the test's own, because limits outlive a test."""
    config = chain(url, length, **fields).build()
    models = [each.model_copy(update={"alias": alias}) for each in config.model_configs or ()]
    columns = [
        each.model_copy(update={"model_alias": alias}) if each.get_model_aliases() else each
        for each in config.columns
    ]
    return config.model_copy(update={"model_configs": models, "columns": columns})


async def _run(config: dd.DataDesignerConfig, path: Path, rows: int, **more: Any) -> RunSummary:
    run_config = dd.RunConfig(buffer_size=more.pop("buffer_size", 1000))
    given = {"dataset_name": "slots", "artifact_path": str(path), "run_config": run_config, **more}
    summary: RunSummary = await generate_dataset(config, num_records=rows, **given)
    assert summary.rows_written == rows
    return summary


@pytest.mark.parametrize(
    ("limit", "shares"),
    [
        (_limit(12, {}), (12, 12, 12)),
        (_limit(12, {_A: 12}, _B), (6, 6, 4)),
        (_limit(12, {_A: 11, _B: 1}, _B, _C), (4, 4, 4)),
        (_limit(12, {_A: 10, _B: 2}, _C), (5, 4, 5)),
        (_limit(12, {_A: 8}, _B, others=4), (4, 4, 2)),
        (_limit(0, {_A: 4}, _B), (0, 0, 0)),
    ],
)
def test_slots_are_divided_among_those_that_can_use_them(
    limit: AliasLimit, shares: tuple[int, int, int]
) -> None:
    """The fair shares of A, B and C. A run that is in no list is about to start."""
    assert tuple(limit.fair_share(run, turn=0) for run in (_A, _B, _C)) == shares


def test_a_run_may_have_everything_unless_another_waits() -> None:
    assert _limit(12, {_A: 4, _B: 8}).max_slots(_A, turn=0) == 12
    assert _limit(12, {_A: 4, _B: 8}, _A).max_slots(_A, turn=0) == 12
    assert _limit(12, {_A: 4, _B: 8}, _B).max_slots(_A, turn=0) == 6


def test_all_slots_are_used_and_what_is_left_over_goes_round() -> None:
    limit = _limit(2, {_A: 1, _B: 1}, _A, _B, _C)
    for turn in range(3):
        assert sum(limit.fair_share(run, turn) for run in (_A, _B, _C)) == 2
    for run in (_A, _B, _C):
        assert sum(limit.fair_share(run, turn) for turn in range(3)) == 2


def test_a_lease_tells_its_run_and_its_slots() -> None:
    run = uuid4()
    holder = Holder.of(run)
    assert read_holder(holder.lease_id(37)) == (holder, 37)
    assert read_holder(uuid4()) is None
    assert Holder.of(uuid4()) != holder


async def test_a_run_creates_the_limit_and_gives_all_slots_back(
    tmp_path: Path, bench_server: ServerFactory, client: PrefectClient
) -> None:
    alias, server = _alias(), bench_server(latency=0.1)
    await _run(_named(alias, server.url, 2, parallel=8), tmp_path, 100)
    assert server.stats()["max_in_flight"] == 8
    assert (await _state(client, alias)).limit == 8
    assert await _taken(client, alias) == 0


async def test_a_limit_that_exists_is_kept_and_is_never_exceeded(
    tmp_path: Path, bench_server: ServerFactory, client: PrefectClient
) -> None:
    alias, server = _alias(), bench_server(latency=0.05)
    await create_limit(client, make_tag(alias), 3)
    config = _named(alias, server.url, 3, parallel=8)
    await _run(config, tmp_path, 30, buffer_size=10)
    assert server.stats()["max_in_flight"] == 3
    assert (await _state(client, alias)).limit == 3


async def test_with_a_limit_of_one_a_chain_in_three_batches_has_no_deadlock(
    tmp_path: Path, bench_server: ServerFactory, client: PrefectClient
) -> None:
    alias, server = _alias(), bench_server(latency=0.02)
    await set_limit(client, make_tag(alias), 1)
    await _run(_named(alias, server.url, 6, parallel=8), tmp_path, 12, buffer_size=4)
    stats = server.stats()
    assert (stats["max_in_flight"], stats["requests"]) == (1, 72 + 1)


async def test_two_runs_share_a_limit(
    tmp_path: Path, bench_server: ServerFactory, client: PrefectClient
) -> None:
    alias, server = _alias(), bench_server(latency=0.1)
    await set_limit(client, make_tag(alias), 6)
    config = _named(alias, server.url, 1, parallel=6)
    running = [
        asyncio.create_task(_run(config, tmp_path, 2000, dataset_name=name)) for name in ("a", "b")
    ]

    async def both_hold_three() -> bool:
        return sorted((await _state(client, alias)).held.values()) == [3, 3]

    await _until(both_hold_three)
    assert not any(run.done() for run in running)
    await asyncio.to_thread(server.settings, latency=0.0)  # what is left need not take long
    await asyncio.gather(*running)
    assert server.stats()["max_in_flight"] <= 6
    assert await _taken(client, alias) == 0


async def test_a_limit_that_is_changed_takes_effect_on_a_run_at_work(
    tmp_path: Path, bench_server: ServerFactory, client: PrefectClient
) -> None:
    alias, server = _alias(), bench_server(latency=0.1)
    running = asyncio.create_task(_run(_named(alias, server.url, 1, parallel=4), tmp_path, 2000))

    async def shows(name: str, count: int) -> bool:
        assert not running.done(), "it ended before the change took effect"
        stats = await asyncio.to_thread(server.stats)
        return bool(stats[name] == count)

    async def is_said(words: str) -> bool:
        [run] = await client.read_flow_runs(flow_run_filter=tagged_with(make_tag(alias)))
        return run.state is not None and words in (run.state.message or "")

    await _until(lambda: shows("max_in_flight", 4))
    await set_limit(client, make_tag(alias), 10)
    await _until(lambda: shows("max_in_flight", 10))
    await set_limit(client, make_tag(alias), 0)
    await _until(lambda: shows("in_flight", 0))
    assert not running.done()
    await _until(lambda: is_said(f"waiting for slots of model:{alias} (limit 0)"))
    held = await _state(client, alias)
    assert held.live > 0, "the server cannot release slots of a limit of 0"
    await asyncio.to_thread(server.settings, latency=0.0)  # what is left need not take long
    await set_limit(client, make_tag(alias), 12)
    await running
    assert server.stats()["max_in_flight"] <= 12
    assert await _taken(client, alias) == 0


async def test_a_run_that_is_cancelled_in_a_pause_gives_its_slots_back(
    tmp_path: Path, bench_server: ServerFactory, client: PrefectClient
) -> None:
    alias, server = _alias(), bench_server(latency=0.1)
    running = asyncio.create_task(_run(_named(alias, server.url, 1, parallel=4), tmp_path, 2000))

    async def holds(at_least: int) -> bool:
        return (await _state(client, alias)).live >= at_least

    async def is_idle() -> bool:
        return bool((await asyncio.to_thread(server.stats))["in_flight"] == 0)

    await _until(lambda: holds(4))
    await set_limit(client, make_tag(alias), 0)
    await _until(is_idle)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await _taken(client, alias) == 0


async def test_a_limit_that_is_deleted_comes_back(
    tmp_path: Path, bench_server: ServerFactory, client: PrefectClient
) -> None:
    alias, server = _alias(), bench_server(latency=0.1)
    running = asyncio.create_task(_run(_named(alias, server.url, 1, parallel=4), tmp_path, 1000))

    async def is_limited() -> bool:
        return (await _state(client, alias)).limit == 4

    async def holds_all() -> bool:
        return (await _state(client, alias)).live == 4

    await _until(holds_all)
    await client.delete_concurrency_limit_by_tag(make_tag(alias))
    await _until(is_limited)
    await _until(holds_all)
    await asyncio.to_thread(server.settings, latency=0.0)
    await running
    assert await _taken(client, alias) == 0


async def test_slots_of_runs_that_have_ended_are_freed_when_a_run_starts(
    tmp_path: Path, bench_server: ServerFactory, client: PrefectClient
) -> None:
    alias, server = _alias(), bench_server()
    await set_limit(client, make_tag(alias), 4)
    assert await lease(client, make_tag(alias), 4, Holder.of(uuid4())) is not None
    assert await lease(client, make_tag(alias), 1, Holder.of(uuid4())) is None
    await _run(_named(alias, server.url, 1, parallel=4), tmp_path, 8)
    assert await _taken(client, alias) == 0


async def test_slots_of_a_live_run_are_left_alone(client: PrefectClient) -> None:
    alias = _alias()
    await set_limit(client, make_tag(alias), 4)
    run = await client.create_flow_run(generate_dataset, parameters={"config": "x"})
    leased = await lease(client, make_tag(alias), 3, Holder.of(run.id))
    assert leased is not None
    assert await free_dead(client, {make_tag(alias): await _state(client, alias)}) == 0
    assert (await _state(client, alias)).held == {Holder.of(run.id): 3}
    assert await renew(client, leased)
    await release(client, leased)
    assert not await renew(client, leased)


async def test_slots_that_nobody_holds_are_counted_off(client: PrefectClient) -> None:
    alias = _alias()
    await set_limit(client, make_tag(alias), 4)
    leased = await lease(client, make_tag(alias), 1, Holder.of(uuid4()))
    forgotten = GlobalConcurrencyLimitUpdate(active_slots=4)
    await client.update_global_concurrency_limit(f"tag:model:{alias}", forgotten)
    assert await correct_count(client, make_tag(alias)) == 3
    assert await _taken(client, alias) == 1
    assert leased is not None


async def test_tasks_of_others_with_the_tag_share_the_limit(client: PrefectClient) -> None:
    alias = _alias()
    await set_limit(client, make_tag(alias), 4)
    seen: list[AliasLimit] = []

    @task(tags={make_tag(alias)})
    async def evaluate() -> None:
        seen.append(await _state(client, alias))

    @flow
    async def evaluation() -> None:
        await evaluate()

    await evaluation()
    assert seen[0].others == 1


async def test_tasks_that_ask_a_model_show_its_tag(
    tmp_path: Path, bench_server: ServerFactory, client: PrefectClient
) -> None:
    alias, server = _alias(), bench_server()
    await _run(_named(alias, server.url, 1), tmp_path, 4)

    async def shown() -> bool:
        found = await client.read_task_runs(
            task_run_filter=TaskRunFilter.model_validate({"tags": {"all_": [make_tag(alias)]}}),
        )
        return [each.name for each in found] == ["c0[0]"]

    await _until(shown)


async def test_requests_a_minute_are_bounded_over_the_workspace(
    tmp_path: Path, bench_server: ServerFactory, client: PrefectClient
) -> None:
    alias, server = _alias(), bench_server()
    await set_limit(client, make_tag(alias), 8)
    await set_rate(client, make_tag(alias), 240)  # 4 a second, 20 at once
    began = time.monotonic()
    await _run(_named(alias, server.url, 1, parallel=8), tmp_path, 39)
    assert time.monotonic() - began >= (40 - 20) / 4 - 1.0


def test_a_killed_process_is_known_to_be_dead() -> None:
    key = uuid4().bytes
    code = (
        "import sys, time; from flows.process.liveness import ProcessLock; "
        f"lock = ProcessLock(bytes.fromhex({key.hex()!r})); print('alive', flush=True); "
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    environment = {"PREFECT_HOME": str(PREFECT_HOME.value()), "PATH": ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "alive"
        assert not process_is_dead(key)
        child.kill()
        child.wait()
    assert process_is_dead(key)


def test_a_run_that_has_ended_leaves_no_lock() -> None:
    key = uuid4().bytes
    lock = ProcessLock(key)
    assert not process_is_dead(key)
    lock.release()
    assert not process_is_dead(key)


async def test_the_command_line_shows_sets_and_frees_limits(client: PrefectClient) -> None:
    alias = _alias()
    ddflows = CliRunner()

    def call(*arguments: str) -> str:
        result = ddflows.invoke(cli, ["limits", *arguments], terminal_width=200)
        assert result.exit_code == 0, result.output
        return result.output

    assert alias in await asyncio.to_thread(call, "set", alias, "5", "--per-minute", "600")
    assert (await _state(client, alias)).limit == 5
    await lease(client, make_tag(alias), 5, Holder.of(uuid4()))
    assert await asyncio.to_thread(call, "free", alias) == "5 slots released\n"
    await lease(client, make_tag(alias), 2, Holder.of(uuid4()))
    assert await asyncio.to_thread(call, "--free-orphans")
    assert await _taken(client, alias) == 0
    refused = await asyncio.to_thread(ddflows.invoke, cli, ["limits", "set", alias])
    assert refused.exit_code == 2
