"""Batches that other processes generate: signs of life, who may go on, and shares of a budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core.engine.accounting import RemoteUsage
from dd_core.errors import (
    ArtifactStorageError,
    BatchReplacedError,
    BudgetExhaustedError,
    DataDesignerError,
    DataDesignerGenerationError,
    ModelAuthenticationError,
)
from dd_core.models.config import Price
from dd_core.models.usage import UsageLedger
from dd_core.storage.directory import DatasetDirectory
from flows.distributed.attempt import HeartbeatMonitor
from flows.distributed.budget_shares import BudgetAllocator
from flows.distributed.ownership import BatchOwnership
from flows.distributed.records import AttemptState, BatchRecord, RemoteError, RunSpec, request_stop


def _usage(requests: int, tokens: int = 0) -> dict[str, dict[str, dict[str, int | float]]]:
    return {"m": {"c": {"requests": requests, "input_tokens": tokens}}}


def _ledger(requests: int, tokens: int = 0) -> UsageLedger:
    return UsageLedger(_usage(requests, tokens))


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happened():
            await asyncio.sleep(0.005)


def _handover(run: str = "run") -> RunSpec:
    return RunSpec(
        run=run,
        fingerprint="f",
        seed=1,
        num_records=10,
        run_config=dd.RunConfig(),
        model_providers=None,
    )


@pytest.fixture
def directory(tmp_path: Path) -> DatasetDirectory:
    made = DatasetDirectory(tmp_path / "d")
    _handover().write(made)
    return made


def test_a_folder_without_a_handover_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ArtifactStorageError, match=r"no readable batches/run\.json"):
        RunSpec.read(DatasetDirectory(tmp_path))


def test_a_handover_names_keys_and_does_not_hold_them(directory: DatasetDirectory) -> None:
    provider = dd.ModelProvider.model_validate(
        {"name": "p", "endpoint": "http://p.test", "api_key": "P_API_KEY"}
    )
    _handover().model_copy(update={"model_providers": [provider]}).write(directory)
    [read] = RunSpec.read(directory).model_providers or []
    assert read.key_reference == "P_API_KEY"


async def test_an_owner_keeps_the_record_current(directory: DatasetDirectory) -> None:
    tenure = BatchOwnership(directory, 0, 1)
    await tenure.take()
    tenure.progress = lambda: {"usage": _usage(3)}
    async with tenure.held(silence=0.08):
        await until(lambda: tenure.record.beats >= 2)
    record = BatchRecord.read(directory, 0, 1)
    assert record is not None
    assert record.beats >= 2
    assert record.usage == _usage(3)
    assert (record.state, record.owner) == (AttemptState.AT_WORK, tenure.owner)


async def test_an_owner_whose_event_loop_is_busy_gives_signs_of_life(
    directory: DatasetDirectory,
) -> None:
    tenure = BatchOwnership(directory, 0, 1)
    await tenure.take()
    tenure.progress = lambda: {"usage": _usage(3)}
    async with tenure.held(silence=0.08):
        await until(lambda: tenure.record.usage == _usage(3))
        before = tenure.record.beats
        deadline = time.monotonic() + 20
        while tenure.record.beats < before + 3 and time.monotonic() < deadline:
            time.sleep(0.01)  # the loop does nothing else meanwhile
    assert tenure.record.beats >= before + 3
    assert tenure.record.usage == _usage(3)


async def test_a_later_try_ends_the_earlier_one(directory: DatasetDirectory) -> None:
    first, reasons = BatchOwnership(directory, 0, 1), list[DataDesignerError]()
    await first.take()
    first.on_end(reasons.append)
    async with first.held(silence=0.08):
        BatchRecord(index=0, attempt=2).write(directory)
        await until(lambda: bool(reasons))
    assert [type(reason) for reason in reasons] == [BatchReplacedError]
    with pytest.raises(BatchReplacedError, match="taken over by a later try"):
        await first.require()
    with pytest.raises(BatchReplacedError):
        await BatchOwnership(directory, 0, 1).take()


async def test_of_two_processes_of_one_try_the_later_goes_on(directory: DatasetDirectory) -> None:
    first, second = BatchOwnership(directory, 0, 1), BatchOwnership(directory, 0, 1)
    await first.take()
    await first.finish(AttemptState.AT_WORK, None, usage=_usage(5))
    taken = await second.take()
    assert taken.usage == _usage(5)
    with pytest.raises(BatchReplacedError, match=second.owner):
        await first.finish(AttemptState.DONE, None)
    await second.finish(AttemptState.DONE, None, rows=4)
    record = BatchRecord.read(directory, 0, 1)
    assert record is not None
    assert (record.is_done, record.rows, record.owner) == (True, 4, second.owner)


async def test_a_run_asks_its_batches_to_stop(directory: DatasetDirectory) -> None:
    tenure, reasons = BatchOwnership(directory, 0, 1), list[DataDesignerError]()
    await tenure.take()
    request_stop(directory, ModelAuthenticationError("the key was refused"))
    async with tenure.held(silence=0.08):
        await until(lambda: tenure.record.beats >= 2)  # it has been told by then
        tenure.on_end(reasons.append)
        assert reasons
    assert isinstance(reasons[0], ModelAuthenticationError)
    _handover("another").write(directory)
    fresh = BatchOwnership(directory, 1, 1)
    await fresh.take()
    fresh.on_end(lambda reason: pytest.fail(str(reason)))
    async with fresh.held(silence=0.08):
        await until(lambda: fresh.record.beats >= 2)


async def test_a_storage_that_is_away_does_not_end_a_tenure(directory: DatasetDirectory) -> None:
    tenure = BatchOwnership(directory, 0, 1)
    await tenure.take()
    tenure.on_end(lambda reason: pytest.fail(str(reason)))
    away = directory.path.with_name("away")
    async with tenure.held(silence=0.08):
        directory.path.rename(away)
        directory.path.write_text("in the way")
        await asyncio.sleep(0.1)
        directory.path.unlink()
        away.rename(directory.path)
        before = tenure.record.beats
        await until(lambda: tenure.record.beats >= before + 2)


def test_errors_survive_as_text() -> None:
    known = RemoteError.of(BudgetExhaustedError("used up")).error
    assert isinstance(known, BudgetExhaustedError)
    foreign = RemoteError.of(ZeroDivisionError("x")).error
    assert isinstance(foreign, DataDesignerGenerationError)
    assert str(foreign) == "ZeroDivisionError: x"


def test_silence_is_what_does_not_change() -> None:
    silence = HeartbeatMonitor()
    for now in range(0, 60, 2):
        silence.look(("at work", now // 10), now)
    assert not silence.exceeds(20)
    for now in range(60, 90, 2):
        silence.look("still", now)
    assert silence.exceeds(20)


def test_a_pause_of_the_one_who_looks_is_no_silence() -> None:
    silence = HeartbeatMonitor()
    silence.look("still", 0)
    silence.look("still", 10_000)
    assert not silence.exceeds(60)


def test_shares_follow_the_rows_and_never_exceed_the_budget() -> None:
    shares = BudgetAllocator(dd.Budget(requests=100), {})
    first = shares.share(0, 10, 40, UsageLedger())
    second = shares.share(1, 10, 30, UsageLedger())
    assert first is not None and second is not None
    assert (first.requests, second.requests) == (25, 25)
    shares.ended(0)  # it took 5, so there is more for the others
    third = shares.share(2, 10, 20, _ledger(5))
    fourth = shares.share(3, 10, 10, _ledger(5))
    assert third is not None and fourth is not None
    assert (third.requests, fourth.requests) == (35, 35)
    with pytest.raises(BudgetExhaustedError, match="100 requests is used up or handed out"):
        shares.share(4, 10, 10, _ledger(5))


def test_what_is_left_over_is_handed_out_again_once() -> None:
    shares = BudgetAllocator(dd.Budget(tokens=1000, dollars=1.0), {"m": Price(input=1, output=1)})
    shares.share(0, 1, 1, UsageLedger())
    shares.ended(0)
    assert shares.is_worth_another_round(_ledger(1, 500))
    assert not shares.is_worth_another_round(_ledger(1, 500))
    assert not shares.is_worth_another_round(_ledger(1, 995))


def test_without_a_budget_there_are_no_shares() -> None:
    shares = BudgetAllocator(None, {})
    assert shares.share(0, 1, 1, _ledger(10)) is None
    assert not shares.is_worth_another_round(UsageLedger())


def test_a_try_counts_once_while_it_is_at_work_and_when_it_ends() -> None:
    remote = RemoteUsage()
    remote.report((0, 1), _ledger(2))
    remote.report((0, 1), _ledger(5))
    remote.report((0, 2), _ledger(1))
    assert remote.total.total().requests == 6
    remote.finish((0, 1), _ledger(5), {})
    assert remote.total.total().requests == 6
    assert remote.ended.total().requests == 5


def test_a_count_without_another() -> None:
    assert (_ledger(10) - _ledger(7)).total().requests == 3


def test_records_are_found_in_the_order_of_their_tries(directory: DatasetDirectory) -> None:
    for attempt in (10, 2, 1):
        BatchRecord(index=3, attempt=attempt).write(directory)
    assert [record.attempt for record in BatchRecord.all(directory)] == [1, 2, 10]
