"""`ddflows limits`: shows and sets the limits that all runs of a workspace share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prefect.client.orchestration import PrefectClient


_T = TypeVar("_T")
_ENDED = "(ended)"
"""Shown instead of the name of a run that no longer exists."""


@click.group(invoke_without_command=True)
@click.option(
    "--free-orphans", is_flag=True, help="First, release the slots of runs that no longer exist."
)
@click.pass_context
def limits(context: click.Context, free_orphans: bool) -> None:
    """Show or set the limits of models and tools.

    Without a command, shows each limit and the runs that hold its slots.
    """
    if context.invoked_subcommand is not None:
        return
    if free_orphans:
        click.echo(f"{_run_with_client(_free)} slots released")
    _run_with_client(_show)


@limits.command("set")
@click.argument("alias")
@click.argument("requests", type=click.IntRange(min=0), required=False)
@click.option(
    "--per-minute", type=click.IntRange(min=1), help="Maximum number of requests per minute."
)
def set_(alias: str, requests: int | None, per_minute: int | None) -> None:
    """Set the request limit that all runs share.

    ALIAS is the alias of a model, or tool:ALIAS for tools. REQUESTS is the maximum number of
    requests or calls in flight; 0 pauses the model or the tools.
    """
    from ..limits.tag_limits import is_tool_tag, parse_alias, set_limit, set_rate

    tag = parse_alias(alias)
    if per_minute is not None and is_tool_tag(tag):
        raise click.UsageError(
            "--per-minute is for models; set calls_per_minute of the tool server instead"
        )
    if requests is None and per_minute is None:
        raise click.UsageError("specify REQUESTS, --per-minute, or both")

    async def change(client: PrefectClient) -> None:
        if requests is not None:
            await set_limit(client, tag, requests)
        if per_minute is not None:
            await set_rate(client, tag, per_minute)

    _run_with_client(change)
    _run_with_client(_show)


@limits.command()
@click.argument("alias")
def free(alias: str) -> None:
    """Release the slots that ended runs still hold.

    ALIAS is the alias of a model, or tool:ALIAS for tools.
    """
    from ..limits.tag_limits import parse_alias

    async def free_one(client: PrefectClient) -> int:
        return await _free(client, parse_alias(alias))

    click.echo(f"{_run_with_client(free_one)} slots released")


def _run_with_client(call: Callable[[PrefectClient], Awaitable[_T]]) -> _T:
    from prefect.client.orchestration import get_client

    async def run() -> _T:
        async with get_client() as client:
            return await call(client)

    return asyncio.run(run())


async def _free(client: PrefectClient, tag: str | None = None) -> int:
    from ..limits.leases import correct_count, free_dead
    from ..limits.tag_limits import list_tags, parse_limits, read_limits

    found = await read_limits(client)
    tags = list_tags(found) if tag is None else [tag]
    freed = await free_dead(client, parse_limits(found, tags))
    return freed + sum([max(0, await correct_count(client, each)) for each in tags])


async def _show(client: PrefectClient) -> None:
    from rich.console import Console
    from rich.table import Table

    from ..limits.leases import list_live_runs
    from ..limits.tag_limits import format_tag, list_tags, parse_limits, read_limits, read_rates

    found = await read_limits(client)
    states = parse_limits(found, list_tags(found))
    rates = await read_rates(client, states)
    runs = await list_live_runs(client) if any(state.held for state in states.values()) else {}
    table = Table("alias", "limit", "held", "per minute", "held by", "waiting")
    for tag, state in states.items():
        names = {run: runs[run].name if run in runs else _ENDED for run in state.held}
        names |= {each: runs[each].name for each in state.waiting if each in runs}
        by = [f"{names[holder]}: {slots}" for holder, slots in state.held.items()]
        by += [f"other tasks: {state.others}"] if state.others else []
        waiting = [names.get(holder, _ENDED) for holder in state.waiting]
        rate = f"{rates[tag]:,.0f}" if tag in rates else ""
        table.add_row(
            format_tag(tag),
            str(state.limit),
            str(state.live),
            rate,
            ", ".join(by),
            ", ".join(waiting),
        )
    if states:
        Console().print(table)
    else:
        click.echo("No limit exists yet; set one with `ddflows limits set ALIAS REQUESTS`.")
