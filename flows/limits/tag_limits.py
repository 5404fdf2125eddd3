"""Limits in Prefect: one per alias of a model or of tools, for the whole workspace.

The limit of the model `writer` is Prefect's tag limit `model:writer`, and its slots are requests in
flight. The limit of the tools `search` is `tool:search`, and its slots are calls. Runs lease slots
in blocks (`alias_leases.py`). This module reads and writes the limits.

Prefect's API returns the holders of the leases of a limit, but not their numbers of slots. The
holder id of a lease is therefore composed of the number of slots and the id of the flow run.
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

UNLIMITED = 1_000_000
_MODEL = "model:"
_TOOL = "tool:"
_HOLDER_PREFIX = b"\xdd\xf1"
"""First bytes of the holder ids that this module creates."""
_PAGE = 200


def make_tag(alias: str) -> str:
    """The tag of tasks that call this model, and the name of its limit."""
    return f"{_MODEL}{_escape(alias)}"


def make_tool_tag(alias: str) -> str:
    """The name of the limit of these tools."""
    return f"{_TOOL}{_escape(alias)}"


def parse_alias(alias: str) -> str:
    """The tag of an alias as people write it: `writer`, `model:writer` or `tool:search`."""
    if alias.startswith(_TOOL):
        return make_tool_tag(alias.removeprefix(_TOOL))
    return make_tag(alias.removeprefix(_MODEL))


def format_tag(tag: str) -> str:
    """The alias of a tag as people write it, without `model:`."""
    return tag.removeprefix(_MODEL)


def is_tool_tag(tag: str) -> bool:
    """Whether the limit of this tag limits calls of tools."""
    return tag.startswith(_TOOL)


def make_waiting_tag(tag: str) -> str:
    """The tag of an unlimited limit in which runs that wait for slots of a tag hold a lease."""
    return f"waiting:{tag}"


def make_permits_name(tag: str) -> str:
    """The global limit with slot decay that, if it exists, limits the requests per minute."""
    return f"requests:{tag}"


def _escape(alias: str) -> str:
    return re.sub(r"[/%&<>]", "-", alias)  # Prefect allows none of these in names


@dataclass(frozen=True, order=True)
class Holder:
    """A run that holds slots, identified by the part of its flow run's id that fits a holder id."""

    key: bytes

    @classmethod
    def of(cls, flow_run_id: UUID) -> Holder:
        """The holder for a flow run."""
        return cls(flow_run_id.bytes[4:])

    def lease_id(self, slots: int) -> UUID:
        """The holder id for a lease of this many slots."""
        return UUID(bytes=_HOLDER_PREFIX + slots.to_bytes(2, "big") + self.key)


def read_holder(lease_holder: UUID) -> tuple[Holder, int] | None:
    """The run and the number of slots of a lease; None for leases of other programs."""
    content = lease_holder.bytes
    if content[:2] != _HOLDER_PREFIX:
        return None
    return Holder(content[4:]), int.from_bytes(content[2:4], "big")


@dataclass(frozen=True)
class AliasLimit:
    """The state of the limit of an alias in Prefect at one moment."""

    limit: int | None = None
    """Maximum number of requests in flight; None if the limit does not exist."""
    held: Mapping[Holder, int] = field(default_factory=dict[Holder, int])
    """Number of slots by run."""
    others: int = 0
    """Number of slots that other task runs hold."""
    waiting: frozenset[Holder] = frozenset()
    """Runs that hold fewer slots than they could use."""
    lease_holders: tuple[UUID, ...] = ()
    """Holder ids of all leases, including those of other programs."""
    has_waiting_limit: bool = False
    """Whether the limit in which waiting runs register exists."""

    @property
    def live(self) -> int:
        """Number of leased slots."""
        return sum(self.held.values()) + self.others

    def max_slots(self, me: Holder, turn: int) -> int:
        """Number of slots that a run may hold now: all of them, unless other runs are waiting."""
        return self.fair_share(me, turn) if self.waiting - {me} else self._total

    def fair_share(self, me: Holder, turn: int) -> int:
        """Number of slots of a run if all slots are divided fairly.

        Runs that need no more than an equal share keep what they hold. The other runs divide the
        rest of the slots. If the division leaves a remainder, `turn` decides who gets it.
        """
        runs = {*self.held, *self.waiting, me}
        equal_share = self._total // len(runs)
        satisfied = {
            run: slots
            for run, slots in self.held.items()
            if slots <= equal_share and run not in self.waiting and run != me
        }
        # All runs compute this independently. With the same order, their shares add up.
        rivals = sorted(runs - {*satisfied})
        share, remainder = divmod(self._total - sum(satisfied.values()), len(rivals))
        return share + ((rivals.index(me) + turn) % len(rivals) < remainder)

    @property
    def _total(self) -> int:
        limit = UNLIMITED if self.limit is None else self.limit
        return max(0, limit - self.others)


def list_tags(limits: Iterable[ConcurrencyLimit]) -> list[str]:
    """The tags of models and tools that have a limit."""
    return sorted(each.tag for each in limits if each.tag.startswith((_MODEL, _TOOL)))


def parse_limits(limits: Iterable[ConcurrencyLimit], tags: Iterable[str]) -> dict[str, AliasLimit]:
    """The limits of the given tags, from the tag limits of the workspace."""
    by_tag = {limit.tag: limit for limit in limits}
    found: dict[str, AliasLimit] = {}
    for tag in tags:
        limit = by_tag.get(tag)
        registered = by_tag.get(make_waiting_tag(tag))
        holder_ids = registered.active_slots if registered else []
        waiting = [read_holder(UUID(str(each))) for each in holder_ids]
        ids = [UUID(str(each)) for each in limit.active_slots] if limit else []
        held: Counter[Holder] = Counter()
        for known in map(read_holder, ids):
            if known is not None:
                held[known[0]] += known[1]
        found[tag] = AliasLimit(
            limit=limit.concurrency_limit if limit else None,
            held=dict(held),
            others=sum(read_holder(each) is None for each in ids),
            waiting=frozenset(each[0] for each in waiting if each is not None),
            lease_holders=tuple(ids),
            has_waiting_limit=registered is not None,
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
    """Create the limit of a tag; does nothing if it already exists.

    Call this only if the limit was not found. If a server on SQLite has to reject the creation of a
    limit, it can block all other writers for a minute.
    """
    await _create(client, f"tag:{tag}", limit, 0.0)


async def _create(client: PrefectClient, name: str, limit: int, decay: float) -> None:
    new = GlobalConcurrencyLimitCreate(name=name, limit=limit, slot_decay_per_second=decay)
    try:
        await client.create_global_concurrency_limit(new)
    except ObjectAlreadyExists:
        return


async def set_limit(client: PrefectClient, tag: str, limit: int) -> None:
    """Set the limit of a tag, and create it if necessary; 0 pauses the model or the tools."""
    await _put(client, f"tag:{tag}", limit, 0.0)


async def set_rate(client: PrefectClient, tag: str, per_minute: int) -> None:
    """Limit the requests per minute of a model, for the whole workspace."""
    burst = max(1, per_minute // 12)  # the requests of five seconds
    await _put(client, make_permits_name(tag), burst, per_minute / 60)


async def _put(client: PrefectClient, name: str, limit: int, decay: float) -> None:
    changed = GlobalConcurrencyLimitUpdate(limit=limit, slot_decay_per_second=decay)
    try:
        await client.update_global_concurrency_limit(name, changed)
    except ObjectNotFound:
        await _create(client, name, limit, decay)


async def read_rates(client: PrefectClient, tags: Iterable[str]) -> dict[str, float]:
    """Requests per minute of those tags that have such a limit in the workspace."""
    limits = await client.read_global_concurrency_limits(limit=_PAGE, offset=0)
    decays = {limit.name: limit.slot_decay_per_second for limit in limits}
    names = {tag: make_permits_name(tag) for tag in tags}
    return {tag: 60 * decays[name] for tag, name in names.items() if name in decays}
