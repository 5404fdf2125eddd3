"""Profiles the scores of judges, and has a model summarize their reasons."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import orjson

from dd_core.dataset.config import JudgeScoreProfilerConfig
from dd_core.errors import DataDesignerError
from dd_core.kinds.columns.column import Column
from dd_core.kinds.statistics import (
    CategoricalDistribution,
    JudgeProfile,
    NumericalDistribution,
    ScoreProfile,
    ScoreSample,
)
from dd_core.models.handle import ModelHandle
from dd_core.models.model import Model
from dd_core.quality.view import DatasetView, count_categories, select_member, summarize_numbers

_logger = logging.getLogger(__name__)
_SHOWN = 20
_SEED = 42
_PROMPT = """A judge scored records of a dataset for {name!r}: {description}

The scores and the judge's reasons, as JSON:

{reasons}

Say in fewer than 75 words, in plain prose, what the records do well and badly in this respect."""


def profile_scores(
    view: DatasetView, judges: Sequence[Column], sample_size: int | None
) -> list[JudgeProfile]:
    """Profile the scores of judges, without summaries."""
    return [
        JudgeProfile(
            column_name=judge.name,
            scores=[
                _profile(view, judge.name, name, sample_size or _SHOWN)
                for name in judge.score_descriptions
            ],
        )
        for judge in judges
    ]


def _profile(view: DatasetView, column: str, score: str, size: int) -> ScoreProfile:
    value = select_member(view, column, [score, "score"])
    reason = select_member(view, column, [score, "reasoning"])
    scored = f"SELECT {value} AS value, {reason} AS reason FROM records WHERE {value} IS NOT NULL"
    counted = view.ask(f"SELECT value, count(*) FROM ({scored}) GROUP BY value")
    counts = {str(value): int(count) for value, count in counted}
    numeric = bool(counts) and all(_is_integer(each) for each in counts)
    order = sorted(counts, key=int) if numeric else sorted(counts, key=lambda each: -counts[each])
    distribution: NumericalDistribution | CategoricalDistribution | None = None
    if counts:
        only = f"SELECT value FROM ({scored})"
        distribution = summarize_numbers(view, only) if numeric else count_categories(view, only)
    samples = [
        ScoreSample(score=each, reasoning=str(reasoning or ""))
        for each, share in _shares(counts, size).items()
        for (reasoning,) in view.ask(
            f"SELECT reason FROM (SELECT * FROM ({scored}) WHERE value = ?) "
            f"ORDER BY hash(reason, {_SEED}), reason LIMIT {share}",
            each,
        )
    ]
    return ScoreProfile(
        score_name=score,
        distribution_type="numerical" if numeric else "categorical" if counts else "unknown",
        distribution=distribution,
        counts={each: counts[each] for each in order},
        samples=samples,
    )


def _shares(counts: Mapping[str, int], size: int) -> dict[str, int]:
    """The number of samples for each score, in proportion to its frequency.

    If there are more scores than samples, each of the most frequent scores gets one.
    """
    frequent = sorted(counts, key=lambda each: (-counts[each], each))
    if len(frequent) >= size:
        return dict.fromkeys(frequent[:size], 1)
    total = sum(counts.values())
    return {each: max(1, round(size * counts[each] / total)) for each in frequent}


def _is_integer(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


async def summarize(
    model: Model,
    config: JudgeScoreProfilerConfig,
    judges: Sequence[Column],
    profiles: Sequence[JudgeProfile],
) -> list[JudgeProfile]:
    """Add summaries to profiles; if a model fails, its error replaces the summary."""
    if config.summary_score_sample_size is None:
        return [*profiles]
    known = {
        (judge.name, name): description
        for judge in judges
        for name, description in judge.score_descriptions.items()
    }

    async def one(column: str, profile: ScoreProfile) -> ScoreProfile:
        about = known[column, profile.score_name]
        summary = await _summary(model, column, about, profile)
        return profile.model_copy(update={"summary": summary})

    return [
        profile.model_copy(
            update={
                "scores": await asyncio.gather(
                    *(one(profile.column_name, each) for each in profile.scores)
                )
            }
        )
        for profile in profiles
    ]


async def _summary(model: Model, column: str, about: str, profile: ScoreProfile) -> str:
    if not profile.samples:
        return "there are no scores"
    handle = ModelHandle(model, f"{column} (summary)", asyncio.get_running_loop())
    reasons = orjson.dumps([each.model_dump() for each in profile.samples]).decode()
    prompt = _PROMPT.format(name=profile.score_name, description=about, reasons=reasons)
    try:
        text, _ = await handle.agenerate(prompt)
    except DataDesignerError as error:
        _logger.warning("no summary of %r in column %r: %s", profile.score_name, column, error)
        return f"no summary: {error}"
    return str(text)
