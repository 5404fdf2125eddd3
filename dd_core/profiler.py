"""Profilers, as configurations name them. The built-in one looks at judges' scores.

How it does is in `judge_profile.py`, what it finds out in `statistics.py`.
"""

from __future__ import annotations

from pydantic import Field

from dd_core.kind import Declaration


class JudgeScoreProfilerConfig(Declaration):
    """For each score of each judge: how it is distributed, examples, and a summary by a model."""

    model_alias: str
    """Alias of the model that writes the summaries."""
    summary_score_sample_size: int | None = Field(default=20, ge=1)
    """Reasonings that a summary is made from; no summary, if None."""
