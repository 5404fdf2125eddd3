"""The command line and versions: `run --version`, `backfill`, and what opens the latest."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from dd_core import DataDesigner
from tests.datasets import model, topics
from tests.flows.cli.test_cli import ddflows, written

pytestmark = pytest.mark.slow

GATES = "gates: {columns: {topic: {max_null_share: 0}}}\n"


def test_a_backfill_makes_the_days_that_are_missing(tmp_path: Path) -> None:
    config = written(topics(model("http://unused.test")), tmp_path)
    settings = tmp_path / "run.yaml"
    settings.write_text(GATES)
    common = [config, "-n", "6", "-d", "days", "-c", settings]
    done = ddflows("run", *common, "--version", "2026-11-02", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = ddflows("backfill", *common, "--from", "2026-11-01", "--to", "2026-11-03", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2026-11-02: already accepted" in done.stdout
    assert done.stdout.count("Rows     6 of 6") == 2
    folder = tmp_path / "artifacts" / "days"
    assert sorted(path.name for path in (folder / "versions").iterdir()) == [
        f"2026-11-0{day}" for day in (1, 2, 3)
    ]
    assert json.loads((folder / "latest.json").read_text())["version"] == "2026-11-03"

    assert ddflows("export", folder, "latest.csv", cwd=tmp_path).returncode == 0
    latest = pd.read_csv(tmp_path / "latest.csv")
    first = DataDesigner(folder.parent).open("days", "2026-11-01").load_dataset()
    assert len(latest) == len(first) == 6
    assert [*latest["id"]] != [*first["id"]], "each version draws its own rows"


def test_a_day_that_fails_its_gates_does_not_hold_up_the_others(tmp_path: Path) -> None:
    config = written(topics(model("http://unused.test")), tmp_path)
    settings = tmp_path / "run.yaml"
    settings.write_text("gates: {columns: {topic: {max_duplicate_share: 0}}}\n")
    done = ddflows(
        "backfill", config, "-n", "9", "-c", settings, "--from", "2026-11-01", "--to",
        "2026-11-02", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "failed: topic, duplicate share" in done.stderr
    assert "incomplete or rejected: 2026-11-01, 2026-11-02" in done.stderr
