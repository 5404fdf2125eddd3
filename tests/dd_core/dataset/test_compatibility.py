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
        *("async_trace", "write_scheduler_events", "DATA_DESIGNER_ASYNC_TRACE"),
        *("otel_metrics_port", "auto_configure_logging"),
        *("SchedulingMetadata", "ceiling_overshoot"),
        "person_reader",
    ],
)
def test_what_differs_is_documented(name: str) -> None:
    assert name in str(compatibility.__doc__)
    section = (
        (ROOT / "docs" / "concepts.md")
        .read_text()
        .split("## Differences from NeMo Data Designer")[1]
    )
    assert f"{name}`" in section


@pytest.mark.parametrize("name", ["async_trace", "write_scheduler_events"])
def test_settings_without_a_counterpart_are_refused_unless_they_are_off(name: str) -> None:
    dd.RunConfig.model_validate({name: False})
    with pytest.raises(ValueError, match=f"{name} is not supported, because .*; remove it"):
        dd.RunConfig.model_validate({name: True})


def test_a_variable_without_effect_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DESIGNER_ASYNC_TRACE", "1")
    with pytest.warns(UserWarning, match="DATA_DESIGNER_ASYNC_TRACE is not supported") as warned:
        dd.RunConfig()
    assert warned[0].filename == __file__
