"""Whatever fails inside the engine ends a cell or the run with words; nothing is left waiting."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.dataset.compile import compile_plan
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.cells import ColumnState
from dd_core.engine.context import RunContext
from dd_core.engine.dispatch import Dispatcher
from dd_core.engine.error_rates import ErrorRates
from dd_core.engine.values import BatchValues
from dd_core.engine.watchdog import Watchdog
from dd_core.errors import ArtifactStorageError, DataDesignerGenerationError
from dd_core.models.admission.request_queue import RequestQueue
from dd_core.models.providers import Providers
from dd_core.storage.journal import Journal
from tests.scripted import Body, ScriptedModel, asking, builder, chat_response, refusal

ROWS = 8
SECONDS = 25.0
OWNERS = (
    *(Dispatcher, Journal, BatchRun, ColumnState, RunContext, BatchValues, Watchdog),
    *(ErrorRates, RequestQueue),
)
STEPS = [
    (owner, name)
    for owner in OWNERS
    for name, step in vars(owner).items()
    # `_spawn` receives a coroutine, which would never be awaited.
    if name != "_spawn"
    and inspect.isfunction(step)
    and not inspect.isgeneratorfunction(inspect.unwrap(step))
]


class Panic(BaseException):
    """Like the panics of libraries that are written in Rust."""


def end_of(made: Any, path: Path, script: Any = "fine", **fields: Any) -> str:
    """What became of a run: its rows, or its error. Fails if the run does not end."""
    ended: list[str] = []

    def run() -> None:
        try:
            config = dd.RunConfig(
                buffer_size=4, disable_early_shutdown=True, max_request_retries=0, **fields
            )
            designer = DataDesigner(path, run_config=config, transport=ScriptedModel(script))
            results = designer.create(made, num_records=ROWS, dataset_name="d")
            dropped = "; ".join(row.message for row in results.dropped)
            ended.append(f"{results.count_records()} rows; {dropped}")
        except BaseException as error:
            ended.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert ended, "the run is still waiting"
    return ended[0]


@dd.custom_column_generator(required_columns=["text"])
def count(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "length": len(row["text"])}


def accept(frame: Any) -> Any:
    return frame.assign(is_valid=True)


def every_kind_of_work() -> Any:
    made = asking()
    made.add_column(name="length", column_type="custom", generator_function=count)
    made.add_column(name="again", column_type="expression", expr="{{ text }}!")
    return made.add_column(
        name="valid",
        column_type="validation",
        target_columns=["again"],
        validator_type="local_callable",
        validator_params={"validation_function": accept},
    )


def moody() -> Callable[[Body], httpx.Response]:
    """A server that fails now and then, for good and for now."""
    requests = 0

    def answer(body: Body) -> httpx.Response:
        nonlocal requests
        requests += 1
        return {2: refusal(400), 3: refusal(429, retry_after="0.05")}.get(
            requests, chat_response("fine")
        )

    return answer


def failing_once(step: Any, error: BaseException, at: int) -> Any:
    calls = 0

    def count_call() -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error

    def fails(*args: Any, **kwargs: Any) -> Any:
        count_call()
        return step(*args, **kwargs)

    async def fails_later(*args: Any, **kwargs: Any) -> Any:
        count_call()
        return await step(*args, **kwargs)

    return fails_later if inspect.iscoroutinefunction(step) else fails


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name"), STEPS, ids=[f"{owner.__name__}.{name}" for owner, name in STEPS]
)
def test_an_error_in_any_step_ends_the_run(
    owner: type, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ZeroDivisionError("injected")
    monkeypatch.setattr(owner, name, failing_once(getattr(owner, name), error, at=2))
    end_of(every_kind_of_work(), tmp_path, moody())


@pytest.mark.parametrize("error", [Panic("injected"), asyncio.CancelledError("injected")], ids=repr)
@pytest.mark.parametrize("name", ["start_cell", "_cell", "_compute", "_group", "_finish"])
def test_an_error_that_is_no_exception_ends_the_run(
    name: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dispatcher, name, failing_once(getattr(Dispatcher, name), error, at=2))
    end_of(every_kind_of_work(), tmp_path, moody())


@pytest.mark.slow
def test_a_lost_cell_ends_the_run_with_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(self: Any, state: Any, row: int, slot: Any) -> None:
        slot.release()

    monkeypatch.setattr(Dispatcher, "_start_granted", forget)
    said = end_of(asking(), tmp_path)
    assert "nothing is running or scheduled" in said
    assert "batch 0: column 'text' has 4 queued cells" in said


def test_a_batch_that_starts_when_the_run_was_just_stopped_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[BatchRun] = []
    start = BatchRun.start

    def start_later(self: BatchRun) -> None:
        started.append(self)
        if len(started) == 2:  # the run was not stopped yet when its task was created
            self._context.stop(DataDesignerGenerationError("stopped meanwhile"))
        start(self)

    monkeypatch.setattr(BatchRun, "start", start_later)
    assert "stopped meanwhile" in end_of(asking(), tmp_path)


def test_a_second_stop_reaches_batches_that_missed_the_first(tmp_path: Path) -> None:
    class Batch:
        stopped_by: Any = None

        def stop(self, reason: Any) -> None:
            self.stopped_by = reason

    context = RunContext(compile_plan(asking().build(), Providers([]), 0), dd.RunConfig())
    first, second = DataDesignerGenerationError("first"), DataDesignerGenerationError("second")
    context.stop(first)
    late: Any = Batch()
    context.running.add(late)
    context.stop(second)
    assert late.stopped_by is context.stopped_by is first


def test_a_journal_that_cannot_be_written_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def refuse(file: int, content: Any) -> int:
        if bytes(content[:1]) == b"[":  # a line of the journal
            raise OSError(28, "No space left on device")
        return write(file, content)

    monkeypatch.setattr(os, "write", refuse)
    slow = ScriptedModel("fine", latency=0.2)
    with pytest.raises(ArtifactStorageError, match=r"cannot be written.*No space left"):
        DataDesigner(tmp_path, transport=slow).create(
            asking(max_parallel_requests=1), num_records=30, dataset_name="e"
        )
    assert len(slow.requests) < 10


class Silent(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no text")


FAILURES: dict[str, Callable[[], Any]] = {
    "StopIteration": lambda: next(iter(())),
    "SystemExit": lambda: exit_with(SystemExit(3)),
    "CancelledError": lambda: exit_with(asyncio.CancelledError()),
    "Panic": lambda: exit_with(Panic("wrong")),
    "Silent": lambda: exit_with(Silent()),
    "half a pair": lambda: exit_with(ValueError("half \ud83d")),
}


def exit_with(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("is_async", [False, True], ids=["function", "async function"])
@pytest.mark.parametrize("name", FAILURES)
def test_whatever_a_function_raises_costs_only_its_cell(
    name: str, is_async: bool, tmp_path: Path
) -> None:
    calls = iter(range(100))

    @dd.custom_column_generator(required_columns=["topic"])
    def make(row: dict[str, Any]) -> dict[str, Any]:
        if next(calls) == 2:
            FAILURES[name]()
        return {**row, "out": 1}

    @dd.custom_column_generator(required_columns=["topic"])
    async def make_later(row: dict[str, Any]) -> dict[str, Any]:
        return make(row)

    chosen = make_later if is_async else make
    made = builder().add_column(name="out", column_type="custom", generator_function=chosen)
    said = end_of(made, tmp_path)
    assert said.startswith(f"{ROWS - 1} rows; ")
    if name not in ("half a pair", "Panic"):
        assert name in said
