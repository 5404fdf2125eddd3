"""When a try at a batch is taken for lost, and when the batch is started again."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Completed, Crashed, Pending, Running, Scheduled

from dd_core.storage.batch import Batch
from flows.distributed.attempt import Attempt, Loss, Losses
from flows.distributed.records import AttemptState, BatchRecord

SILENCE = 10.0


def a_try(patience: float = SILENCE) -> Attempt:
    return Attempt(Batch(0, 0, 5), BatchRecord(index=0, attempt=1), uuid4(), patience)


def lost_at(given: Attempt, state: State, beats: Iterable[int]) -> tuple[int | None, Loss | None]:
    """Look each second while the record shows these signs of life."""
    for second, beat in enumerate(beats):
        record = BatchRecord(index=0, attempt=1, beats=beat, state=AttemptState.AT_WORK)
        if loss := given.trouble(record, state, float(second)):
            return second, loss
    return None, None


def test_a_process_that_is_killed_is_missed_soon() -> None:
    second, loss = lost_at(a_try(), Running(), [*range(5), *[5] * 60])
    assert second == 5 + SILENCE
    assert loss == Loss("no sign of life for 10 s", is_silent=True)


def test_a_process_that_is_slow_is_not_lost() -> None:
    assert lost_at(a_try(), Running(), [second // 9 for second in range(300)]) == (None, None)


@pytest.mark.parametrize(("silence", "expected"), [(4.0, 60), (90.0, 450)])
def test_a_process_may_take_long_to_start(silence: float, expected: int) -> None:
    second, _ = lost_at(a_try(silence), Pending(), [0] * 600)
    assert second == expected


def test_waiting_for_a_worker_is_no_silence() -> None:
    assert lost_at(a_try(), Scheduled(), [0] * 600) == (None, None)


def test_what_prefect_saw_end_has_failed() -> None:
    _, crashed = lost_at(a_try(), Crashed(message="out of memory"), [0] * 60)
    assert crashed == Loss("its run ended as Crashed: out of memory")
    _, elsewhere = lost_at(a_try(), Completed(), [0] * 60)
    assert elsewhere is not None and not elsewhere.is_silent


FAILED, SILENT = Loss("it failed"), Loss("silent", is_silent=True)


@pytest.mark.parametrize(
    ("lost", "tries", "allows"),
    [
        ([], 1, True),
        ([FAILED], 1, False),
        ([FAILED, FAILED], 3, True),
        ([FAILED, FAILED, FAILED], 3, False),
        ([SILENT, SILENT], 1, True),
        ([SILENT, SILENT, SILENT], 1, False),
        ([SILENT] * 8 + [FAILED] * 2, 3, True),
        ([SILENT] * 9, 3, False),
    ],
)
def test_silence_is_no_failure_and_does_not_go_on_for_ever(
    lost: list[Loss], tries: int, allows: bool
) -> None:
    losses = Losses()
    counts = [losses.add(loss) for loss in lost]
    assert losses.allows_another(tries) is allows
    assert counts == [*range(1, len(lost) + 1)]


def test_each_silent_try_gives_the_next_one_more_time() -> None:
    losses = Losses()
    found = [losses.patience(SILENCE)]
    for loss in [FAILED, SILENT, SILENT, SILENT, SILENT]:
        losses.add(loss)
        found.append(losses.patience(SILENCE))
    assert found == [10, 10, 20, 40, 80, 80]
