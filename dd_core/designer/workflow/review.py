"""Decisions of people about the rows of a stage, which other stages wait for.

The folder of the stage has one file of decisions, to which lines are only appended. A decision is
about a row as it was when it was reviewed: the address and a hash of the values. If the row is
generated again with other values, it has to be reviewed again.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import orjson

from dd_core.dataset.workflow.steps import ADDRESS, Losses, list_addresses
from dd_core.designer.workflow.inputs import hash_rows
from dd_core.errors import DataDesignerWorkflowError
from dd_core.storage.arrow import convert_column, to_array
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.files.parquet import read_parquet
from dd_core.storage.location import Location, put, read_content

if TYPE_CHECKING:
    import pyarrow as pa

_FILE = "reviews.jsonl"
DECISION, COMMENT = "review_decision", "review_comment"
"""Columns of an exported file, next to those of the rows."""

Decided = Literal["accept", "edit", "reject"]


class ReviewPendingError(DataDesignerWorkflowError):
    """Rows have not been reviewed yet, so the stages that use them wait."""


@dataclass(frozen=True)
class Decision:
    """What a person decided about a row."""

    address: str
    hash: str
    """Hash of the values that were reviewed."""
    decision: Decided
    by: str
    at: str
    """Time of the decision, ISO 8601 with time zone."""
    values: Mapping[str, Any] | None = None
    """The values of an edited row that were changed."""
    comment: str = ""


class Reviews:
    """The decisions about the rows of a stage."""

    def __init__(self, folder: Location) -> None:
        self._path = folder / _FILE
        self._decisions: dict[tuple[str, str], Decision] = {}
        try:
            lines = read_content(self._path).splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            decision = Decision(**orjson.loads(line))
            self._decisions[decision.address, decision.hash] = decision

    def add(self, decisions: Iterable[Decision]) -> None:
        """Store decisions; a later one about the same row replaces an earlier one."""
        for decision in decisions:
            self._decisions[decision.address, decision.hash] = decision
        lines = [orjson.dumps(vars(each)) for each in self._decisions.values()]
        put(self._path, b"\n".join([*lines, b""]))

    def find(self, address: str, known: str) -> Decision | None:
        """The decision about a row; None if there is none."""
        return self._decisions.get((address, known))

    def count(self, tables: Iterable[pa.Table]) -> Counter[str]:
        """The rows by decision; `undecided` are those without one."""
        counts: Counter[str] = Counter()
        for table in tables:
            for decision in self._find_all(table):
                counts[decision.decision if decision is not None else "undecided"] += 1
        return counts

    def apply(self, table: pa.Table, losses: Losses) -> pa.Table:
        """Return the rows as they were decided; raises `ReviewPendingError`."""
        import pyarrow as pa

        decisions = [*self._find_all(table)]
        if undecided := decisions.count(None):
            raise ReviewPendingError(f"{undecided} rows have not been reviewed")
        found = cast("list[Decision]", decisions)
        edits = {row: each.values for row, each in enumerate(found) if each.values}
        for name in dict.fromkeys(name for values in edits.values() for name in values):
            changed: list[Any] = table.column(name).to_pylist()
            for row, values in edits.items():
                if name in values:
                    changed[row] = values[name]
            kept: Any = table.column(name)
            array = to_array(changed, declared=kept.type)
            table = table.set_column(table.column_names.index(name), name, array)
        stays = [each.decision != "reject" for each in found]
        losses["rejected in the review"] += stays.count(False)
        return table.filter(pa.array(stays, pa.bool_()))

    def _find_all(self, table: pa.Table) -> Iterator[Decision | None]:
        for address, known in zip(list_addresses(table), hash_rows(table), strict=True):
            yield self.find(str(address), known)


def export_rows(
    directory: DatasetDirectory, reviews: Reviews, path: Path, *, pending_only: bool
) -> int:
    """Write rows with columns for decisions to a `.jsonl` or `.csv` file; returns their number."""
    rows: list[dict[str, Any]] = []
    for table in directory.tables():
        records: list[dict[str, Any]] = table.to_pylist()
        for record, known in zip(records, hash_rows(table), strict=True):
            decision = reviews.find(str(record[ADDRESS]), known)
            if decision is None or not pending_only:
                shown = {DECISION: decision.decision if decision is not None else "", COMMENT: ""}
                rows.append({**record, **shown})
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*rows[0]] if rows else [ADDRESS])
            writer.writeheader()
            writer.writerows({name: _to_cell(value) for name, value in row.items()} for row in rows)
    elif path.suffix == ".jsonl":
        path.write_bytes(b"".join(orjson.dumps(row, default=str) + b"\n" for row in rows))
    else:
        raise DataDesignerWorkflowError(f"{str(path)!r} must end with .jsonl or .csv")
    return len(rows)


def import_rows(
    directory: DatasetDirectory,
    reviews: Reviews,
    path: Path | None,
    by: str,
    rest: Decided | None = None,
) -> Counter[str]:
    """Store the decisions in a file that was exported and edited; returns their numbers.

    A row whose values were changed is edited. Rows that nobody has decided about, in this file or
    before, are decided as `rest` says; without it, they stay undecided.
    """
    given = {str(row[ADDRESS]): row for row in (_read_file(path) if path is not None else ())}
    from_text = path is not None and path.suffix == ".csv"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made: list[Decision] = []
    known_addresses: set[str] = set()
    for part in directory.files():
        table = read_parquet(part)
        records: list[dict[str, Any]] = table.to_pylist()
        for record, known in zip(records, hash_rows(table), strict=True):
            address = str(record[ADDRESS])
            known_addresses.add(address)
            row = given.get(address, {})
            values = _find_edits(record, row, table, from_text=from_text)
            before = reviews.find(address, known)
            decided = _parse_decision(row, address) or ("edit" if values else None)
            if decided is None and before is None:
                decided = rest
            is_known = before is not None and before.decision == decided and not values
            if decided is None or is_known:
                continue
            edits = values if decided != "reject" and values else None
            kind = "edit" if edits else decided
            comment = str(row.get(COMMENT) or "")
            made.append(Decision(address, known, kind, by, now, edits, comment))
    if unknown := sorted(given.keys() - known_addresses):
        raise DataDesignerWorkflowError(
            f"{str(path)!r} has a row with the address {unknown[0]!r}, which the stage does not "
            "have; export the rows again"
        )
    reviews.add(made)
    return Counter(each.decision for each in made)


def _read_file(path: Path) -> Iterator[dict[str, Any]]:
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows: list[dict[str, Any]] = [*csv.DictReader(file)]
        else:
            rows = [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataDesignerWorkflowError(f"{str(path)!r} cannot be read: {error}") from error
    for row in rows:
        if ADDRESS not in row:
            raise DataDesignerWorkflowError(f"{str(path)!r} has no column {ADDRESS!r}; keep it")
        yield row


def _parse_decision(row: Mapping[str, Any], address: str) -> Decided | None:
    given = str(row.get(DECISION) or "").strip().lower()
    if given and given not in get_args(Decided):
        raise DataDesignerWorkflowError(
            f"the row {address!r} has the decision {given!r}; use accept, edit or reject"
        )
    return cast("Decided | None", given or None)


def _find_edits(
    record: Mapping[str, Any], row: Mapping[str, Any], table: pa.Table, *, from_text: bool
) -> dict[str, Any]:
    """The values of a row that differ from those of the stage."""
    found: dict[str, Any] = {}
    for name, value in record.items():
        if name == ADDRESS or name not in row:
            continue
        given = row[name]
        if from_text:
            if given != _to_cell(value):
                found[name] = _parse_cell(given, name, table)
        elif orjson.dumps(given, default=str) != orjson.dumps(value, default=str):
            found[name] = given
    return found


def _to_cell(value: Any) -> str:
    if value is None or isinstance(value, str | int | float):
        return "" if value is None else str(value)
    return orjson.dumps(value, default=str).decode()


def _parse_cell(text: str, name: str, table: pa.Table) -> Any:
    """The value that a cell of a CSV file stands for, given the type of the column."""
    import pyarrow as pa

    column: Any = table.column(name)
    kind: Any = column.type
    try:
        if pa.types.is_nested(kind):
            return orjson.loads(text) if text else None
        array: Any = pa.array([text or None], pa.string())
        return convert_column(array, kind).to_pylist()[0] if not pa.types.is_string(kind) else text
    except (ValueError, TypeError) as error:
        raise DataDesignerWorkflowError(
            f"column {name!r} holds {kind}, and {text!r} is none: {error}"
        ) from error
