"""Workers that replay the recorded API calls of a batch, many of them in one process."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp

from benchmarks.recorded_batch import CREATE, ID, READ_LIMITS, STEADY_SECONDS, TASK, WORKER, Script
from benchmarks.recording_proxy import Exchange

_TIMEOUT = aiohttp.ClientTimeout(total=120)
_TIMES = (
    "timestamp",
    "occurred",
    "start_time",
    "end_time",
    "expected_start_time",
    "state_timestamp",
)
_POLL_SECONDS = 2.0
_MOST_POLLED = 200


@dataclass
class Measured:
    """What the simulated workers sent, and what became of it."""

    batches: int = 0
    requests: int = 0
    messages: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Responses with another status than the recorded ones, and lost connections."""
    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    """Seconds by which batches took longer than the recorded one."""
    open_runs: dict[int, str] = field(default_factory=dict)


class SimulatedBatch:
    """One replay of the script: new IDs for everything that belongs to the recorded batch."""

    def __init__(
        self, api: str, script: Script, measured: Measured, name: str, consumer: str
    ) -> None:
        self.run: str | None = None
        self._name = name
        self._api = api
        self._script = script
        self._measured = measured
        self._ids: dict[str, str] = {script.consumer: consumer}
        self._sockets: dict[tuple[str, str], aiohttp.ClientWebSocketResponse] = {}
        self._opened: list[aiohttp.ClientWebSocketResponse] = []
        self._readers: list[asyncio.Task[None]] = []

    async def replay(self, session: aiohttp.ClientSession, waits: int, number: int) -> None:
        """Send everything at the recorded pace, with the steady part `waits` times."""
        script, began = self._script, time.monotonic()
        steady = [(each, STEADY_SECONDS * n) for n in range(waits) for each in script.steady]
        # The script contains the steady part once.
        later = STEADY_SECONDS * (waits - 1)
        plan = [(e, 0.0) for e in script.start] + steady + [(e, later) for e in script.end]
        plan.sort(key=lambda item: item[0].at + item[1])
        try:
            for exchange, shift in plan:
                due = began + exchange.at + shift
                if (pause := due - time.monotonic()) > 0:
                    await asyncio.sleep(pause)
                await self._send(session, exchange)
                if self.run is not None:
                    self._measured.open_runs[number] = self.run
            self._measured.batches += 1
            self._measured.lateness.append(time.monotonic() - began - plan[-1][0].at - later)
        finally:
            self._measured.open_runs.pop(number, None)
            for reader in self._readers:
                reader.cancel()
            for socket in self._opened:
                await socket.close()

    async def _send(self, session: aiohttp.ClientSession, exchange: Exchange) -> None:
        began = time.monotonic()
        try:
            if exchange.method == "WS":
                await self._send_message(session, exchange)
                self._measured.messages += 1
                return
            path = self._rename(exchange.path)
            content = self._fresh(exchange)
            url = self._api.removesuffix("/api") + path
            async with session.request(
                exchange.method, url, json=content, timeout=_TIMEOUT
            ) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._measured.failures[f"{exchange.route}: {type(error).__name__}"] += 1
            return
        self._measured.requests += 1
        self._measured.latencies.append(time.monotonic() - began)
        if response.status != exchange.status:
            reason = answer.get("details", "") if isinstance(answer, dict) else ""
            self._measured.failures[f"{exchange.route}: {response.status} {reason}"] += 1
            return
        self._learn(exchange.response, answer)
        if CREATE.fullmatch(exchange.route):
            self.run = str(answer["id"])

    async def _send_message(self, session: aiohttp.ClientSession, exchange: Exchange) -> None:
        key = (exchange.client, exchange.path)
        socket = self._sockets.get(key)
        greeting: list[Exchange] = []
        if socket is None or exchange.content.get("type") == "auth":
            url = self._api.removesuffix("/api") + self._rename(exchange.path)
            socket = await session.ws_connect(url, protocols=["prefect"], max_msg_size=0)
            self._opened.append(socket)
            self._sockets[key] = socket
            self._readers.append(asyncio.create_task(_drain(socket)))
            # The worker greeted the server long before the recorded batch began.
            if exchange.client == "worker" and exchange.content.get("type") != "auth":
                greeting = self._script.greetings[exchange.path]
        for each in [*greeting, exchange]:
            await socket.send_json(self._fresh(each))

    def _fresh(self, exchange: Exchange) -> Any:
        """The recorded content with the IDs of this batch and with the time of now."""
        content = json.loads(self._rename(json.dumps(exchange.content)))
        _renew(content)
        if exchange.route == TASK:
            content["dynamic_key"] = str(uuid4())  # otherwise it is the recorded task run
        return content

    def _rename(self, text: str) -> str:
        named = text.replace(WORKER, self._name)
        return ID.sub(lambda found: self._id(found[0]), named)

    def _id(self, recorded: str) -> str:
        if recorded in self._script.static and recorded != self._script.consumer:
            return recorded
        return self._ids.setdefault(recorded, str(uuid4()))

    def _learn(self, recorded: Any, answer: Any) -> None:
        """Map IDs that the server has chosen, by their place in the response."""
        if isinstance(recorded, dict) and isinstance(answer, dict):
            for name in recorded.keys() & answer.keys():
                self._learn(recorded[name], answer[name])
        elif isinstance(recorded, list) and isinstance(answer, list):
            for one, other in zip(recorded, answer, strict=False):
                self._learn(one, other)
        elif (
            isinstance(recorded, str)
            and isinstance(answer, str)
            and ID.fullmatch(recorded)
            and ID.fullmatch(answer)
        ):
            self._ids.setdefault(recorded, answer)


async def simulate(api: str, script: Script, workers: int, seconds: float, waits: int) -> Measured:
    """Let workers replay batches one after another for some time, with a run that polls them.

    A worker begins a new batch only if it can end in time. The first batches are spread out.
    """
    measured = Measured()
    cycle = script.end[-1].at + STEADY_SECONDS * (waits - 1)
    until = time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def work(number: int) -> None:
            name, consumer = f"simulated-{number}", str(uuid4())
            await asyncio.sleep(cycle * number / workers)
            while time.monotonic() + cycle / 2 < until:
                batch = SimulatedBatch(api, script, measured, name, consumer)
                await batch.replay(session, waits, number)

        async with asyncio.TaskGroup() as group:
            running = [group.create_task(work(number)) for number in range(workers)]
            polling = group.create_task(_poll(session, api, script, measured))
            await asyncio.wait(running)
            polling.cancel()
    return measured


async def _poll(
    session: aiohttp.ClientSession, api: str, script: Script, measured: Measured
) -> None:
    """Ask for the states of all open batches and for the limits, as the dataset's run does."""
    wanted = json.loads(json.dumps(script.poll.content))
    limits = next(each for each in [*script.start, *script.steady] if each.route == READ_LIMITS)
    while True:
        open_runs = [*measured.open_runs.values()][:_MOST_POLLED]
        if open_runs:
            wanted["flow_runs"]["id"] = {"any_": open_runs}
            began = time.monotonic()
            for path, content in (
                ("/flow_runs/filter", wanted),
                ("/concurrency_limits/filter", limits.content),
            ):
                try:
                    async with session.post(api + path, json=content, timeout=_TIMEOUT) as response:
                        await response.read()
                except (aiohttp.ClientError, TimeoutError) as error:
                    measured.failures[f"poll: {type(error).__name__}"] += 1
                    continue
                measured.requests += 1
                if response.status != 200:
                    measured.failures[f"poll {path}: {response.status}"] += 1
            measured.latencies.append(time.monotonic() - began)
        await asyncio.sleep(_POLL_SECONDS * random.uniform(0.9, 1.1))


async def _drain(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass


def _renew(content: Any) -> None:
    """Set all times to now, and idempotency keys to new ones."""
    if isinstance(content, list):
        for each in content:
            _renew(each)
    elif isinstance(content, dict):
        for name, value in content.items():
            if name == "idempotency_key" and value:
                content[name] = str(uuid4())
            elif name in _TIMES and isinstance(value, str):
                content[name] = datetime.now(UTC).isoformat()
            elif name == "scheduled_before" and isinstance(value, str):
                content[name] = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()
            else:
                _renew(value)
