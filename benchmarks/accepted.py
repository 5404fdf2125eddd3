"""Rows and wall time of a dataset that accepts a share of its rows, compared with the ideal.

    python -m benchmarks.accepted --rows 1000 --parallel 64 --latency 0.2

The unavoidable rows are those up to the last accepted row of the dataset. The ideal is the time
that their requests take if no slot is ever idle.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import dd_core.config as dd
from benchmarks.server import BenchServer
from dd_core import DataDesigner
from dd_core.storage.files.removed_rows import list_row_numbers


def build(url: str, parallel: int) -> dd.DataDesignerConfigBuilder:
    """A text that 5 of 16 rows are accepted for, and another one that waits for the decision."""
    parameters = dd.ChatCompletionInferenceParams(max_parallel_requests=parallel)
    made = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="m", model="m", base_url=url, inference_parameters=parameters)]
    )
    made.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    given = {"column_type": "llm-text", "model_alias": "m"}
    made.add_column(name="text", prompt="First {{ id }}", **given)
    made.add_column(name="second", prompt="Second {{ text }}", **given)
    # The server's answers are "answer" and a hexadecimal hash of the prompt.
    return made.accept_rows("{{ text[7] in '01234' }}", at_most=1_000_000)


def main() -> None:
    """Generate a dataset and print its times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--batch", type=int, default=200)
    arguments = parser.parse_args()
    with BenchServer(latency=arguments.latency) as server, TemporaryDirectory() as folder:
        settings = dd.RunConfig(buffer_size=arguments.batch, seed=1)
        designer = DataDesigner(Path(folder), run_config=settings)
        began = time.perf_counter()
        results = designer.create(build(server.url, arguments.parallel), num_records=arguments.rows)
        wall = time.perf_counter() - began
        parts = results.directory.parts()
        unavoidable = int(list_row_numbers(parts)[arguments.rows - 1]) + 1
        rows = sum(part.rows + len(part.rejected) for part in parts)
    requests = unavoidable + arguments.rows
    ideal = requests / arguments.parallel * arguments.latency
    print(
        f"{arguments.rows} accepted rows: {rows} generated, "
        f"{unavoidable} unavoidable, ratio {rows / unavoidable:.3f}; "
        f"{wall:.2f} s, ideal {ideal:.2f} s, ratio {wall / ideal:.3f}"
    )


if __name__ == "__main__":
    main()
