"""Wall time of a workflow of two stages on two models, compared with the ideal of full overlap.

    python -m benchmarks.workflow --batches 40 --parallel 32 --latency 0.2

Each stage has one column. Its ideal is the time that the requests of one stage take if no slot is
ever idle, plus the time of one batch, after which the second stage has its first rows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import dd_core.config as dd
from benchmarks.server import BenchServer
from dd_core import DataDesigner
from dd_core.dataset.workflow.config import WorkflowBuilder


def stage(url: str, alias: str, prompt: str, parallel: int) -> dd.DataDesignerConfigBuilder:
    """A column of one model."""
    parameters = dd.ChatCompletionInferenceParams(max_parallel_requests=parallel)
    made = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias=alias, model=alias, base_url=url, inference_parameters=parameters)]
    )
    return made.add_column(name=alias, column_type="llm-text", model_alias=alias, prompt=prompt)


def main() -> None:
    """Run a workflow and print its times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--parallel", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.2)
    arguments = parser.parse_args()
    size = arguments.parallel
    with BenchServer(latency=arguments.latency) as server, TemporaryDirectory() as folder:
        first = stage(server.url, "first", "Say something.", size)
        second = stage(server.url, "second", "Answer: {{ first }}", size)
        made = WorkflowBuilder("two-stages")
        made.add_stage("first", first, num_records=size * arguments.batches)
        made.add_stage("second", second, from_="first")
        settings = dd.RunConfig(buffer_size=size, seed=1)
        designer = DataDesigner(Path(folder), run_config=settings)
        began = time.perf_counter()
        results = designer.workflow(made).run()
        wall = time.perf_counter() - began
        rows = results.manifest.stages["second"].rows
    ideal = (arguments.batches + 1) * arguments.latency
    print(
        f"{rows} rows through two stages: {wall:.2f} s, ideal {ideal:.2f} s, "
        f"ratio {wall / ideal:.3f}; one stage after the other: "
        f"{2 * arguments.batches * arguments.latency:.2f} s"
    )


if __name__ == "__main__":
    main()
