"""Deprecated names are translated with a warning; others are accepted without effect."""

from __future__ import annotations

from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core.dataset import compatibility

ROOT = Path(__file__).parents[3]


def test_deprecated_run_settings_are_translated_with_a_warning_at_the_caller() -> None:
    with pytest.warns(DeprecationWarning, match="progress_bar is now display_tui") as warned:
        assert dd.RunConfig.model_validate({"progress_bar": True}).display_tui
    assert warned[0].filename == __file__
    throttle = {"reduce_factor": 0.5, "success_window": 9, "ceiling_overshoot": 0.2}
    with pytest.warns(DeprecationWarning, match="throttle is now request_admission"):
        settings = dd.RunConfig.model_validate({"throttle": throttle})
    assert settings.request_admission == dd.RequestAdmissionTuningConfig(
        multiplicative_decrease_factor=0.5, successes_until_increase=9
    )
    with pytest.raises(ValueError, match="either request_admission or throttle"):
        dd.RunConfig.model_validate({"throttle": throttle, "request_admission": {}})


@pytest.mark.parametrize(
    "name",
    [
        *("display_tui", "async_trace", "write_scheduler_events", "otel_metrics_port"),
        *("SchedulingMetadata", "ceiling_overshoot", "auto_configure_logging"),
        *("seed_readers", "person_reader"),
    ],
)
def test_what_has_no_effect_is_documented(name: str) -> None:
    assert f"{name}`" in str(compatibility.__doc__)
    section = (ROOT / "docs" / "concepts.md").read_text().split("## Accepted without effect")[1]
    assert f"{name}`" in section
