"""The declared steps between the stages of a workflow: they filter, multiply, join or collect rows.

A step changes the columns of the rows (`change_columns`, before anything is generated) and the rows
themselves. Steps that look at one row at a time do so in `change_rows`. Those that need rows of
several stages, or several rows, are run by `dd_core/designer/workflow/edges.py`.
"""

from __future__ import annotations

from abc import ABC
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dd_core.declaration.kind import Declaration
from dd_core.errors import Problem, UserTemplateError
from dd_core.kinds.scope import list_known
from dd_core.storage.batch import NumberedRow, make_key
from dd_core.templates.template import Condition

if TYPE_CHECKING:
    import pyarrow as pa

ADDRESS = "row_address"
"""Column with the address of each row: the number of its row in a first stage, followed by one
ordinal for each time that rows were multiplied, as in `12.3`."""
SEPARATOR = "."

Losses = Counter[str]
"""Rows that a step left out, by reason."""


@dataclass(frozen=True)
class Columns:
    """The columns of rows on their way into a stage."""

    types: Mapping[str, Any]
    """Arrow types by column; None where the type follows from the values."""
    lineage: tuple[tuple[str, int], ...]
    """The stages that the rows come from, each with the number of parts of its addresses."""
    depth: int
    """Number of parts of the rows' addresses."""
    origins: Mapping[str, str] = field(default_factory=dict[str, str])
    """The stage that generated each column; columns that steps make have none yet."""
    is_ordered: bool = True
    """Whether rows arrive in the order of their addresses."""
    problems: list[Problem] = field(default_factory=list[Problem])

    def require(self, place: str, names: list[str]) -> bool:
        """Note names that do not exist; returns whether all of them do."""
        unknown = [name for name in names if name not in self.types]
        known = list_known("columns", frozenset(self.types))
        for name in unknown:
            message = f"refers to {name!r}, which the rows do not have; {known}"
            self.problems.append(Problem(place, message))
        return not unknown

    def find_depth(self, stage: str) -> int | None:
        """Number of parts of the addresses of a stage; None if the rows do not come from it."""
        return dict(self.lineage).get(stage)


class Step(Declaration, ABC):
    """Base class of steps."""

    def change_columns(self, place: str, columns: Columns) -> Columns:
        """Return the columns after the step, and note problems."""
        return columns

    def change_rows(self, table: pa.Table, losses: Losses) -> pa.Table:
        """Return the rows after the step, and count those that it leaves out."""
        return table


class FilterStep(Step):
    """Keeps the rows for which a condition is true."""

    type: Literal["filter"] = "filter"
    when: str
    """Jinja condition, for example `{{ verdict.ok.score >= 3 }}`. Rows for which it cannot be
    evaluated are left out."""

    @field_validator("when")
    @classmethod
    def _compiles(cls, given: str) -> str:
        Condition.compile(given)
        return given

    def change_columns(self, place: str, columns: Columns) -> Columns:
        """Check the names in the condition."""
        columns.require(f"{place}.when", sorted(Condition.compile(self.when).references))
        return columns

    def change_rows(self, table: pa.Table, losses: Losses) -> pa.Table:
        """Keep the rows for which the condition is true."""
        import pyarrow as pa

        condition = Condition.compile(self.when)
        names = sorted(condition.references)
        records: list[dict[str, Any]] = table.select(names).to_pylist()
        keys = [make_key(address) for address in list_addresses(table)]
        kept: list[bool] = []
        for record, key in zip(records, keys, strict=True):
            try:
                kept.append(condition.holds(NumberedRow(record, 0, "filter", key)))
            except UserTemplateError:
                kept.append(False)
                losses["the condition cannot be evaluated"] += 1
                losses["the condition is false"] -= 1
        losses["the condition is false"] += kept.count(False)
        return table.filter(pa.array(kept, pa.bool_()))


class ExplodeStep(Step):
    """Makes a row of each item of a list."""

    type: Literal["explode"] = "explode"
    column: str = Field(min_length=1)
    """Column with the lists, or a list within a column, such as `plan.topics`."""
    into: str = Field(min_length=1)
    """Name of the column with the items."""
    position: str | None = Field(default=None, min_length=1)
    """Name of a column with the position of the item in its list, counted from 0; default: none."""
    keep: bool = False
    """Whether the rows keep the column with the lists."""

    @property
    def _path(self) -> list[str]:
        return self.column.split(".")

    def change_columns(self, place: str, columns: Columns) -> Columns:
        """Replace the column with the lists by that with the items."""
        path = self._path
        if not columns.require(f"{place}.column", path[:1]):
            return columns
        kind = columns.types[path[0]]
        for name in path[1:]:
            kind = _find_field(kind, name)
        types = dict(columns.types)
        if not self.keep:
            del types[path[0]]
        for name, field_name in ((self.into, "into"), (self.position, "position")):
            if name in types:
                message = f"the rows already have a column {name!r}; choose another name"
                columns.problems.append(Problem(f"{place}.{field_name}", message))
        if kind is not None and not hasattr(kind, "value_type"):
            message = f"{self.column!r} holds {kind} instead of a list; explode a list"
            columns.problems.append(Problem(f"{place}.column", message))
        types[self.into] = getattr(kind, "value_type", None)
        if self.position is not None:
            types[self.position] = _integer()
        return replace(columns, types=types, depth=columns.depth + 1)

    def change_rows(self, table: pa.Table, losses: Losses) -> pa.Table:
        """Make the rows; each keeps the other columns of the row that it comes from."""
        import pyarrow as pa

        arrow: Any = pa
        path = self._path
        sources: list[int] = []
        ordinals: list[int] = []
        items: list[Any] = []
        for row, found in enumerate(table.column(path[0]).to_pylist()):
            for name in path[1:]:
                found = found.get(name) if isinstance(found, Mapping) else None  # pyright: ignore
            if not isinstance(found, list):
                losses["there is no list" if found is None else "it is not a list"] += 1
                continue
            if not found:
                losses["the list is empty"] += 1
            sources += [row] * len(found)  # pyright: ignore[reportUnknownArgumentType]
            ordinals += range(len(found))  # pyright: ignore[reportUnknownArgumentType]
            items += found
        made = table.take(arrow.array(sources, pa.int64()))
        if not self.keep:
            made = made.drop_columns([path[0]])
        made = append_ordinals(made, ordinals)
        made = made.append_column(self.into, _to_array(items))
        if self.position is not None:
            made = made.append_column(self.position, arrow.array(ordinals, pa.int64()))
        return made


class SelectStep(Step):
    """Keeps, removes or renames columns."""

    type: Literal["select"] = "select"
    columns: list[str] | None = None
    """Columns to keep; default: all."""
    drop: list[str] = Field(default_factory=list[str])
    """Columns to remove."""
    rename: dict[str, str] = Field(default_factory=dict[str, str])
    """New names by old name."""

    def change_columns(self, place: str, columns: Columns) -> Columns:
        """Keep, remove and rename columns."""
        for name, given in (
            ("columns", self.columns or []),
            ("drop", self.drop),
            ("rename", [*self.rename]),
        ):
            columns.require(f"{place}.{name}", given)
        if ADDRESS in self.rename or ADDRESS in self.drop:
            message = f"{ADDRESS} stays as it is, because it identifies the rows; leave it out"
            columns.problems.append(Problem(place, message))
        kept = self._list_kept([*columns.types])
        if len(set(kept.values())) < len(kept):
            message = "two columns would have the same name; choose other names"
            columns.problems.append(Problem(f"{place}.rename", message))
        origins = {kept[name]: stage for name, stage in columns.origins.items() if name in kept}
        types = {new: columns.types[old] for old, new in kept.items()}
        return replace(columns, types=types, origins=origins)

    def change_rows(self, table: pa.Table, losses: Losses) -> pa.Table:
        """Keep, remove and rename columns."""
        kept = self._list_kept(table.column_names)
        return table.select([*kept]).rename_columns([*kept.values()])

    def _list_kept(self, names: list[str]) -> dict[str, str]:
        wanted = names if self.columns is None else [ADDRESS, *self.columns]
        return {
            name: self.rename.get(name, name)
            for name in names
            if name in wanted and name not in self.drop
        }


class CollectStep(Step):
    """Puts rows together: those of one row of an earlier stage, or those with equal values."""

    type: Literal["collect"] = "collect"
    to: str | None = None
    """Stage whose rows the rows are collected to: those that come from the same row of this stage
    become one row, which has the columns of that stage and the lists."""
    by: list[str] | None = None
    """Columns whose values are equal in the rows that become one row. All rows have to be there
    before the first of them is made."""
    columns: list[str] = Field(min_length=1)
    """Columns that become lists."""

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if (self.to is None) == (self.by is None):
            raise ValueError("set either to, the name of a stage, or by, names of columns")
        return self

    def change_columns(self, place: str, columns: Columns) -> Columns:
        """Turn columns into lists."""
        columns.require(f"{place}.columns", self.columns)
        columns.require(f"{place}.by", self.by or [])
        depth = 1 if self.to is None else columns.find_depth(self.to)
        if depth is None:
            known = ", ".join(repr(name) for name, _ in columns.lineage)
            message = f"the rows do not come from the stage {self.to!r}; they come from {known}"
            columns.problems.append(Problem(f"{place}.to", message))
            return columns
        lists = {name: _list_of(columns.types.get(name)) for name in self.columns}
        kept = {name: columns.types.get(name) for name in self.list_kept(columns)}
        stages = [name for name, _ in columns.lineage]
        lineage = columns.lineage[: stages.index(self.to) + 1] if self.to is not None else ()
        return replace(
            columns,
            types={**kept, **lists},
            depth=depth,
            lineage=lineage,
            is_ordered=columns.is_ordered and self.to is not None,
        )

    def list_kept(self, columns: Columns) -> list[str]:
        """The columns of which a row has one value: the keys, or those of the stage `to`."""
        if self.by is not None:
            return [ADDRESS, *self.by]
        stages = [name for name, _ in columns.lineage]
        earlier: set[str] = set()
        if self.to in stages:
            earlier = {*stages[: stages.index(self.to) + 1]}
        inherited = [name for name, stage in columns.origins.items() if stage in earlier]
        kept = {ADDRESS, *inherited} - {*self.columns}
        return [name for name in columns.types if name in kept]


class JoinStep(Step):
    """Joins the rows of the first stage in `from` with rows of the others."""

    type: Literal["join"] = "join"
    on: list[str] | None = None
    """Columns with equal values in the rows that belong together. All rows of the other stages
    have to be there before the first row is made. Default: rows belong together if they come from
    the same row of the stage that both come from."""
    how: Literal["inner", "left"] = "inner"
    """What becomes of a row that no other row belongs to: it is left out and counted (`inner`,
    default), or its new columns are null (`left`)."""

    def list_added(self, left: Columns, right: Columns) -> list[str]:
        """The columns that rows of `left` get from those of `right`.

        Columns that both have from the same stage hold the same values, so `left` keeps its own.
        """
        shared = {name for name, stage in right.origins.items() if left.origins.get(name) == stage}
        return [name for name in right.types if name not in {ADDRESS, *shared, *(self.on or ())}]


class UnionStep(Step):
    """Puts the rows of all stages in `from` one below the other."""

    type: Literal["union"] = "union"
    source: str | None = Field(default=None, min_length=1)
    """Name of a column with the name of the stage that a row comes from; default: none."""


AnyStep = Annotated[
    FilterStep | ExplodeStep | SelectStep | CollectStep | JoinStep | UnionStep,
    Field(discriminator="type"),
]


def list_addresses(table: pa.Table) -> list[str]:
    """The addresses of rows."""
    found: Any = table.column(ADDRESS).to_pylist()
    return found


def append_ordinals(table: pa.Table, ordinals: list[int] | list[str]) -> pa.Table:
    """Append a part to the address of each row."""
    addresses = list_addresses(table)
    parts = zip(addresses, ordinals, strict=True)
    return replace_addresses(table, [f"{address}{SEPARATOR}{part}" for address, part in parts])


def replace_addresses(table: pa.Table, addresses: list[str]) -> pa.Table:
    """Return the rows with other addresses."""
    import pyarrow as pa

    index = table.column_names.index(ADDRESS)
    return table.set_column(index, ADDRESS, pa.array(addresses, pa.string()))


def find_ancestor(address: str, depth: int) -> str:
    """The address of the row that a row comes from: its first `depth` parts."""
    return SEPARATOR.join(address.split(SEPARATOR)[:depth])


def _to_array(values: list[Any]) -> Any:
    from dd_core.storage.arrow import to_array

    return to_array(values)


def _find_field(kind: Any, name: str) -> Any:
    """The type of a member of an object; None if it is not known."""
    names = [kind.field(index).name for index in range(getattr(kind, "num_fields", 0))]
    return kind.field(names.index(name)).type if name in names else None


def _list_of(kind: Any) -> Any:
    import pyarrow as pa

    return None if kind is None else pa.list_(kind)


def _integer() -> Any:
    import pyarrow as pa

    return pa.int64()
