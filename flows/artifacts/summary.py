"""What a dataset run came to, for Prefect's UI: first rows, a summary, failures."""

from __future__ import annotations

from collections import Counter

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from pydantic import BaseModel

# The facade, because it declares every kind before the schema of the flow's parameters is made.
from dd_core.models.usage import compute_cost
from dd_core.storage.directory import DatasetDirectory

from ..session import DatasetRun
from .markdown import escape, format_cell, format_table, make_artifact_key

_MOST_FAILURES = 10


class RunSummary(BaseModel):
    """What a dataset run came to."""

    path: str
    """The dataset's directory, or that of its version."""
    rows_asked: int
    rows_written: int
    """Rows that were generated and kept."""
    rows_in_dataset: int
    """Rows after processors have filtered them; as many as `rows_written` if there are none."""
    rows_dropped: int
    """Rows dropped in this run."""
    requests: int
    input_tokens: int
    output_tokens: int
    dollars: float | None
    """What the dataset has cost, earlier runs included; None if a price is not known."""
    seconds: float
    seed: int


async def show_preview(session: DatasetRun, dataset: str) -> None:
    """The first rows as a table, once there are any."""
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
    """What the run came to: figures, models, where the time went; dropped rows apart."""
    facts = [[f"**{name}**", value] for name, value in _facts(session, dataset, summary).items()]
    lines = [f"# {escape(dataset)}", ""]
    if (stopped := session.engine.stopped_by) is not None:
        lines += [
            f"**Stopped:** {escape(stopped)}. Run again with `resume: if_possible` to go on.",
            "",
        ]
    lines += format_table(["", ""], facts)
    lines += [*_models(session), *_times(session)]
    await acreate_markdown_artifact(
        "\n".join(lines),
        key=make_artifact_key(dataset, "summary"),
        description=f"What became of {dataset}",
    )
    if session.dropped:
        await acreate_markdown_artifact(
            "\n".join(format_failures(session)),
            key=make_artifact_key(dataset, "failures"),
            description=f"Rows that {dataset} lacks, and why",
        )


def _facts(session: DatasetRun, dataset: str, summary: RunSummary) -> dict[str, str]:
    tokens = summary.input_tokens + summary.output_tokens
    return {
        "rows": f"{summary.rows_written:,} of {summary.rows_asked:,}",
        **list_processed_rows(session.directory),
        "dropped in this run": f"{summary.rows_dropped:,}",
        "path": f"`{summary.path}`",
        "requests": f"{summary.requests:,}",
        "tokens": f"{summary.input_tokens:,} in, {summary.output_tokens:,} out",
        "dollars": "unknown" if summary.dollars is None else f"{summary.dollars:,.4f}",
        "seconds": f"{session.seconds:,.1f}",
        "for 1,000 more rows": _rate(session, tokens),
        "seed": str(summary.seed),
        "more": _links(session, dataset),
    }


def _rate(session: DatasetRun, tokens: int) -> str:
    """What a thousand further rows would take, by this run's figures."""
    thousands = session.rows / 1000
    if not thousands:
        return "nothing was generated"
    return f"about {session.seconds / thousands:,.0f} s, {tokens / thousands:,.0f} tokens"


def _links(session: DatasetRun, dataset: str) -> str:
    wanted = ["columns", "preview", "profile", *(["failures"] if session.dropped else [])]
    return ", ".join(f"[{w}](/artifacts/key/{make_artifact_key(dataset, w)})" for w in wanted)


def _models(session: DatasetRun) -> list[str]:
    """What was asked of the models, by this run and those that it continued."""
    prices = session.engine.plan.prices
    rows = [
        [alias, column, f"{count['requests']:,.0f}", f"{count['retries']:,.0f}",
         f"{count['input_tokens']:,.0f}", f"{count['output_tokens']:,.0f}",
         "unknown" if cost is None else f"{cost:,.4f}"]
        for alias, column, count in session.engine.usage_of_all_runs()
        for cost in [compute_cost(count, prices.get(alias))]
    ]  # fmt: skip
    heads = ["model", "column", "requests", "retries", "input tokens", "output tokens", "dollars"]
    return ["", "## Models", "", *format_table(heads, rows)] if rows else []


def _times(session: DatasetRun) -> list[str]:
    """What the cells were doing: why the run took as long as it did."""
    rows: list[list[str]] = []
    verdicts: list[str] = []
    heads = ["inputs", "slot", "cooldown", "in_flight", "retries", "computing"]
    for column, times in session.engine.timings().items():
        shares = times.shares()
        rows.append([column, *(f"{shares[head]:.0%}" for head in heads)])
        verdicts.append(f"- {escape(column)}: {escape(times.bottleneck)}")
    if not rows:
        return []
    shown = ["column", *(head.replace("_", " ") for head in heads)]
    return ["", "## Where the time went", "", *format_table(shown, rows), "", *verdicts]


def format_failures(session: DatasetRun) -> list[str]:
    """Dropped rows by column and error, each with the first example."""
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
            for (column, error), count in kinds.most_common(_MOST_FAILURES)
            for first in [examples[column, error]]
        ],
    )
    lines += ["", "All are listed in the dataset's folder `failed-rows`. Generate them anew with"]
    return [*lines, "`ddflows retry-failed`, or a run with `resume: always` and `retry_failed`."]


def list_processed_rows(directory: DatasetDirectory) -> dict[str, str]:
    """The rows that each processor has left, for people."""
    steps = directory.metadata.processed.get("steps", [])
    return {f"rows after {step['name']}": f"{step['rows']:,}" for step in steps}


def explain_missing_rows(session: DatasetRun, written: int, asked: int) -> tuple[str, str]:
    """Name and message of the state of a run that made some of its rows: why, and how to go on."""
    short = f"{written:,} of {asked:,} rows; {session.dropped_count:,} dropped"
    stopped = session.engine.stopped_by
    if stopped is None:
        return "Rows missing", short
    return "Stopped early", (
        f"{short}: {stopped}. What was finished is kept in {session.directory.path}; "
        "run again with resume='if_possible' to continue"
    )
