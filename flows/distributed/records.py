"""What a dataset run hands to the processes that generate its batches, and what they report back.

All of it is small JSON in the folder `batches` of the dataset, because the storage is the one thing
that all machines have in common. `run.json` says how to generate; `batch_00003.try-1.json` is the
record of one try at a batch. The run writes the record when it asks for the try; from then on it
belongs to the process that makes the try, which keeps it current while it is at work.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from dd_core import errors
from dd_core.dataset.run_config import RunConfig
from dd_core.errors import ArtifactStorageError, DataDesignerError, DataDesignerGenerationError
from dd_core.models.config import ModelProvider
from dd_core.models.usage import Budget
from dd_core.storage.dropped_rows import DroppedRow

from ..session import BatchProgress

if TYPE_CHECKING:
    from dd_core.storage.directory import DatasetDirectory


_FOLDER = "batches"
_RUN = f"{_FOLDER}/run.json"
_STOP = f"{_FOLDER}/stop.json"
_RECORD = re.compile(r"batch_(\d+)\.try-(\d+)\.json$")
_Content = TypeVar("_Content", bound=BaseModel)


class RunSpec(BaseModel):
    """How the batches of a dataset are to be generated."""

    run: str
    """Id of the dataset's flow run."""
    fingerprint: str
    """The plan's; another one means other code, other kinds or another seed file."""
    seed: int
    num_records: int
    run_config: RunConfig
    model_providers: list[ModelProvider | str] | None
    """With references to keys, never keys; texts name blocks of Prefect that hold the whole
    provider. None for those that the worker has by default."""
    retry_failed: bool = False

    def write(self, directory: DatasetDirectory) -> None:
        """Write it, and forget that an earlier run was stopped."""
        directory.write_text(_STOP, "{}")
        directory.write_text(_RUN, self.model_dump_json(indent=2))

    @classmethod
    def read(cls, directory: DatasetDirectory) -> RunSpec:
        """What the dataset's run has written; raises `ArtifactStorageError` if it has not."""
        found = _read(directory, _RUN, cls)
        if found is None:
            raise ArtifactStorageError(
                f"{directory.path} is no dataset whose batches are generated elsewhere: there is "
                f"no readable {_RUN}. Give the folder that generate_dataset made with batches_on, "
                "as this machine sees it"
            )
        return found


class AttemptState(StrEnum):
    """How far a try at a batch has come."""

    ASKED = "asked for"
    AT_WORK = "at work"
    DONE = "done"
    STOPPED = "stopped"
    """Cut short; what was complete is in the part, the rest in the journal."""
    FAILED = "failed"


class RemoteError(BaseModel):
    """An error, as another process can read it."""

    kind: str
    """Name of its class."""
    message: str

    @classmethod
    def of(cls, error: BaseException) -> RemoteError:
        """The error as text."""
        return cls(kind=type(error).__name__, message=str(error))

    @property
    def error(self) -> DataDesignerError:
        """The error again."""
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, DataDesignerError):
            return kind(self.message)
        return DataDesignerGenerationError(f"{self.kind}: {self.message}")


class BatchRecord(BaseModel):
    """One try at a batch: who makes it, how far it is, and what it came to."""

    index: int
    attempt: int
    run: str = ""
    """Id of the flow run of the dataset that asked for it."""
    key: str = ""
    """Under which Prefect knows the try, so that it is not started twice."""
    share: Budget | None = None
    """What this try may take of the dataset's budget."""
    owner: str = ""
    """The process that makes the try."""
    beats: int = 0
    """Signs of life so far."""
    state: AttemptState = AttemptState.ASKED
    rows: int = 0
    dropped: int = 0
    columns: dict[str, tuple[int, int, int]] = Field(default_factory=dict)
    """Cells done, skipped and dropped by column."""
    usage: dict[str, dict[str, dict[str, int | float]]] = Field(default_factory=dict)
    """Counts by model alias and column."""
    times: dict[str, dict[str, int | float]] = Field(default_factory=dict)
    """Seconds by column, of what its cells were doing."""
    examples: list[DroppedRow] = Field(default_factory=list[DroppedRow])
    """Some of the dropped rows."""
    preview: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    """First rows of the dataset; only in the first batch."""
    complaint: RemoteError | None = None
    """Why it was stopped or failed."""

    @property
    def progress(self) -> BatchProgress:
        """What the attempt has reported for people to see."""
        return BatchProgress(self.columns, self.dropped, self.examples, self.preview)

    @property
    def attempt_id(self) -> tuple[int, int]:
        """Batch and number of the attempt."""
        return self.index, self.attempt

    @property
    def is_done(self) -> bool:
        """Whether the batch is finished."""
        return self.state is AttemptState.DONE

    @property
    def is_over(self) -> bool:
        """Whether its process has said that it has ended."""
        return self.state not in (AttemptState.ASKED, AttemptState.AT_WORK)

    def write(self, directory: DatasetDirectory) -> None:
        """Replace the record in the storage."""
        directory.write_text(_name(self.index, self.attempt), self.model_dump_json())

    @classmethod
    def read(cls, directory: DatasetDirectory, index: int, attempt: int) -> BatchRecord | None:
        """The record of a try, if there is one."""
        return _read(directory, _name(index, attempt), cls)

    @classmethod
    def all(cls, directory: DatasetDirectory) -> list[BatchRecord]:
        """The records of all tries; those of one batch in the order of the tries."""
        found = [match for name in directory.names(_FOLDER) if (match := _RECORD.search(name))]
        tries = sorted((int(match[1]), int(match[2])) for match in found)
        records = [cls.read(directory, index, attempt) for index, attempt in tries]
        return [record for record in records if record is not None]


def request_stop(directory: DatasetDirectory, reason: BaseException) -> None:
    """Have all processes at work on batches of a dataset stop at their next sign of life."""
    directory.write_text(_STOP, RemoteError.of(reason).model_dump_json())


def read_stop_request(directory: DatasetDirectory) -> DataDesignerError | None:
    """Why the processes are to stop; None if they are not."""
    complaint = _read(directory, _STOP, RemoteError)
    return complaint.error if complaint else None


def _name(index: int, attempt: int) -> str:
    return f"{_FOLDER}/batch_{index:05d}.try-{attempt}.json"


def _read(directory: DatasetDirectory, name: str, kind: type[_Content]) -> _Content | None:
    text = directory.read_text(name)
    try:
        return None if text is None else kind.model_validate_json(text)
    except ValidationError:
        return None
