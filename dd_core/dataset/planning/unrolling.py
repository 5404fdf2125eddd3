"""Columns that are generated again for a row, until a condition holds.

The compiler unrolls a repetition: it plans each column once per round. So each cell of each round
is limited, journalled, retried and cached like any other, and a round is skipped in the rows that
are done. The classes in `rounds.py` connect the rounds.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import networkx as nx

from dd_core.dataset.planning.acceptance import ACCEPTED
from dd_core.dataset.planning.repeat import Repeat
from dd_core.dataset.planning.rounds import (
    PREVIOUS,
    ROUND,
    Compute,
    ComputedColumn,
    KeptColumn,
    Round,
    RoundColumn,
)
from dd_core.errors import Problem, RepeatExhaustedError
from dd_core.kinds.columns.column import Column, SkipConfig
from dd_core.kinds.generators import Row
from dd_core.kinds.scope import Scope, find_references, report_unknown
from dd_core.templates.template import Condition, Template, make_identifier

if TYPE_CHECKING:
    from dd_core.kinds.seeds.seed import SeedTable

_logger = logging.getLogger(__name__)


def check_repeats(
    repeats: Sequence[Repeat], scope: Scope, graph: nx.DiGraph[str]
) -> Iterator[Problem]:
    """Yield what prevents columns from being repeated; `graph` is that of the declared columns."""
    taken: set[str] = set()
    for number, repeat in enumerate(repeats):
        place = f"repeats.{number}"
        yield from _check_members(f"{place}.columns", repeat, taken, scope)
        taken |= {*repeat.columns}
        members = [name for name in repeat.columns if name in scope.columns]
        after = _find_neighbours(nx.descendants, graph, members)  # pyright: ignore
        before = _find_neighbours(nx.ancestors, graph, members)  # pyright: ignore
        for name in sorted(after & before):
            message = f"column {name!r} lies between the repeated columns; add it to them"
            yield Problem(f"{place}.columns", message)
        inner = widen(scope)
        for field, template in (("until", repeat.until), ("score", repeat.score)):
            for name in find_references(template):
                if name not in inner.names:
                    yield report_unknown(f"{place}.{field}", name, inner)
                elif name in after:
                    message = f"column {name!r} depends on the repeated columns; add it to them"
                    yield Problem(f"{place}.{field}", message)
    for name in (PREVIOUS, ROUND) if repeats else ():
        if name in scope.columns:
            message = "is a name that repeated columns use in another sense; rename the column"
            yield Problem(f"columns.{name}", message)


def _check_members(
    place: str, repeat: Repeat, taken: Container[str], scope: Scope
) -> Iterator[Problem]:
    columns: Mapping[str, Any] = scope.columns
    limited = {each.target_column for each in scope.constraints}
    limited |= {str(each.rhs) for each in scope.constraints}
    for name in repeat.columns:
        column = columns.get(name)
        if column is None:
            yield report_unknown(place, name, scope)
        elif column.is_seed:
            yield Problem(place, f"{name!r} is a column of the seed dataset, so it cannot change")
        elif column.writes_files:
            yield Problem(
                place, f"columns of type {column.kind!r} such as {name!r} cannot be repeated"
            )
        elif name in limited:
            yield Problem(place, f"{name!r} has a constraint; remove it here, or the constraint")
        elif name in taken:
            message = f"{name!r} is repeated by another entry, too; remove it from one of them"
            yield Problem(place, message)
        elif repeat.rounds_column in column.required_columns:
            message = (
                f"{name!r} reads {repeat.rounds_column!r}, which is counted later; use `round`"
            )
            yield Problem(place, message)
    if repeat.rounds_column in scope.columns:
        place = f"{place.rpartition('.')[0]}.rounds_column"
        yield Problem(place, f"a column is named {repeat.rounds_column!r}; use another name")


def widen(scope: Scope) -> Scope:
    """The scope of repeated columns."""
    return replace(scope, names=scope.names | {PREVIOUS, ROUND})


def _find_neighbours(
    search: Callable[..., set[str]], graph: nx.DiGraph[str], members: Sequence[str]
) -> set[str]:
    """The columns before or after the members, without the members."""
    return {name for each in members for name in search(graph, each)} - {*members}


def unroll(
    expanded: Mapping[str, Sequence[Column]], repeats: Sequence[Repeat]
) -> dict[str, Sequence[Column]]:
    """The columns that are planned for each declared column, which `expanded` maps to its parts."""
    found = {**expanded}
    for number, repeat in enumerate(repeats):
        members = {name: parts for name, parts in expanded.items() if name in repeat.columns}
        prefix = make_identifier(next(iter(members)))  # the names are used in conditions
        plan = _Unrolled(f"{prefix}__repeat_{number}_", repeat, members)
        found |= plan.rounds()
        if repeat.rounds_column:
            found[repeat.rounds_column] = [plan.count(repeat.rounds_column)]
    return found


class _Unrolled:
    """One repetition as columns. `prefix` begins the names of those that belong to no member.

    `members` are the repeated columns with their parts. The last part has the name of the column.
    """

    def __init__(
        self, prefix: str, repeat: Repeat, members: Mapping[str, Sequence[Column]]
    ) -> None:
        self._prefix = prefix
        self._repeat = repeat
        self._parts = members
        self._members = [parts[-1] for parts in members.values()]
        self._numbers = range(1, repeat.at_most + 1)
        every = [part for parts in members.values() for part in parts]
        boxed = [each.name for each in every if not each.is_sampled]
        shown = _list_outputs(self._members)
        self._rounds = [
            Round(
                number,
                names={name: _store(name, number) for name in _list_outputs(every)},
                previous={name: _store(name, number - 1) for name in shown if number > 1},
                boxed=frozenset(_store(name, each) for name in boxed for each in self._numbers),
            )
            for number in self._numbers
        ]

    def rounds(self) -> dict[str, list[Column]]:
        """The planned columns by the member that they replace."""
        shared = [*self._decisions(), self.count(f"{self._prefix}rounds")]
        if self._repeat.keep == "best":
            shared += [*self._scores(), self._best()]
        found: dict[str, list[Column]] = {}
        for at, (name, parts) in enumerate(self._parts.items()):
            planned = [
                each
                for scope in self._rounds
                for number, part in enumerate(parts)
                for each in self._copy(scope, f"{at}_{number}", part)
            ]
            found[name] = [*(shared if at == 0 else ()), *planned, *self._keep(at, parts[-1])]
        return found

    def _copy(self, scope: Round, at: str, member: Column) -> Iterator[Column]:
        """A part in one round, and the column that says where the round skips it."""
        number, skip = scope.number, None
        done = self._done(number - 1) if self._repeat.until and number > 1 else None
        if member.skip is not None:
            name = f"{self._prefix}skip_{at}_{number}"
            skip = SkipConfig(when=f"{{{{ {name} }}}}")
            condition = Condition.compile(member.skip.when)
            reads = [*scope.list_stored(sorted(condition.references)), *([done] if done else ())]
            holds = _make_test(condition, scope, if_it_fails=True)

            def is_skipped(row: Row) -> bool:
                return (done is not None and row[done]) or holds(row)

            facts = {"skip": member.skip.when, "round": number}
            yield _compute(name, reads, is_skipped, facts)
        elif done is not None:
            skip = SkipConfig(when=f"{{{{ {done} }}}}")
        inner = member.for_round(_store(member.name, number))
        returned = [inner.name, *inner.side_effect_columns]
        declared = [member.name, *member.side_effect_columns]
        yield RoundColumn(
            name=_store(member.name, number),
            skip=skip,
            propagate_skip=member.propagate_skip,
            inner=inner,
            scope=scope,
            stored={a: scope.names[b] for a, b in zip(returned, declared, strict=True)},
        )

    def _done(self, number: int) -> str:
        return f"{self._prefix}done_{number}"

    def _decisions(self) -> Iterator[Column]:
        """For each round, whether a row is done after it."""
        if self._repeat.until is None:
            return
        condition = Condition.compile(self._repeat.until)
        for scope in self._rounds:
            before = [self._done(scope.number - 1)] if scope.number > 1 else []
            values = self._list_values(scope)
            holds = _make_test(condition, scope, if_it_fails=False)

            def is_done(
                row: Row,
                holds: Callable[[Row], bool] = holds,
                before: Sequence[str] = before,
                values: Sequence[str] = values,
            ) -> bool:
                if any(row[each] for each in before):
                    return True
                if _is_empty(row, values):
                    return True  # all of its cells are skipped, and would be again
                return holds(row)

            reads = [*scope.list_stored(sorted(condition.references)), *before, *values]
            facts = {"until": self._repeat.until, "round": scope.number}
            yield _compute(self._done(scope.number), reads, is_done, facts)

    def count(self, name: str) -> ComputedColumn:
        """The column with the number of rounds that were generated."""
        repeat, last = self._repeat, self._repeat.at_most
        if repeat.until is None:
            return _compute(name, [], lambda row: last, {"rounds": last})
        flags = [self._done(number) for number in self._numbers]
        first = self._members[0].name

        def count_rounds(row: Row) -> int:
            for number, flag in enumerate(flags, start=1):
                if row[flag]:
                    return number
            if repeat.on_exhausted == "fail":
                raise RepeatExhaustedError(
                    f"after {last} rounds of {first!r}, `until` is still false; raise at_most, "
                    "change until, or set on_exhausted: keep"
                )
            return last

        return _compute(name, flags, count_rounds, {"rounds": last, "then": repeat.on_exhausted})

    def _scores(self) -> Iterator[Column]:
        """The score of each round; null if it is no number, or if the round was not generated."""
        source = self._repeat.score or ""
        template = Template.compile(source, mode="native")
        for scope in self._rounds:
            values = self._list_values(scope)
            read = scope.make_reader(template.references)

            def score(
                row: Row,
                scope: Round = scope,
                read: Callable[[Row], Row] = read,
                values: Sequence[str] = values,
            ) -> float | None:
                if _is_empty(row, values):
                    return None
                try:
                    return _to_number(template.render(read(row)))
                except Exception as error:  # whatever the operators of a value raise
                    _logger.warning("round %d has no score: %s", scope.number, error)
                    return None

            reads = [*scope.list_stored(sorted(template.references)), *values]
            facts = {"score": source, "round": scope.number}
            yield _compute(f"{self._prefix}score_{scope.number}", reads, score, facts)

    def _list_values(self, scope: Round) -> list[str]:
        """The stored names whose values are null if the round is skipped."""
        return [scope.names[each.name] for each in self._members if not each.is_sampled]

    def _best(self) -> ComputedColumn:
        """The column with the number of the round with the highest score, the later one of two."""
        rounds = f"{self._prefix}rounds"
        scores = [f"{self._prefix}score_{number}" for number in self._numbers]

        def find_best(row: Row) -> int:
            found = [row[name] for name in scores[: row[rounds]]]
            known = [(value, number) for number, value in enumerate(found, 1) if value is not None]
            return max(known)[1] if known else row[rounds]

        return _compute(f"{self._prefix}best", [rounds, *scores], find_best, {"best": len(scores)})

    def _keep(self, at: int, member: Column) -> Iterator[Column]:
        """The columns under the names of a member, with the values that are kept."""
        kept = f"{self._prefix}{'best' if self._repeat.keep == 'best' else 'rounds'}"
        is_empty = f"{self._prefix}empty_{at}"
        flag = SkipConfig(when=f"{{{{ {is_empty} }}}}", value=member.skip and member.skip.value)
        boxes = [each.names[member.name] for each in self._rounds]
        keeps_all = self._repeat.keep == "all"
        first = self._rounds[0]

        def was_skipped(row: Row) -> bool:
            number: int = row[kept]
            chosen = boxes[:number] if keeps_all else [boxes[number - 1]]
            return all(row[name] is None for name in chosen)

        yield _compute(is_empty, [kept, *boxes], was_skipped, {"empty": self._repeat.keep})
        for name in (member.name, *member.side_effect_columns):
            stored = [each.names[name] for each in self._rounds]

            def choose(row: Row, stored: Sequence[str] = stored) -> Any:
                number: int = row[kept]
                if keeps_all:
                    return [first.open(row, each) for each in stored[:number]]
                return first.open(row, stored[number - 1])

            yield KeptColumn(
                name=name,
                drop=member.drop,
                skip=flag if name == member.name else flag.changed(value=None),
                propagate_skip=False,
                reads=[kept, is_empty, *stored],
                compute=choose,
                facts={"keep": self._repeat.keep, "name": name},
                types=partial(_find_type, member, name, keeps_all),
            )


def _find_type(member: Column, name: str, is_list: bool, table: SeedTable | None) -> Any:
    """The Arrow type of what is kept of a column; None if only the values can tell."""
    kind = member.arrow_types(table).get(name)
    if kind is None or not is_list:
        return kind
    import pyarrow as pa

    return pa.list_(kind)


def _list_outputs(columns: Sequence[Column]) -> list[str]:
    return [name for each in columns for name in (each.name, *each.side_effect_columns)]


def _store(name: str, number: int) -> str:
    return f"{name}__round_{number}"


def _compute(name: str, reads: Sequence[str], compute: Compute, facts: Any) -> ComputedColumn:
    unique = [*dict.fromkeys(reads)]
    return ComputedColumn(
        name=name, propagate_skip=False, reads=unique, compute=compute, facts=facts
    )


def make_accepted_column(when: str) -> ComputedColumn:
    """The column that says whether a row is accepted."""
    condition = Condition.compile(when)
    is_accepted = _make_test(condition, Round(1), if_it_fails=False)
    return _compute(ACCEPTED, sorted(condition.references), is_accepted, {"accept": when})


def _is_empty(row: Row, values: Sequence[str]) -> bool:
    """Whether all cells of a round are skipped."""
    return bool(values) and all(row[name] is None for name in values)


def _make_test(condition: Condition, scope: Round, *, if_it_fails: bool) -> Callable[[Row], bool]:
    """A function that says whether a condition holds for a row of stored values."""
    read = scope.make_reader(condition.references, numbered=condition.draws)

    def holds(row: Row) -> bool:
        try:
            return condition.holds(read(row))
        except Exception as error:  # whatever the operators of a value raise
            _logger.warning("row %s: a condition failed: %s", getattr(row, "number", "?"), error)
            return if_it_fails

    return holds


def _to_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
