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
    attempt: Attempt, state: State, heartbeats: Iterable[int], owner: str = ""
) -> tuple[int | None, AttemptFailure | None]:
    """Poll every second while the record shows these heartbeats."""
    for second, heartbeat in enumerate(heartbeats):
        record = BatchRecord(
            index=0, attempt=1, owner=owner, heartbeats=heartbeat, state=AttemptState.RUNNING
        )
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
    assert crashed == AttemptFailure(
        "its run ended in the state Crashed: out of memory", is_refusal=True
    )
    _, crashed = lost_at(an_attempt(), Crashed(message="out of memory"), [0] * 60, owner="host:1")
    assert crashed == AttemptFailure("its run ended in the state Crashed: out of memory")
    _, completed = lost_at(an_attempt(), Completed(), [0] * 60)
    assert completed is not None and not completed.is_timeout


FAILED = AttemptFailure("it failed")
TIMED_OUT = AttemptFailure("no heartbeat", is_timeout=True)
REFUSED = AttemptFailure("not here", is_refusal=True)


@pytest.mark.parametrize(
    ("lost", "max_failed", "was_accepted", "allows"),
    [
        ([], 1, False, True),
        ([FAILED], 1, True, False),
        ([FAILED, FAILED], 3, True, True),
        ([FAILED, FAILED, FAILED], 3, True, False),
        ([TIMED_OUT, TIMED_OUT], 1, True, True),
        ([TIMED_OUT, TIMED_OUT, TIMED_OUT], 1, True, False),
        ([TIMED_OUT] * 8 + [FAILED] * 2, 3, True, True),
        ([TIMED_OUT] * 9, 3, True, False),
        ([REFUSED] * 8 + [FAILED] * 2, 3, False, True),
        ([REFUSED] * 9, 3, False, False),
        ([REFUSED] * 90, 3, True, True),
    ],
)
def test_timeouts_and_refusals_are_no_failures_but_their_number_is_limited(
    lost: list[AttemptFailure], max_failed: int, was_accepted: bool, allows: bool
) -> None:
    failures = AttemptFailures()
    counts = [failures.add(failure) for failure in lost]
    assert failures.allow_retry(max_failed, was_accepted=was_accepted) is allows
    assert counts == [*range(1, len(lost) + 1)]


def test_each_timeout_gives_the_next_attempt_more_time() -> None:
    failures = AttemptFailures()
    found = [failures.scale_timeout(TIMEOUT)]
    for failure in [FAILED, TIMED_OUT, TIMED_OUT, TIMED_OUT, TIMED_OUT]:
        failures.add(failure)
        found.append(failures.scale_timeout(TIMEOUT))
    assert found == [10, 10, 20, 40, 80, 80]


def test_each_refusal_makes_the_pause_longer() -> None:
    failures = AttemptFailures()
    pauses = [(failures.add(REFUSED), failures.pause)[1] for _ in range(6)]
    assert pauses == [5, 10, 20, 40, 60, 60]
