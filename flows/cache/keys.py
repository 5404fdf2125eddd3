"""Keys in the result storage: which file holds which column of which rows.

A column's file is `<column>/<fingerprint>/rows-<first>-<last>.parquet`, a batch's rows are
`parts/<fingerprint>/rows-<first>-<last>.parquet`. Prefect's record of each lies beside it, with
`.json` appended. Neither names a run, so that all runs find what was generated.
"""

from __future__ import annotations

import re
from hashlib import sha256
from urllib.parse import quote, unquote

from dd_core.dataset.plan import Plan
from dd_core.storage.batch import Batch
from dd_core.storage.location import Location

ROW = "__row"
"""In a column's file, the row's index in the dataset."""
SKIPPED = "__skipped"
"""In a column's file, whether the cell was skipped."""
PARTS = "parts"
"""The folder of the batches' rows."""
_KEY = re.compile(
    r"(?P<column>[^/]+)/(?P<fingerprint>[0-9a-f]{16}(-[0-9a-f]{8})?)"
    r"/rows-(?P<start>\d{9,})-(?P<stop>\d{9,})\.parquet(?P<record>\.json)?"
)


def make_column_folders(plan: Plan, dataset: Location) -> dict[str, str]:
    """Where each column's files are.

    Columns whose values name files in the dataset's folder are kept for this dataset alone.
    """
    own = f"-{sha256(str(dataset).encode()).hexdigest()[:8]}"
    return {
        name: f"{_folder(name)}/{planned.fingerprint}{own if planned.column.writes_files else ''}"
        for name, planned in plan.columns.items()
    }


def make_column_keys(plan: Plan, batch: Batch, dataset: Location) -> dict[str, str]:
    """The key of every column in a batch."""
    folders = make_column_folders(plan, dataset)
    return {name: make_key(folder, batch.start, batch.stop) for name, folder in folders.items()}


def make_part_key(plan: Plan, batch: Batch) -> str:
    """The key of a batch's rows."""
    return make_key(f"{PARTS}/{plan.fingerprint}", batch.start, batch.stop)


def make_key(folder: str, start: int, stop: int) -> str:
    """The key of a range of rows."""
    return f"{folder}/rows-{start:09d}-{stop:09d}.parquet"


def parse_range(key: str) -> tuple[int, int] | None:
    """The rows that a key stands for; None for records and files that are not ours."""
    found = _KEY.fullmatch(key)
    if found is None or found["record"]:
        return None
    return int(found["start"]), int(found["stop"])


def parse_owner(key: str) -> tuple[str, str] | None:
    """Folder and fingerprint of a result or of its record; None for files that are not ours."""
    found = _KEY.fullmatch(key)
    return (found["column"], found["fingerprint"]) if found is not None else None


def parse_column(folder: str) -> str:
    """The column that a folder's name stands for."""
    return unquote(folder)


def _folder(column: str) -> str:
    """Any column name as the name of a folder, of which none is that of the parts."""
    folder = quote(column, safe=" ()+,@=").replace("~", "%7E")
    if not folder.strip("."):
        folder = folder.replace(".", "%2E")
    return f"%{ord(PARTS[0]):02X}{PARTS[1:]}" if folder == PARTS else folder
