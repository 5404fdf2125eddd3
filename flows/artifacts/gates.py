"""The results of a dataset's quality gates, as a table in Prefect's UI."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.artifacts import acreate_markdown_artifact

from dd_core.quality.acceptance import GateResult
from dd_core.storage.directory import DatasetDirectory

from .markdown import make_artifact_key


async def show_gates(
    dataset: str, directory: DatasetDirectory, results: Sequence[GateResult]
) -> None:
    """Create the artifact `<dataset>-gates`, with one row per gate and failed gates first."""
    version = f", version {directory.version}" if directory.version else ""
    failed = sum(not each.passed for each in results)
    verdict = f"Not accepted: {failed} of {len(results)} gates failed" if failed else "Accepted"
    lines = [f"# {dataset}{version}", "", f"{verdict}.", ""]
    lines += ["| gate | actual | required | | |", "| --- | --- | --- | --- | --- |"]
    for each in sorted(results, key=lambda each: each.passed):
        cells = [each.gate, each.shown, each.wanted, "passed" if each.passed else "**failed**"]
        lines.append("| " + " | ".join(_cell(cell) for cell in [*cells, each.note]) + " |")
    await acreate_markdown_artifact(
        "\n".join(lines), key=make_artifact_key(dataset, "gates"), description=verdict
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
