"""The `dataset` seed source: the rows of a dataset that was generated before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator

from dd_core.declaration.own_fields import OWN
from dd_core.declaration.trust import require_trust
from dd_core.declaration.written import Address, check_key
from dd_core.errors import ArtifactStorageError, Problem, SeedDatasetError
from dd_core.kinds.seeds._files import LocalFiles, RemoteFiles, open_table
from dd_core.kinds.seeds.seed import SeedSource, SeedTable
from dd_core.storage.directory import ROWS_FOLDER, DatasetDirectory, require_folder_name
from dd_core.storage.location import parse_location
from dd_core.storage.versions import Versions, find_current

_LATEST = "latest"


class DatasetSeedSource(SeedSource):
    """The rows of a dataset, or of one of its versions."""

    seed_type: Annotated[Literal["dataset"], OWN] = "dataset"
    path: Address
    """Folder of the dataset, such as `artifacts/reviews`. A relative path is relative to the
    working directory. URLs such as `s3://bucket/reviews` are read with the credentials of the
    environment."""
    version: str = Field(default=_LATEST, min_length=1)
    """Name of a version, or `latest` (default): the newest version that passed its gates, or the
    rows of a dataset without versions."""

    @field_validator("path", mode="before")
    @classmethod
    def _is_a_path(cls, given: Any) -> str:
        require_trust(f"reads the dataset {str(given)!r}")
        if not str(given).strip():
            raise ValueError("path must not be empty; name the folder of a dataset")
        return str(given)

    @field_validator("version")
    @classmethod
    def _is_a_folder_name(cls, given: str) -> str:
        try:
            require_folder_name("version", given)
        except ArtifactStorageError as error:
            raise ValueError(str(error)) from None
        return given

    def problems(self, place: str) -> Iterator[Problem]:
        """A dataset or a version that does not exist."""
        found = [*check_key(f"{place}.path", self.path)] if "://" in self.path else []
        yield from found
        if found:
            return
        try:
            directory = self._find()
        except ArtifactStorageError as error:
            yield Problem(f"{place}.path", str(error))
            return
        if not directory.has_content:
            names = Versions.around(directory).names()
            known = f"; versions are {', '.join(names)}" if names else "; check the path"
            field = "version" if names else "path"
            message = f"there is no dataset in {str(directory.path)!r}{known}"
            yield Problem(f"{place}.{field}", message)

    def resolve_paths(self) -> Self:
        """Return the source with an absolute path."""
        if "://" in self.path:
            return self
        return self.model_copy(update={"path": str(self.locate(self.path))})

    def open(self) -> SeedTable:
        """The table of the rows; raises `SeedDatasetError` if files are missing or damaged."""
        try:
            folder = self._find().path / ROWS_FOLDER
        except ArtifactStorageError as error:
            raise SeedDatasetError(str(error)) from error
        pattern = str(folder / "*.parquet")
        return open_table(LocalFiles(pattern) if isinstance(folder, Path) else RemoteFiles(pattern))

    def _find(self) -> DatasetDirectory:
        """The folder with the rows. Raises `ArtifactStorageError`."""
        given = self.path if "://" in self.path else self.locate(self.path)
        place = parse_location(given)
        if self.version == _LATEST:
            return find_current(DatasetDirectory(place))
        return DatasetDirectory.place_version(place, self.version)
