"""The calls of tools in reports."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from dd_core.models.usage import UsageCount, UsageLedger
from dd_core.quality.report import ToolUse, list_tool_use
from flows.cli.main import cli
from tests.dd_core.designer.test_results import create


def _count() -> UsageCount:
    count = UsageCount(requests=5)
    for _ in range(3):
        count.count_tool_call("look_up", 0.5, 10, is_error=False)
    count.count_tool_call("write", 0.0, 10, is_error=True)
    count.count_refused_tool_call("look_up")
    return count


def test_calls_are_listed_by_column_and_tool() -> None:
    ledger = UsageLedger.of({"m": {"review": _count()}, "other": {"review": _count()}})
    assert list_tool_use(ledger) == [
        ToolUse(column="review", tool="look_up", calls=6, errors=0, refused=2, seconds=3.0),
        ToolUse(column="review", tool="write", calls=2, errors=2, refused=0, seconds=0.0),
    ]


def test_the_report_shows_tools_if_there_are_any(tmp_path: Path) -> None:
    results = create(tmp_path, 4)
    dataset = str(results.dataset_path)
    plain = CliRunner().invoke(cli, ["report", dataset])
    assert plain.exit_code == 0
    assert "look_up" not in plain.output

    again = create(tmp_path / "again", 4)
    directory = again.directory
    directory.write_metadata(usage=UsageLedger.of({"m": {"review": _count()}}).to_dict())
    shown = CliRunner().invoke(cli, ["report", str(again.dataset_path)])
    assert shown.exit_code == 0
    words = " ".join(shown.output.split())
    assert "look_up │ 3 │ 0 │ 1 │ 1.5" in words
    assert again.load_analysis().tool_use == list_tool_use(UsageLedger(directory.metadata.usage))
