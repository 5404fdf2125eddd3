"""One owner of a dataset: who is refused, who waits, and whose claim is void."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import DatasetInUseError
from dd_core.storage.access.ownership import OWNER, STALE_SECONDS, DatasetOwnership, OwnerClaim
from dd_core.storage.location import Location, parse_location, put, remove_tree
from tests.object_storage import ENVIRONMENT, s3_server
from tests.scripted import ScriptedModel, asking

_OWNER = """
import asyncio, sys, time
from dd_core.storage.access.ownership import DatasetOwnership
from dd_core.storage.location import parse_location
asyncio.run(DatasetOwnership(parse_location(sys.argv[1])).acquire())
print("owned", flush=True)
time.sleep(600)
"""


@contextmanager
def other_process(dataset: str) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the dataset until it is killed."""
    command = [sys.executable, "-c", _OWNER, dataset]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "owned\n"
            yield child
        finally:
            child.kill()


@pytest.fixture(params=["disk", "memory"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    place = tmp_path if request.param == "disk" else parse_location(f"memory://{tmp_path.name}")
    yield place / "d"
    remove_tree(place / "d")


def elsewhere(dataset: Location, **fields: object) -> Location:
    """Write the claim of a process on another machine; returns its file."""
    claim = OwnerClaim.of_this_process(None)
    changes = {"host": "far", "machine": "far", "is_owner": True, **fields}
    path = dataset / OWNER / f"{claim.token}.json"
    put(path, claim.model_copy(update=changes).model_dump_json().encode())
    return path


def refuse_then_generate(place: str, dataset: str) -> None:
    """A second process is refused before it spends anything, and takes over from a dead one."""
    model = ScriptedModel("fine", probes=True)
    designer = DataDesigner(place, transport=model, run_config=dd.RunConfig(seed=1))
    with other_process(dataset) as child:
        with pytest.raises(DatasetInUseError, match=rf"process {child.pid} of .* on .*, since 20"):
            designer.create(asking(), num_records=2, dataset_name="d", resume="if_possible")
        assert model.requests == []
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # not reaped: it is a zombie
        made = designer.create(asking(), num_records=2, dataset_name="d", resume="if_possible")
        assert made.count_records() == 2


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    refuse_then_generate(str(tmp_path), str(tmp_path / "d"))
    assert not (tmp_path / "d" / OWNER).exists()


@pytest.mark.slow
def test_a_second_process_is_refused_in_object_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as address:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": address}.items():
            monkeypatch.setenv(name, value)
        refuse_then_generate("s3://datasets/owned", "s3://datasets/owned/d")


async def test_a_dataset_has_one_owner_even_if_many_ask_at_once(dataset: Location) -> None:
    asking_for_it = [DatasetOwnership(dataset) for _ in range(4)]
    results = await asyncio.gather(
        *(each.acquire() for each in asking_for_it), return_exceptions=True
    )
    refused = [each for each in results if isinstance(each, DatasetInUseError)]
    assert len(refused) == 3
    assert results.count(None) == 1
    for each in asking_for_it:
        each.release()
    if isinstance(dataset, Path):
        assert not dataset.exists(), "a dataset that was never begun leaves nothing"


async def test_a_process_waits_if_it_is_asked_to(dataset: Location) -> None:
    first, second = DatasetOwnership(dataset), DatasetOwnership(dataset)
    await first.acquire()
    waiting = asyncio.create_task(second.acquire(wait=60.0))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    first.release()
    await waiting
    second.require()
    second.release()


async def test_the_next_attempt_at_a_flow_run_has_its_dataset_at_once(dataset: Location) -> None:
    first, retry = DatasetOwnership(dataset, "run"), DatasetOwnership(dataset, "run")
    await first.acquire()
    lost: list[DatasetInUseError] = []
    first.on_loss(lost.append)
    await retry.acquire()
    with pytest.raises(DatasetInUseError, match="no longer owns"):
        first.require()
    await asyncio.sleep(0)
    assert lost, "the earlier attempt stops"
    retry.require()
    retry.release()
    first.release()


async def test_another_machine_is_trusted_as_long_as_it_renews_its_claim(tmp_path: Path) -> None:
    path = elsewhere(tmp_path / "d")
    assert isinstance(path, Path)
    ownership = DatasetOwnership(tmp_path / "d")
    with pytest.raises(DatasetInUseError, match=r" on far, since"):
        await ownership.acquire()
    before = path.stat().st_mtime - STALE_SECONDS - 1
    os.utime(path, (before, before))
    await ownership.acquire()
    assert not path.exists()
    ownership.release()


async def test_a_number_of_a_process_that_is_used_again_is_no_owner(tmp_path: Path) -> None:
    machine = OwnerClaim.of_this_process(None).machine
    elsewhere(tmp_path / "d", machine=machine, pid=os.getppid(), started="1")
    ownership = DatasetOwnership(tmp_path / "d")
    await ownership.acquire()
    ownership.release()


async def test_a_file_that_is_not_a_claim_does_not_matter(dataset: Location) -> None:
    put(dataset / OWNER / "note.json", json.dumps([1]).encode())
    ownership = DatasetOwnership(dataset)
    await ownership.acquire()
    ownership.release()


def test_a_new_dataset_is_created_next_to_one_that_is_in_use(tmp_path: Path) -> None:
    elsewhere(tmp_path / "d")
    designer = DataDesigner(tmp_path, transport=ScriptedModel())
    made = designer.create(asking(), num_records=2, dataset_name="d", resume="never")
    assert str(made.dataset_path).startswith(f"{tmp_path}/d_")
