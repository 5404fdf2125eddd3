"""What the artifacts of a run say."""

from __future__ import annotations

from pathlib import Path

import dd_core.config as dd
from flows.artifacts.profile import format_profile
from tests.dd_core.designer.test_results import create, reviews


def test_the_profile_shows_scores_once_whether_a_model_sums_them_up_or_not(tmp_path: Path) -> None:
    plain = format_profile(create(tmp_path).load_analysis(), "reviews")
    assert "# reviews" in plain
    heads = [line for line in plain if line.startswith("## ")]
    assert heads == ["## stars", "## price", "## verdict: helpful", "## verdict: tone", "## check"]

    made = reviews().add_profiler(dd.JudgeScoreProfilerConfig(model_alias="m"))
    summed_up = format_profile(create(tmp_path, 12, made).load_analysis(), "reviews")
    assert "They help." in summed_up
    assert sorted(line for line in summed_up if line.startswith("## ")) == sorted(heads)
