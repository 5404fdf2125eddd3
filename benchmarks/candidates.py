"""Wall and CPU time of candidates from four models, compared with the ideal and with four columns.

    python -m benchmarks.candidates --rows 400 --parallel 16 --latency 0.2

The ideal is the time that the requests of one model take if its slots are never idle, of the model
with the most requests. Where candidates are compared, another model does that.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import dd_core.config as dd
from benchmarks.server import BenchServer
from dd_core import DataDesigner

ALIASES = ["a", "b", "c", "d"]
PROMPT = "On {{ topic }}, row {{ id }}."


def build(url: str, parallel: int, case: str) -> dd.DataDesignerConfigBuilder:
    """A dataset with four answers a row: `candidates`, the same `compared`, or plain `columns`."""
    parameters = dd.ChatCompletionInferenceParams(max_parallel_requests=parallel)
    made = dd.DataDesignerConfigBuilder(
        [
            dd.ModelConfig(alias=alias, model=alias, base_url=url, inference_parameters=parameters)
            for alias in [*ALIASES, "judge"]
        ]
    )
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    made.add_column(
        name="topic", column_type="sampler", sampler_type="category", params={"values": ["tea"]}
    )
    given = {"column_type": "llm-text", "prompt": PROMPT}
    if case == "columns":
        for alias in ALIASES:
            made.add_column(name=f"text_{alias}", model_alias=alias, **given)
    elif case == "one model":
        made.add_column(name="text", model_alias="a", n=4, **given)
    else:
        made.add_column(name="text", model_alias=ALIASES, **given)
    if case in ("compared", "one model"):
        made.add_column(
            name="best",
            column_type="llm-compare",
            candidates="text",
            method="listwise",
            model_alias="judge",
            prompt="Which is the best?",
        )
    return made


def measure(case: str, arguments: argparse.Namespace) -> None:
    """Generate a dataset and print its times."""
    most = {"columns": 1, "candidates": 1, "compared": 2, "one model": 4}[case]
    steps = math.ceil(arguments.rows * most / arguments.parallel)
    ideal = steps * arguments.latency
    requests = arguments.rows * (6 if case in ("compared", "one model") else 4)
    with BenchServer(latency=arguments.latency) as server, TemporaryDirectory() as folder:
        designer = DataDesigner(Path(folder), run_config=dd.RunConfig(buffer_size=arguments.batch))
        began, cpu = time.perf_counter(), time.process_time()
        made = build(server.url, arguments.parallel, case)
        frame = designer.create(made, num_records=arguments.rows).load_dataset()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert len(frame) == arguments.rows
    print(
        f"{case}: {wall:.2f} s, ideal {ideal:.2f} s, ratio {wall / ideal:.3f}, "
        f"CPU {1e6 * cpu / requests:.0f} us per request"
    )


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--batch", type=int, default=1000)
    arguments = parser.parse_args()
    for case in ("columns", "candidates", "compared", "one model"):
        measure(case, arguments)


if __name__ == "__main__":
    main()
