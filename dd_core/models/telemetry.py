"""Metrics and traces of requests, after OpenTelemetry's conventions for generative AI.

Nothing is exported unless the process configures OpenTelemetry, for example through its environment
variables. Prompts and answers are never exported.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from dd_core.models.wire.answers import Usage

_tracer = trace.get_tracer("dd_core")
_meter = metrics.get_meter("dd_core")
_duration = _meter.create_histogram(
    "gen_ai.client.operation.duration", "s", "Duration of requests to models"
)
_tokens = _meter.create_histogram(
    "gen_ai.client.token.usage", "{token}", "Tokens of requests to models"
)
_active = _meter.create_up_down_counter(
    "data_designer.model.request.active", "{request}", "Requests in flight"
)
_rows = _meter.create_counter("data_designer.dataset.records", "{record}", "Rows of datasets")


class Observation:
    """A request that is being measured."""

    def __init__(self, span: Span, attributes: dict[str, str]) -> None:
        self._span = span
        self._attributes = attributes

    def record_usage(self, usage: Usage) -> None:
        """Record the tokens of the answer."""
        for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            _tokens.record(count, {**self._attributes, "gen_ai.token.type": kind})
            self._span.set_attribute(f"gen_ai.usage.{kind}_tokens", count)


@contextmanager
def observe(operation: str, provider: str, model: str, column: str) -> Generator[Observation]:
    """Measure one request; `operation` is chat, embeddings or generate_content."""
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
    }
    started = time.perf_counter()
    _active.add(1, attributes)
    span = _tracer.start_span(
        f"{operation} {model}",
        kind=SpanKind.CLIENT,
        attributes={**attributes, "data_designer.column": column},
    )
    final_attributes = attributes
    try:
        yield Observation(span, attributes)
    except BaseException as error:
        # Only the class, because messages may quote the server.
        final_attributes = {**attributes, "error.type": type(error).__name__}
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(StatusCode.ERROR)
        raise
    finally:
        span.end()
        _active.add(-1, attributes)
        _duration.record(time.perf_counter() - started, final_attributes)


def count_rows(generated: int, dropped: int) -> None:
    """Count the rows of a written batch."""
    _rows.add(generated, {"record.result": "generated"})
    if dropped:
        _rows.add(dropped, {"record.result": "dropped"})
