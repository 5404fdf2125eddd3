"""Other ways into a dataset: as a task, without `await`, and to what was accepted last."""

from functools import wraps
from typing import Any

from prefect import task
from pydantic import BaseModel

from dd_core import DataDesigner, DatasetCreationResults
from dd_core.designer.blocking import run_blocking

from .artifacts.summary import RunSummary
from .blocks.storage import resolve_location_here
from .dataset import generate_dataset

_generate: Any = generate_dataset


@wraps(generate_dataset.fn, assigned=["__doc__"])
def generate_dataset_sync(*args: Any, **kwargs: Any) -> RunSummary:
    return run_blocking(lambda: _generate(*args, **kwargs))


@task(name="generate-dataset")
@wraps(generate_dataset.fn, assigned=["__doc__", "__annotations__"])
async def generate_dataset_task(*args: Any, **kwargs: Any) -> RunSummary:
    summary: RunSummary = await _generate(*args, **kwargs)
    return summary


class AcceptedDataset(BaseModel):
    """A dataset that is ready to be read: the latest version, if it has versions."""

    dataset: str
    artifact_path: str
    path: str
    version: str | None
    """None if the dataset has no versions."""
    rows: int

    def open(self) -> DatasetCreationResults:
        """Open the dataset to read, profile or export its rows."""
        location = resolve_location_here(self.artifact_path)
        return DataDesigner(location).open(self.dataset, self.version)


@task(name="load-latest")
def load_latest(dataset_name: str, artifact_path: str = "artifacts") -> AcceptedDataset:
    """Find the version of a dataset that was accepted last, for flows that read it.

    Call it without `await`, in async flows too.

    Raises `ArtifactStorageError` if there is no dataset of this name, or none of its versions was
    accepted.

    Args:
        dataset_name: Name of the dataset.
        artifact_path: Folder or storage URL of the dataset, or `block:<name>` for a storage block.
    """
    found = DataDesigner(resolve_location_here(artifact_path)).open(dataset_name)
    return AcceptedDataset(
        dataset=dataset_name,
        artifact_path=artifact_path,
        path=str(found.dataset_path),
        version=found.directory.version,
        rows=found.count_records(),
    )
