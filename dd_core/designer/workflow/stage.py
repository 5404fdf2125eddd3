"""Runs one stage of a workflow: chooses its dataset, and generates its rows as they arrive."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from dd_core.dataset.compile import reseed
from dd_core.dataset.plan import Plan, digest
from dd_core.dataset.planning.demand import find_batches
from dd_core.dataset.run_config import RunConfig
from dd_core.dataset.workflow.plan import DEFAULT_ROWS, StagePlan
from dd_core.designer.dataset_run import RunSteps
from dd_core.designer.results import DatasetCreationResults, open_results
from dd_core.designer.workflow.carry import EarlierRows
from dd_core.designer.workflow.edges import Edge
from dd_core.designer.workflow.feed import NotThereYetError, StageFeed
from dd_core.designer.workflow.inputs import StageInput, hash_rows, make_digest
from dd_core.designer.workflow.manifest import StageRecord
from dd_core.designer.workflow.review import ReviewPendingError, Reviews
from dd_core.engine.batch_run import BatchRun
from dd_core.engine.batches import generate_batches
from dd_core.engine.engine import Engine
from dd_core.engine.run import is_finished, record_progress_sometimes
from dd_core.errors import DataDesignerGenerationError
from dd_core.storage.batch import Batch, DroppedRow, Part, find_missing
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.location import Location, list_paths


class StageRun:
    """One stage of a run."""

    def __init__(
        self,
        plan: StagePlan,
        sources: Sequence[StageRun],
        folder: Location,
        record: StageRecord,
        seed: int,
    ) -> None:
        self.plan = plan
        self.record = record
        self.sources = sources
        self.folder = folder
        """The folder of the stage, which contains its datasets."""
        self.is_unchanged = False
        """Whether a run of the stage would change nothing."""
        self.seed = derive_seed(seed, plan.name)
        self.settings = _adapt_settings(plan.run_config, self.seed)
        self.inputs: StageInput | None = None
        self.edge: Edge | None = None
        if sources:
            feeds = [source.feed for source in sources]
            self.edge = Edge(plan, [source.plan for source in sources], feeds)
        self.earlier_rows: EarlierRows | None = None
        """The rows of an earlier dataset of the stage, some of which can be reused."""
        self._pending: list[Batch] = []
        self.feed: StageFeed
        self.directory: DatasetDirectory

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def requested(self) -> int:
        """Rows to generate, as far as they are known."""
        if self.inputs is not None:
            return max(self.inputs.stop, 1)
        return self.plan.stage.num_records or DEFAULT_ROWS

    async def prepare(self, *, retry_failed: bool) -> None:
        """Choose the dataset of the stage: an earlier one that fits, or a new one."""
        identity = digest([self.plan.identity, self.seed])[:10]
        before = self.record.folder
        found = [each for each in self._list_folders(identity) if each != before]
        if self.record.identity == identity and before:
            found.insert(0, before)
        arrived = await self._list_arrived()
        for name in found:
            if self._fits(name, arrived):
                self._open(name)
                break
        else:
            self._open(_choose_name(identity, found))
            if before and before != self.directory.path.name:
                self.record.earlier = before
        self.record.folder, self.record.identity = self.directory.path.name, identity
        self._find_pending(retry_failed=retry_failed)
        self._connect_earlier()
        if self._check_unchanged(arrived):
            self.is_unchanged = True
            self.feed.finish()

    def _list_folders(self, identity: str) -> list[str]:
        names = [path.name for path in list_paths(self.folder, f"{identity}*")]
        return sorted(names, key=lambda name: int(name.partition("-")[2] or 1), reverse=True)

    def _open(self, name: str) -> None:
        self.directory = DatasetDirectory(self.folder / name)
        reviews = Reviews(self.folder) if self.plan.stage.review else None
        streams = self.plan.is_streamed
        self.feed = StageFeed(self.directory, is_streamed=streams, reviews=reviews)
        if self.plan.inputs is not None:
            self.inputs = StageInput(self.directory.path, self.plan.inputs)

    def _fits(self, name: str, arrived: _Arrived) -> bool:
        """Whether the dataset in a folder was made from the rows that arrive now."""
        directory = DatasetDirectory(self.folder / name)
        if self.plan.inputs is None:
            return directory.metadata.target_num_records <= self.requested
        recorded = [c.digest for c in StageInput(directory.path, self.plan.inputs).chunks]
        return arrived.digests[: len(recorded)] == recorded

    async def _list_arrived(self) -> _Arrived:
        """The rows that can arrive without waiting for others."""
        digests: list[str] = []
        if self.edge is None:
            return _Arrived(digests, is_complete=True)
        try:
            async for table in self.edge.read(wait=False):
                digests += [make_digest(table, hash_rows(table))]
        except (NotThereYetError, ReviewPendingError):
            return _Arrived(digests, is_complete=False)
        return _Arrived(digests, is_complete=True)

    def _find_pending(self, *, retry_failed: bool) -> None:
        """Find the batches that have to be generated among those that are known."""
        directory, size = self.directory, self.settings.buffer_size
        parts: list[Part] = directory.parts() if directory.has_content else []
        if self.inputs is None:
            self._pending = find_batches(
                self.plan.plan, directory, self.requested, size, retry_failed=retry_failed
            )
        else:
            lost = directory.list_lost() if directory.has_content else []
            self._pending = find_missing(
                parts, self.inputs.stop, size, lost, retry_failed=retry_failed
            )
        again = {batch.start for batch in self._pending}
        self.parts = [part for part in parts if part.start not in again]
        self.feed.add_parts(self.parts)

    def _connect_earlier(self) -> None:
        name = self.record.earlier
        if not name or name == self.record.folder or not (self.folder / name).is_dir():
            self.record.earlier = ""
            return
        earlier = DatasetDirectory(self.folder / name)
        known = self.plan.inputs
        self.earlier_rows = EarlierRows(
            earlier, StageInput(earlier.path, known) if known is not None else None
        )

    def _check_unchanged(self, arrived: _Arrived) -> bool:
        """Whether a run of the stage would change nothing."""
        if self._pending or not all(source.is_unchanged for source in self.sources):
            return False
        if self.inputs is not None:
            if not arrived.is_complete or len(arrived.digests) != len(self.inputs.chunks):
                return False
            if not self.inputs.chunks:
                return self.directory.metadata.is_settled is True
        plan = reseed(self.plan.plan, self.seed)
        expected = {
            "config_hash": str(self.plan.config.fingerprint()["config_hash"]),
            "plan_hash": self.plan.plan.fingerprint,
        }
        rows = self.directory.metadata.target_num_records
        wanted = rows if self.inputs is not None else self.requested
        return is_finished(self.directory, plan, self.settings, wanted, expected)

    def find_batches(self) -> Any:
        """The batches to generate: a list, or an iterator if rows arrive from other stages."""
        return self._pending if self.edge is None else self._iterate_batches()

    def settle_size(self) -> int:
        """Record how many rows have arrived, when all of them have; returns the number."""
        if self.inputs is not None:
            self.directory.write_metadata(target_num_records=self.inputs.stop)
        return self.requested if self.inputs is None else self.inputs.stop

    async def _iterate_batches(self) -> AsyncIterator[Batch]:
        """Yield the batches to generate: those of earlier rows, then those of rows that arrive."""
        assert self.inputs is not None and self.edge is not None
        for batch in self._pending:
            yield batch
        known = iter([chunk.digest for chunk in self.inputs.chunks])
        indexes = {part.index for part in self.parts} | {each.index for each in self._pending}
        async for table in self.edge.read():
            if (digest_before := next(known, None)) is not None:
                if make_digest(table, hash_rows(table)) != digest_before:
                    raise DataDesignerGenerationError(
                        f"the rows that arrive in stage {self.name!r} have changed since the run "
                        "started; run the workflow again"
                    )
                continue
            chunk = self.inputs.add(table)
            for first in range(chunk.start, chunk.stop, self.settings.buffer_size):
                index = max(indexes, default=-1) + 1
                indexes.add(index)
                size = min(self.settings.buffer_size, chunk.stop - first)
                yield Batch(index, first, size)

    def use(self, plan: Plan, directory: DatasetDirectory) -> None:
        """Use the dataset that was opened for the run."""
        self.directory = directory
        self.feed.directory = directory
        if (earlier := self.earlier_rows) is not None:
            directory.find_reusable = lambda batch: earlier.find(plan, batch, self.inputs)

    def reopen(self) -> None:
        """Read the dataset again, which another process has generated meanwhile."""
        self.directory = self.feed.directory = DatasetDirectory(self.directory.path)
        self.feed.add_parts(self.directory.parts())

    def open_results(self) -> DatasetCreationResults:
        """The results of the stage's dataset, as it is in its folder."""
        return open_results(self.directory)


class _Arrived:
    def __init__(self, digests: list[str], *, is_complete: bool) -> None:
        self.digests = digests
        self.is_complete = is_complete
        """Whether no further rows will arrive."""


class StageSteps(RunSteps):
    """The steps of a stage's run: its batches come from the stages before."""

    def __init__(self, engine: Engine, stage: StageRun) -> None:
        super().__init__(engine, stage.directory, stage.requested)
        self._stage = stage
        self._dropped: list[DroppedRow] = []

    @property
    def dropped(self) -> Sequence[DroppedRow]:
        return self._dropped

    async def generate(self, batches: Any) -> None:
        await generate_batches(self.engine, self.directory, batches, self._written)
        self.requested = self._stage.settle_size()

    def _written(self, run: BatchRun, path: Location | None) -> None:
        self._dropped.extend(run.dropped_rows())
        record_progress_sometimes(self.directory, self.engine)
        if run.stopped_by is None:
            self._stage.feed.add_batch(run.batch, path)


def derive_seed(seed: int, stage: str) -> int:
    """The seed of a stage, so that equal columns of two stages have other values."""
    found = hashlib.blake2b(f"{seed}/{stage}".encode(), digest_size=4).digest()
    return int.from_bytes(found, "little")


def _adapt_settings(given: RunConfig, seed: int) -> RunConfig:
    """The settings of a stage. Metrics are served once for the whole workflow."""
    return given.model_copy(update={"seed": seed, "otel_metrics_port": None})


def _choose_name(identity: str, taken: Sequence[str]) -> str:
    number = 1 + max((int(name.partition("-")[2] or 1) for name in taken), default=0)
    return identity if number == 1 else f"{identity}-{number}"
