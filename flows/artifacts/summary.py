"""Shows the result of a dataset run in Prefect's UI: preview, summary and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from pydantic import BaseModel

from dd_core.models.usage import compute_cost, describe_rejected, sum_costs
from dd_core.quality.report import list_tool_use
from dd_core.storage.directory import DatasetDirectory
from dd_core.storage.versions import Versions

from ..session import DatasetRun
from .markdown import escape, format_cell, format_table, make_artifact_key

_MAX_FAILURES = 10
_MAX_RUNS = 5
_UI = "../.."
"""The root of the UI, as seen from the pages of artifacts and runs. Prefect serves two versions of
its UI, which have the same pages below different addresses."""
_RUN_PAGE = f"{_UI}/runs/flow-run/"


class RunSummary(BaseModel):
    """The result of a dataset run."""

    path: str
    """Directory of the dataset or of its version."""
    rows_asked: int
    """Rows requested for the dataset."""
    rows_written: int
    """Rows that were generated and kept, in this run and in earlier ones."""
    rows_in_dataset: int
    """Rows after processors filtered them; equal to `rows_written` if there are no processors."""
    rows_dropped: int
    """Rows dropped in this run."""
    requests: int
    input_tokens: int
    output_tokens: int
    dollars: float | None
    """Cost of the dataset, including earlier runs; None if the price of a model is unknown."""
    seconds: float
    """Duration of this run."""
    seed: int


def summarize(session: DatasetRun, written: int, requested: int) -> RunSummary:
    """What a run came to; `written` is the number of rows that were generated and kept."""
    usage = session.usage()
    return summarize_unchanged(session.directory, requested).model_copy(
        update={
            "rows_written": written,
            "rows_dropped": session.dropped_count,
            "requests": usage.requests,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "seconds": round(session.seconds, 3),
            "seed": session.engine.plan.seed,
        }
    )


def summarize_unchanged(directory: DatasetDirectory, requested: int) -> RunSummary:
    """The result of a run that left the dataset as it was."""
    known = directory.metadata
    return RunSummary(
        path=str(directory.path),
        rows_asked=requested,
        rows_written=min(known.generated_num_records, requested),
        rows_in_dataset=known.actual_num_records or 0,
        rows_dropped=0,
        requests=0,
        input_tokens=0,
        output_tokens=0,
        dollars=sum_costs(known.dollars.values()),
        seconds=0.0,
        seed=known.seed or 0,
    )


async def show_preview(session: DatasetRun, dataset: str) -> None:
    """Create the artifact with the first rows as soon as there are any."""
    if session.preview and not session.is_preview_shown:
        session.is_preview_shown = True
        session.preview_artifact = await acreate_table_artifact(
            table=[
                {name: format_cell(value) for name, value in row.items()} for row in session.preview
            ],
            key=make_artifact_key(dataset, "preview"),
            description=f"First rows of {dataset}",
        )


async def show_summary(session: DatasetRun, dataset: str, summary: RunSummary) -> None:
    """Create the summary artifact, and one for dropped rows if there are any."""
    facts = [[f"**{name}**", value] for name, value in _facts(session, dataset, summary).items()]
    lines = [f"# {escape(dataset)}", ""]
    if (stopped := session.engine.stopped_by) is not None:
        lines += [
            f"**Stopped:** {escape(stopped)}. Run again with `resume: if_possible` to continue.",
            "",
        ]
    lines += format_table(["", ""], facts)
    lines += [*_format_models(session), *_format_tools(session), *_format_timings(session)]
    await acreate_markdown_artifact(
        "\n".join(lines),
        key=make_artifact_key(dataset, "summary"),
        description=f"Summary of {dataset}",
    )
    if session.dropped:
        await acreate_markdown_artifact(
            "\n".join(format_failures(session)),
            key=make_artifact_key(dataset, "failures"),
            description=f"Rows that are missing from {dataset}, with the reasons",
        )


def _facts(session: DatasetRun, dataset: str, summary: RunSummary) -> dict[str, str]:
    tokens = summary.input_tokens + summary.output_tokens
    return {
        "rows": f"{summary.rows_written:,} of {summary.rows_asked:,}",
        **_count_accepted(session),
        **list_processed_rows(session.directory),
        "dropped in this run": f"{summary.rows_dropped:,}",
        "path": f"`{summary.path}`",
        **_list_related_runs(session),
        "requests": f"{summary.requests:,}",
        "tokens": f"{summary.input_tokens:,} in, {summary.output_tokens:,} out",
        "dollars": "unknown" if summary.dollars is None else f"{summary.dollars:,.4f}",
        "seconds": f"{session.seconds:,.1f}",
        "for 1,000 more rows": _format_rate(session, tokens),
        "seed": str(summary.seed),
        "see also": _format_links(session, dataset),
    }


def _list_related_runs(session: DatasetRun) -> dict[str, str]:
    """The version, and links to earlier runs of the dataset and of the version before."""
    directory = session.directory
    earlier = [run for run in directory.metadata.flow_runs if run != session.flow_run_id]
    facts: dict[str, str] = {}
    if directory.version is not None:
        facts["version"] = escape(directory.version)
        before = Versions.around(directory).before(directory.version)
        if before is not None and before.version is not None and before.metadata.flow_runs:
            run = [*before.metadata.flow_runs][-1]
            facts["version before"] = f"[{escape(before.version)}]({_RUN_PAGE}{run})"
    if earlier:
        links = [f"[{run[:8]}]({_RUN_PAGE}{run})" for run in earlier[-_MAX_RUNS:]]
        facts["earlier runs"] = ", ".join(links)
    return facts


def _format_rate(session: DatasetRun, tokens: int) -> str:
    """Time and tokens for another thousand rows, extrapolated from this run."""
    thousands = session.rows / 1000
    if not thousands:
        return "nothing was generated"
    return f"about {session.seconds / thousands:,.0f} s, {tokens / thousands:,.0f} tokens"


def _format_links(session: DatasetRun, dataset: str) -> str:
    names = ["columns", "preview", "profile", *(["failures"] if session.dropped else [])]
    keys = {name: make_artifact_key(dataset, name) for name in names}
    return ", ".join(f"[{name}]({_UI}/artifacts/key/{key})" for name, key in keys.items())


def _format_models(session: DatasetRun) -> list[str]:
    """Requests, tokens and cost by model and column, including earlier runs of the dataset."""
    prices = session.engine.plan.prices
    rows = [
        [alias, column, f"{count['requests']:,.0f}", f"{count['retries']:,.0f}",
         f"{count['input_tokens']:,.0f}", f"{count['output_tokens']:,.0f}",
         describe_rejected(count) or "none", "unknown" if cost is None else f"{cost:,.4f}"]
        for alias, column, count in session.engine.usage_of_all_runs()
        for cost in [compute_cost(count, prices.get(alias))]
    ]  # fmt: skip
    heads = ["model", "column", "requests", "retries", "input tokens", "output tokens"]
    heads += ["unusable answers", "dollars"]
    return ["", "## Models", "", *format_table(heads, rows)] if rows else []


def _format_tools(session: DatasetRun) -> list[str]:
    """Tool calls by column and tool, including earlier runs of the dataset."""
    rows = [
        [escape(use.column), escape(use.tool), f"{use.calls:,}", f"{use.errors:,}",
         f"{use.refused:,}", f"{use.seconds:,.1f}"]
        for use in list_tool_use(session.engine.usage_of_all_runs())
    ]  # fmt: skip
    heads = ["column", "tool", "calls", "errors", "refused", "seconds"]
    return ["", "## Tools", "", *format_table(heads, rows)] if rows else []


def _format_timings(session: DatasetRun) -> list[str]:
    """What the cells of each column spent their time on, and what limits the column."""
    rows: list[list[str]] = []
    bottlenecks: list[str] = []
    heads = ["inputs", "slot", "cooldown", "in_flight", "tools", "retries", "computing"]
    found = session.engine.timings()
    if not any(timings.tools for timings in found.values()):
        heads.remove("tools")
    for column, timings in found.items():
        shares = timings.shares()
        rows.append([column, *(f"{shares[head]:.0%}" for head in heads)])
        bottlenecks.append(f"- {escape(column)}: {escape(timings.bottleneck)}")
    if not rows:
        return []
    shown = ["column", *(head.replace("_", " ") for head in heads)]
    return ["", "## Where the time went", "", *format_table(shown, rows), "", *bottlenecks]


def format_failures(session: DatasetRun) -> list[str]:
    """Dropped rows by column and error, each with the first row as an example."""
    kinds = Counter((row.column, row.error) for row in session.dropped)
    examples = {(row.column, row.error): row for row in reversed(session.dropped)}
    lines = [f"{session.dropped_count:,} of {session.rows:,} rows were dropped.", ""]
    if session.dropped_count > len(session.dropped):
        lines += [f"The first {len(session.dropped):,} of them:", ""]
    heads = ["column", "error", "rows", "first row", "for example"]
    lines += format_table(
        heads,
        [
            [escape(column), error, f"{count:,}", f"{first.row:,}", escape(first.message)]
            for (column, error), count in kinds.most_common(_MAX_FAILURES)
            for first in [examples[column, error]]
        ],
    )
    lines += ["", "The folder `failed-rows` of the dataset lists all of them. To retry them, use"]
    return [*lines, "`ddflows retry-failed`, or a run with `resume: always` and `retry_failed`."]


def list_processed_rows(directory: DatasetDirectory) -> dict[str, str]:
    """The number of rows after each processor, and what it removed, formatted for the UI."""
    steps = directory.metadata.processed.get("steps", [])
    return {f"rows after {step['name']}": _format_step(step) for step in steps}


def _count_accepted(session: DatasetRun) -> dict[str, str]:
    """How many rows were generated until enough were accepted, in this run and in earlier ones."""
    if session.engine.plan.config.accept is None:
        return {}
    parts = session.directory.parts()
    generated, accepted = sum(part.stop - part.start for part in parts), sum(p.rows for p in parts)
    return {"rows generated": f"{generated:,}, of which {accepted:,} were accepted"}


def _format_step(step: Mapping[str, Any]) -> str:
    removed = step.get("removed", {})
    reasons = "; ".join(f"{count:,} removed: {escape(why)}" for why, count in removed.items())
    return f"{step['rows']:,}" + (f" ({reasons})" if reasons else "")


def explain_missing_rows(session: DatasetRun, written: int, requested: int) -> tuple[str, str]:
    """Name and message of the state of a run with missing rows: why, and how to continue."""
    short = f"{written:,} of {requested:,} rows; {session.dropped_count:,} dropped"
    stopped = session.engine.stopped_by
    if stopped is None:
        return "Rows missing", short
    return "Stopped early", (
        f"{short}: {stopped}. Finished work is kept in {session.directory.path}; "
        "run again with resume='if_possible' to continue"
    )


def describe_cancelled(session: DatasetRun) -> str:
    """Message of the state of a run some of whose batches were cancelled."""
    batches = ", ".join(map(str, sorted(session.cancelled)))
    rows = sum(part.rows for part in session.directory.parts())
    return (
        f"batches were cancelled: {batches}. The other batches are finished: {rows:,} rows are "
        f"kept in {session.directory.path}. To continue, retry the run, or use "
        f"`ddflows resume {session.flow_run_id}`"
    )
