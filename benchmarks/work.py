"""The workload that `benchmarks.speed` measures, as a script for data-designer.

Usage: `work.py TASK ROWS [URL [PARALLEL]]`. The last line of output is JSON with seconds, CPU
seconds and the peak memory in MB, minus that of the imports. The task `preview` measures the
seconds of the first preview in a new process. The imports are replaced for this project.
"""

import json
import resource
import sys
import tempfile
import time

import data_designer.config as dd
from data_designer.interface import DataDesigner

TASK, ROWS = sys.argv[1], int(sys.argv[2])
URL = sys.argv[3] if len(sys.argv) > 3 else "http://127.0.0.1:9/v1"
PARALLEL = int(sys.argv[4]) if len(sys.argv) > 4 else 64
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "stars": {"type": "integer"}},
    "required": ["title", "stars"],
}
SCORES = [dd.Score(name="quality", description="Quality", options={1: "bad", 2: "good"})]


def models() -> list:
    parameters = dd.ChatCompletionInferenceParams(max_parallel_requests=PARALLEL)
    return [
        dd.ModelConfig(
            alias=alias, model=alias, provider="bench", inference_parameters=parameters,
            skip_health_check=True,
        )
        for alias in ("writer", "judge")
    ]  # fmt: skip


def text(builder, name, prompt, **more):
    builder.add_column(
        name=name, column_type="llm-text", model_alias="writer", prompt=prompt, **more
    )


def shape() -> dd.DataDesignerConfigBuilder:
    """The dataset for the task."""
    builder = dd.DataDesignerConfigBuilder(model_configs=models())
    category = {"values": ["tea", "rain", "trains", "chess"]}
    builder.add_column(
        name="topic", column_type="sampler", sampler_type="category", params=category
    )
    if TASK in ("text", "preview"):
        text(builder, "a", "Write of {{ topic }}")
    elif TASK == "structured":
        builder.add_column(
            name="a", column_type="llm-structured", model_alias="writer",
            prompt="Describe {{ topic }}", output_format=SCHEMA,
        )  # fmt: skip
    elif TASK in ("chain", "branch"):
        text(builder, "c0", "Write of {{ topic }}")
        for number in range(1, 4):
            text(builder, f"c{number}", f"{{{{ c{number - 1} }}}} goes on")
        if TASK == "branch":
            text(builder, "side", "Sum up {{ c0 }}")
    elif TASK == "five":
        for number in range(5):
            text(builder, f"c{number}", f"Text {number} of {{{{ topic }}}}")
    elif TASK == "judged":
        for number in range(3):
            text(builder, f"t{number}", f"Text {number} of {{{{ topic }}}}")
            builder.add_column(
                name=f"v{number}", column_type="llm-judge", model_alias="judge",
                prompt=f"Judge {{{{ t{number} }}}}", scores=SCORES,
            )  # fmt: skip
    elif TASK == "samplers":
        sub = {key: [f"{key} one", f"{key} two"] for key in category["values"]}
        for name, kind, params in (
            ("id", "uuid", {}),
            ("sub", "subcategory", {"category": "topic", "values": sub}),
            ("size", "gaussian", {"mean": 5, "stddev": 1}),
            ("day", "datetime", {"start": "2024-01-01", "end": "2025-01-01"}),
        ):
            builder.add_column(name=name, column_type="sampler", sampler_type=kind, params=params)
    elif TASK == "expression":
        builder.add_column(name="label", column_type="expression", expr="About {{ topic }}!")
    elif TASK == "people":
        builder.add_column(
            name="who", column_type="sampler", sampler_type="person_from_faker", params={}
        )
    return builder


def designer(folder: str) -> DataDesigner:
    provider = dd.ModelProvider(name="bench", endpoint=URL, provider_type="openai", api_key="none")
    return DataDesigner(artifact_path=folder, model_providers=[provider])


def seconds(rows: int) -> tuple[float, float]:
    """Wall time and CPU time of one dataset."""
    with tempfile.TemporaryDirectory() as folder:
        made = designer(folder)
        began, used = time.perf_counter(), time.process_time()
        results = made.create(shape(), num_records=rows)
        assert results.count_records() == rows
        return time.perf_counter() - began, time.process_time() - used


def preview(rows: int) -> float:
    """Seconds of a preview, including the creation of the configuration."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        results = designer(folder).preview(shape(), num_records=rows)
        assert len(results.dataset) == rows
        return time.perf_counter() - began


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if TASK == "preview":
    print(json.dumps({"wall": preview(ROWS)}))
    sys.exit()
seconds(2)  # loads everything that is loaded on first use
start_up, start_up_cpu = seconds(1)
before = peak()
wall, cpu = seconds(ROWS)
figures = {"wall": wall, "cpu": cpu - start_up_cpu, "start_up": start_up}
print(json.dumps({**figures, "memory": peak() - before}))
