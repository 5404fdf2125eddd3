"""What commands do with a workflow in place of a configuration, and `ddflows review`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click

from ..options import (
    artifacts_option,
    providers_option,
    read_servers,
    read_settings,
    version_option,
)

if TYPE_CHECKING:
    from dd_core.dataset.workflow.config import WorkflowConfig
    from dd_core.designer.workflow.preview import WorkflowPreview


def validate_workflow(
    workflow: WorkflowConfig, providers: str | None, portable: bool = False
) -> None:
    """Check a workflow, and say how many requests a row of each stage takes."""
    from dd_core import DataDesigner

    plan = DataDesigner(**read_servers(providers)).workflow(workflow).validate()
    click.echo("The workflow is valid.")
    for name, stage in plan.stages.items():
        sources = f" from {', '.join(stage.stage.from_)}" if stage.stage.from_ else ""
        columns = ", ".join(stage.outputs.types)
        requests = sum(stage.plan.requests_per_row.values())
        click.echo(f"{name}{sources}: {columns}. A row takes at most {requests} requests.")


def preview_workflow(
    workflow: WorkflowConfig,
    num_records: int,
    run_config: str | None,
    seed: int | None,
    providers: str | None,
    **unused: Any,
) -> None:
    """Show a few rows of each stage."""
    from ..terminal import show_rows

    preview = _preview(workflow, num_records, run_config, seed, providers)
    for stage in workflow.stages:
        found = preview.stages.get(stage.name)
        lost = _add_losses(preview.left_out.get(stage.name, {}))
        rows = "no rows arrived" if found is None else f"{found.table.num_rows} rows"
        click.echo(f"{stage.name}: {rows}{lost}")
        if found is not None:
            show_rows(found.records())


def estimate_workflow(
    workflow: WorkflowConfig,
    probe_rows: int,
    run_config: str | None,
    providers: str | None,
    **unused: Any,
) -> None:
    """Extrapolate the cost of each stage from a few rows."""
    from ..terminal import show_estimate

    preview = _preview(workflow, probe_rows, run_config, None, providers)
    for name, estimate in preview.estimates.items():
        click.echo(f"{name}: about {estimate.num_records:,} rows")
        show_estimate(estimate)
    if preview.dollars is not None:
        click.echo(f"All stages: about {preview.dollars:,.4f} dollars")


def _preview(
    workflow: WorkflowConfig,
    rows: int,
    run_config: str | None,
    seed: int | None,
    providers: str | None,
) -> WorkflowPreview:
    from dd_core import DataDesigner

    settings = read_settings(run_config, seed)
    designer = DataDesigner(**read_servers(providers), run_config=settings)
    return designer.workflow(workflow).preview(num_records=rows)


def run_workflow(
    workflow: WorkflowConfig,
    artifact_path: str,
    version: str | None,
    run_config: str | None,
    seed: int | None = None,
    wait: float | None = None,
    providers: str | None = None,
    retry_failed: bool = False,
    **unused: Any,
) -> None:
    """Run the flow `generate-workflow` in this process; exits with 1 if a stage waits."""
    from ..run_here import set_server_defaults

    set_server_defaults()
    from ...workflow import generate_workflow

    flow: Any = generate_workflow
    summary = asyncio.run(
        flow(
            workflow=workflow,
            artifact_path=artifact_path,
            version=version,
            run_config=read_settings(run_config, seed, wait),
            retry_failed=retry_failed,
            **read_servers(providers),
        )
    )
    for name, stage in summary.stages.items():
        click.echo(f"{name}: {stage.status}, {stage.rows:,} rows{_add_losses(stage.left_out)}")
    waiting = [name for name, stage in summary.stages.items() if stage.status == "waiting"]
    if waiting:
        click.echo(
            f"Rows have to be reviewed before {waiting[0]!r} can go on; see `ddflows review --help`"
        )
        sys.exit(1)


def retry_workflow(workflow: WorkflowConfig, **options: Any) -> None:
    """Like `run_workflow`, and generate rows that failed before again."""
    run_workflow(workflow, **options, retry_failed=True)


def _add_losses(left_out: Any) -> str:
    from dd_core.designer.workflow.manifest import describe_losses

    return f"; left out: {described}" if (described := describe_losses(left_out)) else ""


@click.command()
@click.argument("workflow", metavar="WORKFLOW")
@click.argument("stage", metavar="STAGE")
@click.option("--export", "exported", metavar="FILE", help="Write rows to a .jsonl or .csv file.")
@click.option(
    "--import", "imported", metavar="FILE", help="Read decisions and edits from such a file."
)
@click.option("--by", metavar="NAME", help="Who decided. Required to store decisions.")
@click.option(
    "--rest",
    type=click.Choice(["accept", "reject"]),
    help="Decision about all rows that nobody has decided about.",
)
@click.option("--all", "is_all", is_flag=True, help="Also export rows that are decided.")
@artifacts_option
@version_option
@providers_option
def review(
    workflow: str,
    stage: str,
    exported: str | None,
    imported: str | None,
    by: str | None,
    rest: Any,
    is_all: bool,
    artifact_path: str,
    version: str | None,
    providers: str | None,
) -> None:
    """Review the rows of a stage of a workflow.

    WORKFLOW is the YAML or JSON file of the workflow. The stage must have `review: true`.

    Export the rows, edit the file, and import it. The column `review_decision` says what becomes
    of a row: accept, edit or reject. A row whose values you change is edited. Then run the workflow
    again: only what follows from changed rows is generated again.
    """
    from dd_core import DataDesigner

    from ..run_here import locate_datasets

    location = locate_datasets(artifact_path)
    designer = DataDesigner(location, **read_servers(providers), run_config=read_settings(None))
    opened = designer.workflow(workflow)
    if exported is not None:
        rows = opened.export_review(stage, exported, version=version, pending_only=not is_all)
        click.echo(f"{rows:,} rows are in {exported}.")
        return
    if by is None:
        raise click.UsageError("use --export FILE, or --by NAME with --import FILE or --rest")
    counts = opened.import_review(stage, imported, by=by, rest=rest, version=version)
    listed = ", ".join(f"{decision}: {count:,}" for decision, count in counts.items())
    click.echo(f"Decisions stored: {listed or 'none'}.")
