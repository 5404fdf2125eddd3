"""Batches that other processes generate: signs of life, who may go on, and shares of a budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core.elsewhere import Elsewhere
from dd_core.errors import (
    ArtifactStorageError,
    BatchReplacedError,
    BudgetExhaustedError,
    DataDesignerError,
    DataDesignerGenerationError,
    ModelAuthenticationError,
)
from dd_core.handover import (
    BatchRecord,
    Complaint,
    Handover,
    TryState,
    ask_to_stop,
    without,
)
from dd_core.models.price import Price
from dd_core.shares import BudgetShares
from dd_core.silence import Silence
from dd_core.storage import DatasetDirectory
from dd_core.tenure import Tenure


def _usage(requests: int, tokens: int = 0) -> dict[str, dict[str, dict[str, int | float]]]:
    return {"m": {"c": {"requests": requests, "input_tokens": tokens}}}


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happened():
            await asyncio.sleep(0.005)


def _handover(run: str = "run") -> Handover:
    return Handover(
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
        Handover.read(DatasetDirectory(tmp_path))


def test_a_handover_names_keys_and_does_not_hold_them(directory: DatasetDirectory) -> None:
    provider = dd.ModelProvider.model_validate(
        {"name": "p", "endpoint": "http://p.test", "api_key": "P_API_KEY"}
    )
    _handover().model_copy(update={"model_providers": [provider]}).write(directory)
    [read] = Handover.read(directory).model_providers or []
    assert read.key_reference == "P_API_KEY"


async def test_an_owner_keeps_the_record_current(directory: DatasetDirectory) -> None:
    tenure = Tenure(directory, 0, 1)
    await tenure.take()
    tenure.progress = lambda: {"usage": _usage(3)}
    async with tenure.held(silence=0.08):
        await until(lambda: tenure.record.beats >= 2)
    record = BatchRecord.read(directory, 0, 1)
    assert record is not None
    assert record.beats >= 2
    assert record.usage == _usage(3)
    assert (record.state, record.owner) == (TryState.AT_WORK, tenure.owner)


async def test_an_owner_whose_event_loop_is_busy_gives_signs_of_life(
    directory: DatasetDirectory,
) -> None:
    tenure = Tenure(directory, 0, 1)
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
    first, reasons = Tenure(directory, 0, 1), list[DataDesignerError]()
    await first.take()
    first.on_end(reasons.append)
    async with first.held(silence=0.08):
        BatchRecord(index=0, attempt=2).write(directory)
        await until(lambda: bool(reasons))
    assert [type(reason) for reason in reasons] == [BatchReplacedError]
    with pytest.raises(BatchReplacedError, match="taken over by a later try"):
        await first.require()
    with pytest.raises(BatchReplacedError):
        await Tenure(directory, 0, 1).take()


async def test_of_two_processes_of_one_try_the_later_goes_on(directory: DatasetDirectory) -> None:
    first, second = Tenure(directory, 0, 1), Tenure(directory, 0, 1)
    await first.take()
    await first.finish(TryState.AT_WORK, None, usage=_usage(5))
    taken = await second.take()
    assert taken.usage == _usage(5)
    with pytest.raises(BatchReplacedError, match=second.owner):
        await first.finish(TryState.DONE, None)
    await second.finish(TryState.DONE, None, rows=4)
    record = BatchRecord.read(directory, 0, 1)
    assert record is not None
    assert (record.is_done, record.rows, record.owner) == (True, 4, second.owner)


async def test_a_run_asks_its_batches_to_stop(directory: DatasetDirectory) -> None:
    tenure, reasons = Tenure(directory, 0, 1), list[DataDesignerError]()
    await tenure.take()
    ask_to_stop(directory, ModelAuthenticationError("the key was refused"))
    async with tenure.held(silence=0.08):
        await until(lambda: tenure.record.beats >= 2)  # it has been told by then
        tenure.on_end(reasons.append)
        assert reasons
    assert isinstance(reasons[0], ModelAuthenticationError)
    _handover("another").write(directory)
    fresh = Tenure(directory, 1, 1)
    await fresh.take()
    fresh.on_end(lambda reason: pytest.fail(str(reason)))
    async with fresh.held(silence=0.08):
        await until(lambda: fresh.record.beats >= 2)


async def test_a_storage_that_is_away_does_not_end_a_tenure(directory: DatasetDirectory) -> None:
    tenure = Tenure(directory, 0, 1)
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
    known = Complaint.of(BudgetExhaustedError("used up")).error
    assert isinstance(known, BudgetExhaustedError)
    foreign = Complaint.of(ZeroDivisionError("x")).error
    assert isinstance(foreign, DataDesignerGenerationError)
    assert str(foreign) == "ZeroDivisionError: x"


def test_silence_is_what_does_not_change() -> None:
    silence = Silence()
    for now in range(0, 60, 2):
        silence.look(("at work", now // 10), now)
    assert not silence.exceeds(20)
    for now in range(60, 90, 2):
        silence.look("still", now)
    assert silence.exceeds(20)


def test_a_pause_of_the_one_who_looks_is_no_silence() -> None:
    silence = Silence()
    silence.look("still", 0)
    silence.look("still", 10_000)
    assert not silence.exceeds(60)


def test_shares_follow_the_rows_and_never_exceed_the_budget() -> None:
    shares = BudgetShares(dd.Budget(requests=100), {})
    first = shares.share(0, 10, 40, {})
    second = shares.share(1, 10, 30, {})
    assert first is not None and second is not None
    assert (first.requests, second.requests) == (25, 25)
    shares.ended(0)  # it took 5, so there is more for the others
    third = shares.share(2, 10, 20, _usage(5))
    fourth = shares.share(3, 10, 10, _usage(5))
    assert third is not None and fourth is not None
    assert (third.requests, fourth.requests) == (35, 35)
    with pytest.raises(BudgetExhaustedError, match="100 requests is used up or handed out"):
        shares.share(4, 10, 10, _usage(5))


def test_what_is_left_over_is_handed_out_again_once() -> None:
    shares = BudgetShares(dd.Budget(tokens=1000, dollars=1.0), {"m": Price(input=1, output=1)})
    shares.share(0, 1, 1, {})
    shares.ended(0)
    assert shares.is_worth_another_round(_usage(1, 500))
    assert not shares.is_worth_another_round(_usage(1, 500))
    assert not shares.is_worth_another_round(_usage(1, 995))


def test_without_a_budget_there_are_no_shares() -> None:
    shares = BudgetShares(None, {})
    assert shares.share(0, 1, 1, _usage(10)) is None
    assert not shares.is_worth_another_round({})


def test_a_try_counts_once_while_it_is_at_work_and_when_it_ends() -> None:
    elsewhere = Elsewhere()
    elsewhere.reported(BatchRecord(index=0, attempt=1, usage=_usage(2)))
    elsewhere.reported(BatchRecord(index=0, attempt=1, usage=_usage(5)))
    elsewhere.reported(BatchRecord(index=0, attempt=2, usage=_usage(1)))
    assert elsewhere.usage()["m"]["c"]["requests"] == 6
    elsewhere.ended(BatchRecord(index=0, attempt=1, usage=_usage(5)))
    assert elsewhere.usage()["m"]["c"]["requests"] == 6
    assert elsewhere.usage_of_ended["m"]["c"]["requests"] == 5


def test_a_count_without_another() -> None:
    assert without(_usage(10), _usage(7))["m"]["c"]["requests"] == 3


def test_records_are_found_in_the_order_of_their_tries(directory: DatasetDirectory) -> None:
    for attempt in (10, 2, 1):
        BatchRecord(index=3, attempt=attempt).write(directory)
    assert [record.attempt for record in BatchRecord.all(directory)] == [1, 2, 10]
