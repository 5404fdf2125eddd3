"""Limits of calls: order, changes at run time, and calls per minute."""

from __future__ import annotations

import asyncio

import pytest

from dd_core.models.tools.limit import CallLimit


async def test_calls_start_in_order_and_a_cancelled_one_loses_nothing() -> None:
    limit = CallLimit(1)
    started: list[int] = []
    may_end = asyncio.Event()

    async def call(number: int) -> None:
        async with limit.hold():
            started.append(number)
            await may_end.wait()

    tasks = [asyncio.create_task(call(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert (started, limit.in_flight, limit.waiting) == ([0], 1, 4)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert limit.waiting == 3
    limit.maximum = 2
    await asyncio.sleep(0)
    assert (started, limit.in_flight) == ([0, 2], 2)
    limit.maximum = 0
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.wait({tasks[0], tasks[2]})
    assert (limit.in_flight, limit.waiting) == (0, 2)
    may_end.set()
    limit.maximum = 1
    await asyncio.gather(tasks[3], tasks[4])
    assert (started, limit.in_flight) == ([0, 2, 3, 4], 0)


async def test_a_call_that_is_cancelled_when_its_turn_comes_gives_it_to_the_next() -> None:
    limit = CallLimit(1)

    async def call() -> str:
        async with limit.hold():
            return "done"

    async with limit.hold():
        first, second = asyncio.create_task(call()), asyncio.create_task(call())
        await asyncio.sleep(0)
    first.cancel()  # it has its turn, but has not run since
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == "done"
    assert limit.in_flight == 0


async def test_calls_are_spread_over_the_minute() -> None:
    now = 100.0
    limit = CallLimit(10, per_minute=60 * 64, clock=lambda: now)
    starts: list[float] = []

    async def call() -> None:
        async with limit.hold():
            starts.append(now)

    tasks = [asyncio.create_task(call()) for _ in range(3)]
    for _ in range(50):
        await asyncio.sleep(0.002)
    assert starts == [100.0]  # time stands still
    for step in (100.0 + 1 / 64, 100.0 + 2 / 64):
        now = step
        expected = len(starts) + 1
        while len(starts) < expected:
            await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    assert starts == [100.0, 100.0 + 1 / 64, 100.0 + 2 / 64]
