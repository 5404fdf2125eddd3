"""The way of rows from one stage, or several, into the next: runs the declared steps."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dd_core.dataset.config import encode_canonical
from dd_core.dataset.workflow.plan import StagePlan, find_common_depth, is_one_to_one
from dd_core.dataset.workflow.steps import (
    CollectStep,
    Columns,
    JoinStep,
    Losses,
    Step,
    UnionStep,
    append_ordinals,
    find_ancestor,
    list_addresses,
    replace_addresses,
)
from dd_core.designer.workflow.feed import StageFeed
from dd_core.designer.workflow.joins import join_by_address, join_by_values
from dd_core.storage.unify import concatenate

if TYPE_CHECKING:
    import pyarrow as pa

Rows = AsyncIterator["pa.Table"]


class Edge:
    """The rows that flow into a stage."""

    def __init__(
        self, stage: StagePlan, sources: Sequence[StagePlan], feeds: Sequence[StageFeed]
    ) -> None:
        self._stage = stage
        self._sources = sources
        self._feeds = feeds
        self.arrived: Counter[str] = Counter()
        """Rows that arrived, by stage."""
        self.losses: dict[str, Losses] = {}
        """Rows that the steps left out, by step and reason."""

    async def read(self, *, wait: bool = True) -> Rows:
        """Yield the rows after all steps, table by table.

        Raises `NotThereYetError` where rows are missing, if it shall not `wait` for them.
        """
        self.arrived.clear()
        self.losses.clear()
        steps: list[Step] = [*self._stage.stage.steps]
        columns = self._sources[0].outputs
        rows = self._read_source(0, wait)
        first = 0
        if len(self._sources) > 1:
            rows, first = self._merge(steps[0], rows, wait), 1
        for number, step in enumerate(steps[first:], first):
            losses = self.losses.setdefault(f"{number + 1}. {step.type}", Losses())  # pyright: ignore
            if isinstance(step, CollectStep):
                rows = _collect(step, columns, rows)
            else:
                rows = _change(step, rows, losses)
            columns = step.change_columns("", columns)
        if (wanted := self._stage.stage.num_records) is not None:
            rows = self._repeat(rows, wanted)
        async for table in rows:
            if table.num_rows:
                yield table

    def list_losses(self) -> dict[str, dict[str, int]]:
        """The rows that were left out, by step and reason."""
        found = {
            step: {reason: count for reason, count in losses.items() if count}
            for step, losses in self.losses.items()
        }
        return {step: losses for step, losses in found.items() if losses}

    async def _read_source(self, index: int, wait: bool) -> Rows:
        name = self._sources[index].name
        losses = self.losses.setdefault(f"0. {name}", Losses())
        async for table in self._feeds[index].read(losses, wait=wait):
            self.arrived[name] += table.num_rows
            yield table

    async def _merge(self, step: Step, rows: Rows, wait: bool) -> Rows:
        others = [self._read_source(index, wait) for index in range(1, len(self._feeds))]
        if isinstance(step, UnionStep):
            async for table in self._unite(step, [rows, *others]):
                yield table
            return
        assert isinstance(step, JoinStep)
        losses = self.losses.setdefault("1. join", Losses())
        columns = self._sources[0].outputs
        for source, other in zip(self._sources[1:], others, strict=True):
            rows = self._join(step, columns, rows, source.outputs, other, losses)
        async for table in rows:
            yield table

    def _join(
        self,
        step: JoinStep,
        left: Columns,
        rows: Rows,
        right: Columns,
        others: Rows,
        losses: Losses,
    ) -> Rows:
        added = step.list_added(left, right)
        keeps_all = step.how == "left"
        if step.on is not None:
            return join_by_values(rows, others, step.on, added, losses, keeps_all=keeps_all)
        depth = find_common_depth(left, right)
        assert depth is not None
        return join_by_address(
            rows,
            others,
            depth,
            added,
            losses,
            keeps_all=keeps_all,
            is_ordered=left.is_ordered and right.is_ordered,
            adds_ordinals=not is_one_to_one(right, depth),
        )

    async def _unite(self, step: UnionStep, streams: Sequence[Rows]) -> Rows:
        import pyarrow as pa

        order = [*self._sources[0].outputs.types]
        for index, stream in enumerate(streams):
            async for table in stream:
                united = append_ordinals(table.select(order), [index] * table.num_rows)
                if step.source is not None:
                    names: Any = pa.array([self._sources[index].name] * table.num_rows, pa.string())
                    united = united.append_column(step.source, names)
                yield united

    async def _repeat(self, rows: Rows, wanted: int) -> Rows:
        """The first rows, or all of them again and again, until there are as many as wanted."""
        kept: list[pa.Table] = []
        count = 0
        async for table in rows:
            kept.append(table.slice(0, wanted - count))
            count += kept[-1].num_rows
            yield append_ordinals(kept[-1], [0] * kept[-1].num_rows)
            if count == wanted:
                return
        cycle = 1
        while 0 < count < wanted:
            for table in kept:
                part = table.slice(0, wanted - count)
                count += part.num_rows
                if part.num_rows:
                    yield append_ordinals(part, [cycle] * part.num_rows)
            cycle += 1


async def _change(step: Step, rows: Rows, losses: Losses) -> Rows:
    async for table in rows:
        yield await asyncio.to_thread(step.change_rows, table, losses)


async def _collect(step: CollectStep, columns: Columns, rows: Rows) -> Rows:
    """Put rows together; with `to`, a row is made as soon as rows of another one arrive."""
    kept = step.list_kept(columns)
    depth = None if step.to is None else columns.find_depth(step.to)
    waits_for_all = depth is None or not columns.is_ordered
    rest: pa.Table | None = None
    async for table in rows:
        rest = table if rest is None else concatenate([rest, table])
        if waits_for_all or not table.num_rows:
            continue
        keys = [find_ancestor(address, depth or 1) for address in list_addresses(rest)]
        first = next(index for index, key in enumerate(keys) if key == keys[-1])
        if first:
            yield _collect_table(step, kept, depth, rest.slice(0, first))
            rest = rest.slice(first)
    if rest is not None:
        yield _collect_table(step, kept, depth, rest)


def _collect_table(
    step: CollectStep, kept: list[str], depth: int | None, table: pa.Table
) -> pa.Table:
    import pyarrow as pa

    from dd_core.storage.arrow import to_array

    groups: dict[str, list[int]] = {}
    for row, key in enumerate(_list_keys(step, depth, table)):
        groups.setdefault(key, []).append(row)
    arrow: Any = pa
    firsts = arrow.array([members[0] for members in groups.values()], pa.int64())
    made = replace_addresses(table.select(kept).take(firsts), [*groups])
    for name in step.columns:
        values = table.column(name).to_pylist()
        lists = [[values[row] for row in members] for members in groups.values()]
        made = made.append_column(name, to_array(lists))
    return made


def _list_keys(step: CollectStep, depth: int | None, table: pa.Table) -> Iterator[str]:
    """The address of the row that each row becomes a part of."""
    if depth is not None:
        yield from (find_ancestor(address, depth) for address in list_addresses(table))
        return
    for values in table.select(step.by or []).to_pylist():
        yield hashlib.blake2b(encode_canonical(values), digest_size=8).hexdigest()
