"""The limit on parallel requests follows what the server can take."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.models.admission.backend import Backend
from dd_core.models.admission.limiter import Limiter, Outcome
from dd_core.models.admission.rate_limit import Tokens
from dd_core.models.admission.request_queue import CellLimit
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.pool import ModelPool
from dd_core.models.providers import Providers
from tests.datasets import topics
from tests.scripted import ScriptedModel, model, refusal


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(maximum: int, clock: Clock, **tuning: Any) -> Limiter:
    return Limiter(maximum, dd.RequestAdmissionTuningConfig(**tuning), clock)


def limited(target: Limiter, retry_after: float | None = None) -> None:
    """One request that is admitted now and answered by a 429."""
    target.finish(target.start(), Outcome.RATE_LIMITED, retry_after)


def succeed(target: Limiter, times: int) -> None:
    for _ in range(times):
        target.finish(target.start(), Outcome.SUCCESS)


@pytest.mark.parametrize("pause", [0.0005, 0.001, 0.0015, 0.002, 0.01])
async def test_a_pause_that_is_over_a_moment_later_holds_nothing_back(pause: float) -> None:
    ticks = count(100)
    target = Limiter(1, clock=lambda: next(ticks) * 0.0006)  # each look takes as long
    providers = Providers([dd.ModelProvider(name="openai", endpoint="http://model.test/v1")])
    async with ModelPool([model()], providers, CellLimit(1)) as pool:
        queue = pool["m"].queue
        queue.move_to([Backend(queue.backends[0].client, target)])
        slot = RequestSlot(queue)
        await slot.acquire()
        slot.release(Outcome.RATE_LIMITED, pause)
        await asyncio.wait_for(slot.acquire(), 10)
        slot.release()


def test_requests_fill_the_limit_and_no_more(clock: Clock) -> None:
    target = limiter(2, clock)
    for _ in range(2):
        assert target.seconds_until_next() == 0
        admission = target.start()
    assert target.seconds_until_next() > 0
    target.finish(admission, Outcome.SUCCESS)
    assert target.seconds_until_next() == 0


@pytest.mark.parametrize(
    ("maximum", "factor", "limits"),
    [(8, 0.75, [6, 4, 3, 2, 1, 1]), (10, 0.5, [5, 2, 1, 1]), (1, 0.75, [1])],
)
def test_a_429_multiplies_the_limit_and_leaves_at_least_one(
    maximum: int, factor: float, limits: list[int], clock: Clock
) -> None:
    target = limiter(maximum, clock, multiplicative_decrease_factor=factor)
    seen: list[int] = []
    for _ in limits:
        limited(target)
        seen.append(target.limit)
        clock.passes(3.0)
    assert seen == limits


def test_a_burst_of_429s_lowers_the_limit_once(clock: Clock) -> None:
    target = limiter(8, clock)
    admitted = [target.start() for _ in range(8)]
    for limit in admitted:
        target.finish(limit, Outcome.RATE_LIMITED)
    assert target.limit == 6
    assert target.in_flight == 0


def test_a_later_429_of_a_burst_makes_the_pause_longer(clock: Clock) -> None:
    target = limiter(8, clock, cooldown_seconds=2.0)
    first, second = target.start(), target.start()
    target.finish(first, Outcome.RATE_LIMITED)
    clock.passes(1.5)
    target.finish(second, Outcome.RATE_LIMITED)
    assert target.pause == 2.0


@pytest.mark.parametrize(("retry_after", "pause"), [(None, 2.0), (0.0, 2.0), (7.5, 7.5)])
def test_after_a_429_nothing_starts_before_the_pause_is_over(
    retry_after: float | None, pause: float, clock: Clock
) -> None:
    target = limiter(8, clock, cooldown_seconds=2.0)
    limited(target, retry_after)
    assert target.pause == pause
    clock.passes(pause - 0.01)
    assert target.seconds_until_next() > 0
    clock.passes(0.02)
    assert target.seconds_until_next() == 0


def test_a_short_wish_does_not_shorten_a_longer_pause(clock: Clock) -> None:
    target = limiter(8, clock)
    first, second = target.start(), target.start()
    target.finish(first, Outcome.RATE_LIMITED, 30.0)
    target.finish(second, Outcome.RATE_LIMITED, 1.0)
    assert target.pause == 30.0


@pytest.mark.parametrize(("step", "limit"), [(1, 7), (5, 8)])
def test_twenty_five_successes_raise_the_limit_up_to_the_maximum(
    step: int, limit: int, clock: Clock
) -> None:
    target = limiter(8, clock, additive_increase_step=step)
    limited(target)
    clock.passes(3.0)
    succeed(target, 24)
    assert target.limit == 6
    succeed(target, 1)
    assert target.limit == limit
    succeed(target, 25 * 10)
    assert target.limit == 8


def test_a_429_starts_the_count_of_successes_again(clock: Clock) -> None:
    target = limiter(8, clock)
    limited(target)
    clock.passes(3.0)
    succeed(target, 24)
    limited(target)
    clock.passes(3.0)
    succeed(target, 24)
    assert target.limit == 4
    succeed(target, 1)
    assert target.limit == 5


def test_successes_during_the_pause_do_not_count(clock: Clock) -> None:
    target = limiter(8, clock)
    limited(target, 5.0)
    succeed(target, 100)
    assert target.limit == 6


def test_other_failures_leave_the_limit_alone(clock: Clock) -> None:
    target = limiter(8, clock)
    for _ in range(50):
        target.finish(target.start(), Outcome.OTHER)
    assert target.limit == 8
    assert target.pause == 0.0


def test_a_ramp_leads_from_one_to_the_maximum(clock: Clock) -> None:
    target = limiter(11, clock, startup_ramp_seconds=10.0)
    limits: list[int] = []
    for _ in range(12):
        limits.append(target.limit)
        clock.passes(1.0)
    assert limits == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11]


def test_a_429_ends_the_ramp_where_it_is(clock: Clock) -> None:
    target = limiter(11, clock, startup_ramp_seconds=10.0)
    clock.passes(5.0)
    assert target.limit == 6
    limited(target)
    assert target.limit == 4
    clock.passes(100.0)
    assert target.limit == 4


def burst(target: Limiter, held: int, retry_after: float | None = None) -> None:
    """All places are filled; the server keeps `held` requests and refuses the others."""
    admitted = [target.start() for _ in range(target.limit)]
    for admission in admitted[held:]:
        target.finish(admission, Outcome.RATE_LIMITED, retry_after)
    for admission in admitted[:held]:
        target.finish(admission, Outcome.SUCCESS)


def filled(target: Limiter, times: int, held: int) -> None:
    """`times` rounds in which all places are filled, at a server that holds `held` requests."""
    for _ in range(times):
        if target.seconds_until_next() == 0:
            burst(target, held, 1.0)


def test_what_the_server_went_on_with_is_the_limit_after_a_pause(clock: Clock) -> None:
    target = limiter(64, clock)
    burst(target, 16, 1.0)
    assert target.seconds_until_next() > 0
    clock.passes(1.0)
    assert target.seconds_until_next() == 0
    assert target.limit == 16


def test_a_pause_of_our_own_ends_when_the_server_is_idle(clock: Clock) -> None:
    target = limiter(64, clock)
    burst(target, 16)
    assert target.seconds_until_next() == 0
    assert target.limit == 16


def test_a_refused_probe_pauses_nobody_and_probes_become_rare(clock: Clock) -> None:
    target = limiter(64, clock)
    burst(target, 16, 1.0)
    clock.passes(1.0)
    refusals = 0
    for _ in range(600):  # a minute
        assert target.seconds_until_next() == 0
        refusals += max(0, target.limit - 16)
        burst(target, 16, 1.0)
        clock.passes(0.1)
    assert 3 <= refusals <= 12


def test_a_refused_probe_waits_by_itself(clock: Clock) -> None:
    target = limiter(64, clock)
    burst(target, 2, 1.0)
    clock.passes(1.0)
    assert target.seconds_until_next() == 0
    admitted = [target.start() for _ in range(3)]
    assert target.finish(admitted[2], Outcome.RATE_LIMITED, 7.0) == 7.0
    assert target.pause == 0.0


def test_room_that_has_grown_is_used_soon(clock: Clock) -> None:
    target = limiter(64, clock)
    burst(target, 16, 1.0)
    clock.passes(1.0)
    filled(target, 10, 16)
    began = clock.now
    while target.limit < 0.9 * 32:
        assert target.seconds_until_next() == 0
        burst(target, 32, 1.0)
        clock.passes(1.0)
    assert clock.now - began < 30


def test_a_server_that_holds_less_than_before_pauses_all_again(clock: Clock) -> None:
    target = limiter(64, clock)
    burst(target, 16, 1.0)
    clock.passes(1.0)
    assert target.seconds_until_next() == 0
    burst(target, 8, 1.0)
    assert target.seconds_until_next() > 0
    clock.passes(1.0)
    assert target.seconds_until_next() == 0
    assert target.limit == 8


@pytest.mark.parametrize(
    ("rates", "tokens", "most"),
    [
        ({"requests": 120}, Tokens(0, 0), 120),
        ({"tokens": 60_000}, Tokens(300, 200), 120),
        ({"input_tokens": 30_000}, Tokens(500, 900), 60),
        ({"output_tokens": 30_000}, Tokens(5, 250), 120),
        ({"tokens": 60_000, "requests": 30}, Tokens(300, 200), 30),
    ],
)
def test_rates_hold_over_every_minute(
    rates: dict[str, int], tokens: Tokens, most: int, clock: Clock
) -> None:
    target = limiter(8, clock)
    target.rates.add_limits(rates, None)
    sent: list[float] = []
    while clock.now < 100 + 600:
        while target.seconds_until_next() == 0:
            sent.append(clock.now)
            target.finish(target.start(), Outcome.SUCCESS, None, tokens)
        clock.passes(0.01)
    later = [moment for moment in sent if moment > 110]  # when the usual usage is known
    for first in later[:-most]:
        within = sum(first <= moment < first + 59.99 for moment in later)
        assert within <= 1.02 * most
    assert len(later) >= 0.98 * most * (sent[-1] - 110) / 60


def columns(*models: dd.ModelConfig) -> dd.DataDesignerConfigBuilder:
    """A dataset with one independent LLM column for each model."""
    builder = topics(*models)
    for one in models:
        builder.add_column(
            name=one.alias, column_type="llm-text", model_alias=one.alias, prompt="{{ id }}"
        )
    return builder


def test_two_aliases_of_one_model_share_the_larger_of_their_limits(tmp_path: Path) -> None:
    server = ScriptedModel("hello", latency=0.01)
    builder = columns(model("a", max_parallel_requests=3), model("b", max_parallel_requests=5))
    DataDesigner(tmp_path, transport=server).create(builder, num_records=30)
    assert server.max_in_flight == 5


def test_models_at_different_servers_do_not_share(tmp_path: Path) -> None:
    server = ScriptedModel("hello", latency=0.01)
    builder = columns(
        model("a", max_parallel_requests=3),
        model("b", max_parallel_requests=5, base_url="http://other.test/v1"),
    )
    DataDesigner(tmp_path, transport=server).create(builder, num_records=30)
    assert server.max_in_flight == 8


def test_each_alias_keeps_to_its_own_maximum(tmp_path: Path) -> None:
    at_work: Counter[str] = Counter()
    most: Counter[str] = Counter()

    class Watching(ScriptedModel):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            alias = json.loads(request.content)["seed"]
            at_work[alias] += 1
            most[alias] = max(most[alias], at_work[alias])
            try:
                return await super().handle_async_request(request)
            finally:
                at_work[alias] -= 1

    builder = columns(
        model("a", max_parallel_requests=2, extra_body={"seed": "a"}),
        model("b", max_parallel_requests=9, extra_body={"seed": "b"}),
    )
    server = Watching("hello", latency=0.01)
    DataDesigner(tmp_path, transport=server).create(builder, num_records=30)
    assert most["a"] == 2
    assert most["b"] > 2


def test_a_server_that_takes_fewer_is_asked_for_fewer(tmp_path: Path) -> None:
    answered: list[int] = []

    def with_room_for_four(body: dict[str, Any]) -> Any:
        if server.in_flight > 4:
            return refusal(429, "slow down", retry_after="0.02")
        answered.append(1)
        return "hello"

    server = ScriptedModel(with_room_for_four, latency=0.005)
    builder = columns(model("a", max_parallel_requests=16))
    results = DataDesigner(tmp_path, transport=server).create(builder, num_records=120)
    assert results.count_records() == len(answered) == 120
    assert len(server.requests) < 200, "most requests were taken at once"


def test_a_failed_server_that_names_a_wait_is_left_alone_without_a_lower_limit(
    clock: Clock,
) -> None:
    target = limiter(8, clock)
    target.finish(target.start(), Outcome.FAILED, 5.0)
    assert target.pause == 5.0 and target.seconds_until_next() > 0
    clock.passes(5.0)
    assert target.seconds_until_next() == 0 and target.limit == 8
