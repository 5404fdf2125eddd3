"""What a run tells of itself: estimates, where the time went, metrics and traces."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.engine.accounting import ColumnTimings
from tests.scripted import ScriptedModel, asking, chat_response, refusal


def test_an_estimate_scales_a_few_rows_up() -> None:
    script = ScriptedModel(
        chat_response("x", prompt_tokens=100, completion_tokens=50), latency=0.02
    )
    made = asking(max_parallel_requests=4, price=dd.Price(input=1.0, output=2.0))
    began = time.monotonic()
    found = DataDesigner(transport=script).estimate(made, num_records=10_000, probe_rows=8)
    elapsed = time.monotonic() - began
    assert len(script.requests) == 8
    [model] = found.models
    assert (model.alias, model.requests, model.input_tokens) == ("m", 10_000, 1_000_000)
    assert found.dollars == pytest.approx(1.0 + 1.0)
    assert found.tokens == 1_500_000
    assert 10_000 * 0.02 / 4 <= found.seconds <= 10_000 * elapsed / 4


def test_an_estimate_knows_rate_limits_and_does_not_guess_prices() -> None:
    made = asking(requests_per_minute=600)
    found = DataDesigner(transport=ScriptedModel("x")).estimate(
        made, num_records=6000, probe_rows=2
    )
    assert found.seconds == pytest.approx(600)
    assert found.dollars is None


def test_a_run_says_where_its_time_went(tmp_path: Path) -> None:
    made = asking(max_parallel_requests=2)
    made.add_column(
        name="more", column_type="llm-text", model_alias="m", prompt="More of {{ text }}"
    )
    script = ScriptedModel("x", latency=0.02)
    began = time.monotonic()
    results = DataDesigner(tmp_path, transport=script).create(made, num_records=20)
    elapsed = time.monotonic() - began
    times = results.directory.metadata.times
    assert times["text"]["cells"] == times["more"]["cells"] == 20
    assert 20 * 0.02 <= times["text"]["in_flight"] < 2 * elapsed
    assert times["text"]["slot"] > times["text"]["in_flight"], "two at a time, so cells queue"
    assert times["more"]["inputs"] > times["text"]["inputs"]
    assert times["text"]["cooldown"] == 0.0


def test_pauses_after_429s_show_as_such(tmp_path: Path) -> None:
    answers = iter([refusal(429, retry_after="1.5")])
    script = ScriptedModel(lambda body: next(answers, "x"))
    results = DataDesigner(tmp_path, transport=script).create(
        asking(max_parallel_requests=1), num_records=5
    )
    times = ColumnTimings(**results.directory.metadata.times["text"])
    assert times.cooldown > 4 * 1.2
    assert times.bottleneck == "the server rejects requests: it is the bottleneck"
    assert sum(times.shares().values()) == pytest.approx(1.0)


PROGRAM = """
import json, sys
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
metrics.set_meter_provider(MeterProvider([reader]))
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(spans))

from dd_core import DataDesigner, InvalidConfigError
from tests.scripted import ScriptedModel, asking, refusal

script = ScriptedModel([refusal(500), "secret answer", "x"])
DataDesigner(sys.argv[1], transport=script).create(asking("A secret prompt"), num_records=2)
found = {}
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            for point in metric.data.data_points:
                kind = point.attributes.get("error.type", "")
                value = getattr(point, "count", getattr(point, "value", None))
                found[f"{metric.name}:{kind}"] = value
shown = [span.to_json() for span in spans.get_finished_spans() if span.name == "chat tiny"]
print(json.dumps([found, len(shown), "secret" in "".join(shown)]))
"""


@pytest.mark.slow
def test_metrics_and_traces_follow_the_conventions_and_hold_no_content(tmp_path: Path) -> None:
    import json

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, spans, tells = json.loads(done.stdout.splitlines()[-1])
    duration = "gen_ai.client.operation.duration"
    assert found[f"{duration}:"] == 3  # the readiness check, and an answer for each row
    assert found[f"{duration}:ModelInternalServerError"] == 1
    assert found["data_designer.model.request.active:"] == 0
    assert found["data_designer.dataset.records:"] == 2
    assert (spans, tells) == (4, False)


SERVED = """
import sys, urllib.request
import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from tests.scripted import ScriptedModel, asking
from tests.serving import find_free_port

port, found = find_free_port(), []

def scrape(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        found.append(answer.read().decode())

settings = dd.RunConfig(otel_metrics_port=port)
designer = DataDesigner(sys.argv[1], transport=ScriptedModel("x"), run_config=settings)
for number in (1, 2):
    designer.create(asking("A secret prompt"), num_records=3, on_batch_complete=scrape)
    name = "gen_ai_client_operation_duration_seconds_count"
    [line] = [line for line in found[-1].splitlines() if line.startswith(name)]
    print(line.rpartition(" ")[2], "secret" in found[-1])
    try:
        scrape(None)
    except OSError:
        print("closed")
"""


def _run_program(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )


@pytest.mark.slow
def test_metrics_are_served_for_prometheus_during_a_run(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.prometheus")
    done = _run_program(SERVED, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["4.0 False", "closed", "8.0 False", "closed"]


def test_a_port_for_metrics_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ScriptedModel("x")
    designer = DataDesigner(
        tmp_path, transport=script, run_config=dd.RunConfig(otel_metrics_port=9464)
    )
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.prometheus", None)
    with pytest.raises(InvalidConfigError, match=r"otel_metrics_port: needs the extra"):
        designer.create(asking(), num_records=2)
    assert script.requests == []
