"""Keys in the result storage: which file contains which column of which rows.

The key of a column is `<column>/<fingerprint>/rows-<first>-<last>.parquet`. The key of a batch's
rows is `parts/<fingerprint>/rows-<first>-<last>.parquet`. Prefect's metadata for a result is stored
next to it, with `.json` appended to the key. Keys do not contain the run, so every run finds what
other runs generated.
"""

from __future__ import annotations

import re
from hashlib import sha256
from urllib.parse import quote, unquote

from dd_core.dataset.plan import Plan
from dd_core.storage.batch import Batch
from dd_core.storage.location import Location

ROW = "__row"
"""Field of a column's file: the row's index in the dataset."""
SKIPPED = "__skipped"
"""Field of a column's file: whether the cell was skipped."""
PARTS = "parts"
"""Folder of the rows of batches."""
_LONGEST_FOLDER = 255
"""Characters of a folder's name that every file system allows."""
_KEY = re.compile(
    r"(?P<column>[^/]+)/(?P<fingerprint>[0-9a-f]{16}(-[0-9a-f]{8})?)"
    r"/rows-(?P<start>\d{9,})-(?P<stop>\d{9,})\.parquet(?P<record>\.json)?"
)


def make_column_folders(plan: Plan, dataset: Location) -> dict[str, str]:
    """The folder of each column.

    A column whose values are of no use to other datasets has a separate folder for each dataset.
    """
    own = f"-{sha256(str(dataset).encode()).hexdigest()[:8]}"
    return {
        name: f"{_folder(name)}/{planned.fingerprint}{own if plan.is_private(planned) else ''}"
        for name, planned in plan.columns.items()
        if not planned.column.is_internal
    }


def make_column_keys(plan: Plan, batch: Batch, dataset: Location) -> dict[str, str]:
    """The keys of the columns of a batch."""
    folders = make_column_folders(plan, dataset)
    return {name: make_key(folder, batch.start, batch.stop) for name, folder in folders.items()}


def make_part_key(plan: Plan, batch: Batch) -> str:
    """The key of a batch's rows."""
    return make_key(f"{PARTS}/{plan.fingerprint}", batch.start, batch.stop)


def make_key(folder: str, start: int, stop: int) -> str:
    """The key of a range of rows."""
    return f"{folder}/rows-{start:09d}-{stop:09d}.parquet"


def parse_range(key: str) -> tuple[int, int] | None:
    """The range of rows of a result; None for metadata and for files of others."""
    found = _KEY.fullmatch(key)
    if found is None or found["record"]:
        return None
    return int(found["start"]), int(found["stop"])


def parse_owner(key: str) -> tuple[str, str] | None:
    """Folder and fingerprint of a result or its metadata; None for files of others."""
    found = _KEY.fullmatch(key)
    return (found["column"], found["fingerprint"]) if found is not None else None


def parse_column(folder: str) -> str:
    """The name of the column that a folder belongs to."""
    return unquote(folder)


def _folder(column: str) -> str:
    """A folder name for any column name; never the name of the folder of the batches' rows."""
    folder = quote(column, safe=" ()+,@=").replace("~", "%7E")
    if not folder.strip("."):
        folder = folder.replace(".", "%2E")
    if len(folder) > _LONGEST_FOLDER:
        digest = sha256(column.encode()).hexdigest()[:16]
        return f"{folder[: _LONGEST_FOLDER - 20].rstrip('%')}~{digest}"
    return f"%{ord(PARTS[0]):02X}{PARTS[1:]}" if folder == PARTS else folder
