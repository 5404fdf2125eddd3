"""Lists of candidates: several answers to one prompt, each from a hidden column of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import Row, RowColumn

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedTable

_VALUE, _MODEL = "value", "model"


def list_hidden_names(column: str, aliases: Sequence[str], count: int) -> dict[str, str]:
    """Return the alias of each hidden column by its name, in the order of the candidates.

    A name does not depend on `count` or on the other aliases, so answers stay valid when a
    configuration asks for more of them.
    """
    return {
        f"{column} ({alias}{f' {number}' if number > 1 else ''})": alias
        for alias in aliases
        for number in range(1, count + 1)
    }


def get_value(candidate: Any) -> Any:
    """Return the value of a candidate; anything else is returned as it is."""
    if isinstance(candidate, Mapping):
        members = cast("Mapping[str, Any]", candidate)
        if _VALUE in members and _MODEL in members:
            return members[_VALUE]
    return cast("Any", candidate)


class Candidates(Column):
    """Lists the values of hidden columns as `{value, model}`, with their side effects."""

    answers: Sequence[Column]
    """The hidden columns; they differ only in their names and models."""

    @property
    def required_columns(self) -> list[str]:
        """The hidden columns and their side effects."""
        return [name for each in self.answers for name in (each.name, *each.side_effect_columns)]

    @property
    def members(self) -> dict[str, str]:
        """Members of a candidate besides its value and model, by the suffix of a side effect."""
        first = self.answers[0]
        suffixes = [name.removeprefix(first.name) for name in first.side_effect_columns]
        return {suffix: suffix.strip("_") for suffix in suffixes}

    def identity(self) -> dict[str, Any]:
        """Return the declaration; the hidden columns are identified by their fingerprints."""
        return super().identity() | {"answers": [each.name for each in self.answers]}

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type of the lists, if that of the values is known."""
        import pyarrow as pa

        first = self.answers[0]
        known = first.arrow_types(seed_table)
        if first.name not in known:
            return {}
        parts = [(_VALUE, known[first.name]), (_MODEL, pa.string())]
        parts += [(member, known[f"{first.name}{each}"]) for each, member in self.members.items()]
        return {self.name: pa.list_(pa.struct(parts))}

    def bind(self, binding: Binding) -> RowColumn:
        """Return the generator that builds the lists."""
        return _CandidateLists(self)


class _CandidateLists(RowColumn):
    def __init__(self, column: Candidates) -> None:
        self._models = {each.name: each.get_model_aliases()[0] for each in column.answers}
        self._members = column.members

    def generate(self, rows: Sequence[Row]) -> list[list[dict[str, Any]]]:
        """Return the candidates of each row."""
        return [
            [self._candidate(row, name, alias) for name, alias in self._models.items()]
            for row in rows
        ]

    def _candidate(self, row: Row, name: str, alias: str) -> dict[str, Any]:
        more = {member: row[f"{name}{suffix}"] for suffix, member in self._members.items()}
        return {_VALUE: row[name], _MODEL: alias, **more}
