"""When an attempt at a batch is considered lost, and when the batch is restarted."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Completed, Crashed, Pending, Running, Scheduled

from dd_core.storage.batch import Batch
from flows.distributed.attempt import Attempt, AttemptFailure, AttemptFailures
from flows.distributed.records import AttemptState, BatchRecord

TIMEOUT = 10.0


def an_attempt(timeout: float = TIMEOUT) -> Attempt:
    return Attempt(Batch(0, 0, 5), BatchRecord(index=0, attempt=1), uuid4(), timeout)


def lost_at(
    attempt: Attempt, state: State, heartbeats: Iterable[int]
) -> tuple[int | None, AttemptFailure | None]:
    """Poll every second while the record shows these heartbeats."""
    for second, heartbeat in enumerate(heartbeats):
        record = BatchRecord(index=0, attempt=1, heartbeats=heartbeat, state=AttemptState.RUNNING)
        if failure := attempt.failure_reason(record, state, float(second)):
            return second, failure
    return None, None


def test_a_killed_process_is_detected_soon() -> None:
    second, failure = lost_at(an_attempt(), Running(), [*range(5), *[5] * 60])
    assert second == 5 + TIMEOUT
    assert failure == AttemptFailure("no heartbeat for 10 s", is_timeout=True)


def test_a_process_that_is_slow_is_not_lost() -> None:
    assert lost_at(an_attempt(), Running(), [second // 9 for second in range(300)]) == (None, None)


@pytest.mark.parametrize(("timeout", "expected"), [(4.0, 60), (90.0, 450)])
def test_a_process_may_take_long_to_start(timeout: float, expected: int) -> None:
    second, _ = lost_at(an_attempt(timeout), Pending(), [0] * 600)
    assert second == expected


def test_waiting_for_a_worker_is_not_a_timeout() -> None:
    assert lost_at(an_attempt(), Scheduled(), [0] * 600) == (None, None)


def test_a_run_that_ended_in_prefect_has_failed() -> None:
    _, crashed = lost_at(an_attempt(), Crashed(message="out of memory"), [0] * 60)
    assert crashed == AttemptFailure("its run ended in the state Crashed: out of memory")
    _, completed = lost_at(an_attempt(), Completed(), [0] * 60)
    assert completed is not None and not completed.is_timeout


FAILED = AttemptFailure("it failed")
TIMED_OUT = AttemptFailure("no heartbeat", is_timeout=True)


@pytest.mark.parametrize(
    ("lost", "max_failed", "allows"),
    [
        ([], 1, True),
        ([FAILED], 1, False),
        ([FAILED, FAILED], 3, True),
        ([FAILED, FAILED, FAILED], 3, False),
        ([TIMED_OUT, TIMED_OUT], 1, True),
        ([TIMED_OUT, TIMED_OUT, TIMED_OUT], 1, False),
        ([TIMED_OUT] * 8 + [FAILED] * 2, 3, True),
        ([TIMED_OUT] * 9, 3, False),
    ],
)
def test_a_timeout_is_not_a_failure_but_the_number_of_timeouts_is_limited(
    lost: list[AttemptFailure], max_failed: int, allows: bool
) -> None:
    failures = AttemptFailures()
    counts = [failures.add(failure) for failure in lost]
    assert failures.allow_retry(max_failed) is allows
    assert counts == [*range(1, len(lost) + 1)]


def test_each_timeout_gives_the_next_attempt_more_time() -> None:
    failures = AttemptFailures()
    found = [failures.scale_timeout(TIMEOUT)]
    for failure in [FAILED, TIMED_OUT, TIMED_OUT, TIMED_OUT, TIMED_OUT]:
        failures.add(failure)
        found.append(failures.scale_timeout(TIMEOUT))
    assert found == [10, 10, 20, 40, 80, 80]
