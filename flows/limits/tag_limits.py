"""Request limits in Prefect: one for each model alias, for the whole workspace.

The limit of the alias `writer` is Prefect's tag limit `model:writer`; its slots are requests in
flight. Runs lease slots in blocks (`slots.py`). This module is what they ask of Prefect's API.

Prefect tells who holds a limit's leases, but not how many slots each has. So a lease of ours names
as its holder an id that is made of the number of slots and of the flow run's id.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
)
from prefect.client.schemas.objects import ConcurrencyLimit
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

WITHOUT_BOUND = 1_000_000
_MARK = b"\xdd\xf1"
_PAGE = 200


def make_tag(alias: str) -> str:
    """The tag of tasks that ask this model, and the name of its limit."""
    return f"model:{_plain(alias)}"


def make_waiting_tag(alias: str) -> str:
    """A limit without bound: who leases of it waits for slots of the alias."""
    return f"waiting:model:{_plain(alias)}"


def make_permits_name(alias: str) -> str:
    """The global limit with slot decay that, if it exists, bounds the alias's requests a minute."""
    return f"requests:model:{_plain(alias)}"


def _plain(alias: str) -> str:
    return re.sub(r"[/%&<>]", "-", alias)  # what Prefect allows in no name


@dataclass(frozen=True, order=True)
class Holder:
    """A run that holds slots: known by what holders' ids keep of its flow run's id."""

    key: bytes

    @classmethod
    def of(cls, flow_run_id: UUID) -> Holder:
        """The holder that a flow run is."""
        return cls(flow_run_id.bytes[4:])

    def lease_id(self, slots: int) -> UUID:
        """The id under which this run leases so many slots."""
        return UUID(bytes=_MARK + slots.to_bytes(2, "big") + self.key)


def read_holder(lease_holder: UUID) -> tuple[Holder, int] | None:
    """Who a lease belongs to and its slots; None if it is no lease of ours."""
    content = lease_holder.bytes
    if content[:2] != _MARK:
        return None
    return Holder(content[4:]), int.from_bytes(content[2:4], "big")


@dataclass(frozen=True)
class AliasLimit:
    """What Prefect says of an alias's limit at one moment."""

    limit: int | None = None
    """Requests that may be in flight; None if there is no such limit."""
    held: Mapping[Holder, int] = field(default_factory=dict[Holder, int])
    """Slots by run."""
    others: int = 0
    """Slots of task runs that are not ours."""
    waiting: frozenset[Holder] = frozenset()
    """Runs that have less than they could use."""
    lease_holders: tuple[UUID, ...] = ()
    has_line: bool = False
    """Whether there is a limit for those who wait."""

    @property
    def live(self) -> int:
        """Slots that are leased."""
        return sum(self.held.values()) + self.others

    def most(self, me: Holder, turn: int) -> int:
        """Slots that a run may have now: all, unless others wait for some."""
        return self.due(me, turn) if self.waiting - {me} else self._total

    def due(self, me: Holder, turn: int) -> int:
        """Slots that a run has when all have their fair share.

        Runs that want no more than an equal share keep what they have; the rest of the slots are
        divided among the others. What is left after the division goes round with `turn`.
        """
        runs = {*self.held, *self.waiting, me}
        equal = self._total // len(runs)
        content = {
            run: slots
            for run, slots in self.held.items()
            if slots <= equal and run not in self.waiting and run != me
        }
        rivals = sorted(runs - {*content})
        share, rest = divmod(self._total - sum(content.values()), len(rivals))
        return share + ((rivals.index(me) + turn) % len(rivals) < rest)

    @property
    def _total(self) -> int:
        bound = WITHOUT_BOUND if self.limit is None else self.limit
        return max(0, bound - self.others)


def list_aliases(limits: Iterable[ConcurrencyLimit]) -> list[str]:
    """The aliases that have a limit."""
    prefix = make_tag("")
    return sorted(each.tag.removeprefix(prefix) for each in limits if each.tag.startswith(prefix))


def parse_limits(
    limits: Iterable[ConcurrencyLimit], aliases: Iterable[str]
) -> dict[str, AliasLimit]:
    """What Prefect's tag limits say of some aliases."""
    by_tag = {limit.tag: limit for limit in limits}
    found: dict[str, AliasLimit] = {}
    for alias in aliases:
        limit = by_tag.get(make_tag(alias))
        line = by_tag.get(make_waiting_tag(alias))
        waiting = [read_holder(UUID(str(each))) for each in line.active_slots] if line else []
        ids = [UUID(str(each)) for each in limit.active_slots] if limit else []
        held: Counter[Holder] = Counter()
        for known in map(read_holder, ids):
            if known is not None:
                held[known[0]] += known[1]
        found[alias] = AliasLimit(
            limit=limit.concurrency_limit if limit else None,
            held=dict(held),
            others=sum(read_holder(each) is None for each in ids),
            waiting=frozenset(each[0] for each in waiting if each is not None),
            lease_holders=tuple(ids),
            has_line=line is not None,
        )
    return found


async def read_limits(client: PrefectClient) -> list[ConcurrencyLimit]:
    """All tag limits of the workspace."""
    found: list[ConcurrencyLimit] = []
    while True:
        page = await client.read_concurrency_limits(limit=_PAGE, offset=len(found))
        found.extend(page)
        if len(page) < _PAGE:
            return found


async def create_limit(client: PrefectClient, tag: str, limit: int) -> None:
    """Create a tag's limit; one that exists is left as it is.

    To be called only when none was found: an SQLite server that has to refuse a creation can keep
    its other writers waiting for a minute.
    """
    await _create(client, f"tag:{tag}", limit, 0.0)


async def _create(client: PrefectClient, name: str, limit: int, decay: float) -> None:
    wanted = GlobalConcurrencyLimitCreate(name=name, limit=limit, slot_decay_per_second=decay)
    try:
        await client.create_global_concurrency_limit(wanted)
    except ObjectAlreadyExists:
        return


async def set_limit(client: PrefectClient, alias: str, limit: int) -> None:
    """Set an alias's limit, which is created if need be; 0 pauses the alias."""
    await _put(client, f"tag:{make_tag(alias)}", limit, 0.0)


async def set_rate(client: PrefectClient, alias: str, per_minute: int) -> None:
    """Bound the requests a minute of an alias over the whole workspace."""
    at_once = max(1, per_minute // 12)  # what five seconds allow
    await _put(client, make_permits_name(alias), at_once, per_minute / 60)


async def _put(client: PrefectClient, name: str, limit: int, decay: float) -> None:
    wanted = GlobalConcurrencyLimitUpdate(limit=limit, slot_decay_per_second=decay)
    try:
        await client.update_global_concurrency_limit(name, wanted)
    except ObjectNotFound:
        await _create(client, name, limit, decay)


async def read_rates(client: PrefectClient, aliases: Iterable[str]) -> dict[str, float]:
    """Requests a minute of those aliases for which the workspace bounds them."""
    limits = await client.read_global_concurrency_limits(limit=_PAGE, offset=0)
    decays = {limit.name: limit.slot_decay_per_second for limit in limits}
    names = {alias: make_permits_name(alias) for alias in aliases}
    return {alias: 60 * decays[name] for alias, name in names.items() if name in decays}
