"""Metrics and traces of requests, after OpenTelemetry's conventions for generative AI.

Nothing is exported unless the process configures OpenTelemetry, for example through its environment
variables, or a run serves its metrics on a port. Prompts and answers are never exported.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from dd_core.errors import InvalidConfigError, Problem
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


_exporting: list[metrics.MeterProvider] = []
"""The provider of this module, once there is one: a process can only have one provider."""


@contextmanager
def serve_metrics(port: int | None) -> Generator[None]:
    """Serve the metrics for Prometheus at `http://<host>:<port>/metrics` in this context.

    Does nothing without a port. Raises `InvalidConfigError` if the port or OpenTelemetry cannot be
    used.
    """
    if port is None:
        yield
        return
    _export_to_prometheus()
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port)
    except OSError as error:
        raise _refuse_port(
            f"port {port} cannot be used: {error.strerror}; choose another one"
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _export_to_prometheus() -> None:
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader  # pyright: ignore
        from opentelemetry.sdk.metrics import MeterProvider
    except ImportError:
        raise _refuse_port(
            "needs the extra `prometheus`; install it with `pip install "
            "'prefect-data-designer[prometheus]'`, or remove the field"
        ) from None
    present = metrics.get_meter_provider()
    if present in _exporting:
        return
    if isinstance(present, MeterProvider):
        raise _refuse_port(
            "cannot be used, because this process exports metrics already; remove the field"
        )
    provider = MeterProvider([PrometheusMetricReader()])  # pyright: ignore
    _exporting.append(provider)
    metrics.set_meter_provider(provider)


def _refuse_port(message: str) -> InvalidConfigError:
    return InvalidConfigError([Problem("otel_metrics_port", message)])
