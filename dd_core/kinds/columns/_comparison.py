"""Comparisons of candidates by a model: one cell for each order, and the verdict on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import orjson

from dd_core.errors import DataDesignerGenerationError
from dd_core.kinds.columns._answers import extract_json, write_json_instructions
from dd_core.kinds.columns._candidates import get_value
from dd_core.kinds.columns._llm import ChatCells, LLMColumn, add_variables
from dd_core.kinds.columns._schema import ResponseSchema
from dd_core.kinds.columns.column import Binding, Column
from dd_core.kinds.generators import CellColumn, Row, RowColumn
from dd_core.kinds.scope import find_references
from dd_core.models.admission.slot import RequestSlot
from dd_core.models.conversation import AnswerFormat

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedTable

Method: TypeAlias = Literal["pairwise", "listwise"]
"""How many candidates a model sees at once."""
VARIABLES: dict[Method, frozenset[str]] = {
    "pairwise": frozenset(["first", "second"]),
    "listwise": frozenset(["candidates"]),
}
"""Names in prompts that stand for candidates."""
_TIE = "tie"
_ALIKE = "The candidates are identical."
_SIDES: tuple[str, ...] = ("first", "second")
_PAIR = (
    "Decide which of the two candidates is better. The order in which you see them has no meaning. "
    'Write down your reasoning first. Then set winner to "first" or "second", or to "tie" if '
    "neither is better."
)
_LIST = (
    "Decide which of the candidates is the best. The order in which you see them has no meaning. "
    "Write down your reasoning first. Then set winner to the number of the best candidate, counted "
    "from 1, or to 0 if none is better than all others."
)


class Comparison(LLMColumn):
    """One comparison in one order: `{order, winner, reasoning}`; null if it has no candidates."""

    method: Method
    sources: list[str]
    """The list column, or the columns to compare."""
    most: int | None
    """Maximum number of candidates."""
    criteria: list[str]
    pair: list[int]
    """The two candidates in the order in which the model sees them; empty for all candidates."""
    is_reversed: bool
    """Whether the model sees all candidates in reversed order."""

    @property
    def required_columns(self) -> list[str]:
        """The candidates, and what the prompts refer to besides them."""
        names = [name for name in super().required_columns if name not in VARIABLES[self.method]]
        return [*dict.fromkeys([*self.sources, *names])]

    def identity(self) -> dict[str, Any]:
        """Return the declaration; how many candidates a list may have does not affect a pair."""
        declared = super().identity()
        del declared["most"]
        return declared

    def list_shown(self, count: int) -> list[int]:
        """Return which candidates the model sees, in this order; none if there are too few."""
        if self.pair:
            return self.pair if max(self.pair) < count else []
        shown = range(count) if count > 1 else ()
        return [*reversed(shown)] if self.is_reversed else [*shown]

    def answer_format(self) -> AnswerFormat:
        """Return the format of a comparison of two candidates."""
        return _build_format(self.method, 2)

    def bind(self, binding: Binding) -> CellColumn:
        """Return the generator that asks the model."""
        return _Comparisons(self, binding)


class _Comparisons(ChatCells):
    def __init__(self, column: Comparison, binding: Binding) -> None:
        super().__init__(column, binding)
        self._comparison = column
        self._inserts = not VARIABLES[column.method].isdisjoint(find_references(column.prompt))

    async def generate(self, row: Row, slot: RequestSlot | None) -> Mapping[str, Any]:
        """Return the comparison of one row."""
        column = self._comparison
        candidates = _list_candidates(row, column.sources, column.most)
        shown = column.list_shown(len(candidates))
        if not shown:
            return {column.name: None}
        values = [candidates[number] for number in shown]
        if column.pair and values[0] == values[1]:  # a model could only guess
            return {column.name: _write(shown, None, _ALIKE)}
        variables: dict[str, Any] = {"candidates": values}
        if column.pair:
            variables = dict(zip(_SIDES, values, strict=True))
        answer_format = _build_format(column.method, len(shown))
        appended = self._append(values, answer_format)
        answers = await self._ask(add_variables(row, variables), slot, appended, answer_format)
        position: int | None
        position, reasoning = answers[column.name]
        winner = None if position is None else shown[position]
        return {column.name: _write(shown, winner, reasoning)}

    def _append(self, values: Sequence[Any], answer_format: AnswerFormat) -> str:
        is_pair = self._comparison.method == "pairwise"
        parts: list[str] = []
        for number, value in enumerate(() if self._inserts else values):
            name = _SIDES[number] if is_pair else f"candidate_{number + 1}"
            parts.append(f"<{name}>\n{_print(value)}\n</{name}>")
        if criteria := self._comparison.criteria:
            parts.append("\n".join(["Criteria:", *(f"- {each}" for each in criteria)]))
        parts.append(_PAIR if is_pair else _LIST)
        parts.append(write_json_instructions(cast("dict[str, Any]", answer_format.schema)))
        return "\n\n".join(parts)


def _write(order: list[int], winner: int | None, reasoning: str) -> dict[str, Any]:
    return {"order": order, "winner": winner, "reasoning": reasoning}


def _print(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


@lru_cache(maxsize=128)
def _build_format(method: Method, count: int) -> AnswerFormat:
    """Return the format of an answer, whose value is the winner's position and the reasoning.

    The position of a tie is None.
    """
    is_pair = method == "pairwise"
    choices: list[Any] = [*_SIDES, _TIE] if is_pair else [*range(count + 1)]
    winner = {"type": "string" if is_pair else "integer", "enum": choices}
    schema = ResponseSchema(
        {
            "type": "object",
            "properties": {"reasoning": {"type": "string"}, "winner": winner},
            "required": ["reasoning", "winner"],
        }
    )

    def parse(value: Any) -> tuple[int | None, str]:
        answer = schema.parse(_read_choice(value, choices))
        position = choices.index(answer["winner"])
        if is_pair:  # the last choice is a tie; in a list, the first one is
            return None if answer["winner"] == _TIE else position, answer["reasoning"]
        return position - 1 if position else None, answer["reasoning"]

    return AnswerFormat(lambda text: extract_json(text, parse), schema.schema)


def _read_choice(value: Any, choices: Sequence[Any]) -> Any:
    """Return an answer in which a winner such as `First` or `"2"` is one of the choices."""
    if not isinstance(value, dict):
        return value
    answer = cast("dict[str, Any]", value)
    written = str(answer.get("winner")).strip().casefold()
    meant = [choice for choice in choices if str(choice) == written]
    return {**answer, "winner": meant[0]} if meant else answer


def _list_candidates(row: Row, sources: Sequence[str], most: int | None) -> list[Any]:
    """Return the values to compare; raises `DataDesignerGenerationError` if they are not a list."""
    if len(sources) > 1:
        return [row[name] for name in sources]
    [name] = sources
    value = row[name]
    if isinstance(value, str):
        with suppress(ValueError):  # reported below
            value = orjson.loads(value)
    if not isinstance(value, list):
        message = f"column {name!r} has a value of type {type(value).__name__}, not a list"
        raise DataDesignerGenerationError(f"{message} of candidates; compare columns instead")
    items = cast("list[Any]", value)
    if most is not None and len(items) > most:
        message = f"the list in column {name!r} has {len(items)} candidates, but max_candidates is"
        raise DataDesignerGenerationError(f"{message} {most}; raise it")
    return [get_value(item) for item in items]


class Verdict(Column):
    """What the comparisons of a row come to."""

    method: Method
    sources: list[str]
    most: int | None
    comparisons: list[str]
    """Names of the columns with the comparisons."""

    @property
    def required_columns(self) -> list[str]:
        """The candidates and their comparisons."""
        return [*self.sources, *self.comparisons]

    def arrow_types(self, seed_table: SeedTable | None) -> Mapping[str, Any]:
        """Return the type of a verdict."""
        import pyarrow as pa

        winner = pa.string() if len(self.sources) > 1 else pa.int64()
        reason = [("order", pa.list_(winner)), ("winner", winner), ("reasoning", pa.string())]
        parts: list[Any] = [("winner", winner), ("consistent", pa.bool_())]
        parts += [("margin", pa.float64()), ("wins", pa.list_(pa.float64()))]
        parts.append(("reasons", pa.list_(pa.struct(reason))))
        return {self.name: pa.struct(parts)}

    def bind(self, binding: Binding) -> RowColumn:
        """Return the generator that decides."""
        return _Verdicts(self)


class _Verdicts(RowColumn):
    def __init__(self, column: Verdict) -> None:
        self._column = column

    def generate(self, rows: Sequence[Row]) -> list[Any]:
        """Return the verdict of each row, or why there is none."""
        return [self._decide(row) for row in rows]

    def _decide(self, row: Row) -> Any:
        column = self._column
        try:
            count = len(_list_candidates(row, column.sources, column.most))
        except DataDesignerGenerationError as error:
            return error
        found: list[dict[str, Any] | None] = [row[name] for name in column.comparisons]
        given = [each for each in found if each is not None]
        names = column.sources if len(column.sources) > 1 else None
        is_pairwise = column.method == "pairwise"
        wins, consistent = (_count_pairs if is_pairwise else _count_votes)(given, count)
        winner, margin = _find_winner(wins, count - 1 if is_pairwise else 2)
        if not is_pairwise and not consistent:
            winner, margin = None, 0.0

        def name(number: int | None) -> int | str | None:
            return number if number is None or names is None else names[number]

        return {
            "winner": name(winner),
            "consistent": consistent,
            "margin": margin,
            "wins": wins,
            "reasons": [
                {**each, "order": [*map(name, each["order"])], "winner": name(each["winner"])}
                for each in given
            ],
        }


def _count_pairs(given: Sequence[Mapping[str, Any]], count: int) -> tuple[list[float], bool]:
    """Return the won comparisons of each candidate, and whether all pairs of orders agreed.

    A comparison counts as a tie, half a win for each of the two, if the orders disagreed.
    """
    wins, consistent = [0.0] * count, True
    for one, other in zip(given[::2], given[1::2], strict=True):
        winner = one["winner"]
        if winner != other["winner"]:
            winner, consistent = None, False
        for number in one["order"]:
            wins[number] += 0.5 if winner is None else float(number == winner)
    return wins, consistent


def _count_votes(given: Sequence[Mapping[str, Any]], count: int) -> tuple[list[float], bool]:
    """Return how often each candidate was chosen, and whether the orders agreed."""
    wins = [0.0] * count
    chosen = [each["winner"] for each in given]
    for number in chosen:
        if number is not None:
            wins[number] += 1.0
    return wins, len({*chosen}) <= 1


def _find_winner(wins: Sequence[float], most: int) -> tuple[int | None, float]:
    """Return the candidate with the most wins and its lead as a share of the wins that it can have.

    The winner is None if several candidates share the most wins; a single candidate wins unasked.
    """
    if len(wins) < 2:
        return (0, 1.0) if wins else (None, 0.0)
    best, second = sorted(wins, reverse=True)[:2]
    return (None, 0.0) if best == second else (wins.index(best), (best - second) / most)
