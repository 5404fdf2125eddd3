"""Runs that are killed in the middle of what takes several requests, or reads other rows."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import dd_core.config as dd
from dd_core import DataDesigner
from tests.conftest import ServerFactory
from tests.datasets import model, topics

PARALLEL = 4
ROWS = 80
Made = dd.DataDesignerConfigBuilder


def compare(method: str) -> Callable[[Made], object]:
    """Candidates of two models, and a comparison of them."""

    def add(made: Made) -> None:
        made.add_column(
            name="text", column_type="llm-text", model_alias=["m", "k"], n=2, prompt="On {{ id }}."
        )
        made.add_column(
            name="best",
            column_type="llm-compare",
            candidates="text",
            model_alias="m",
            method=method,
            prompt="Which text on {{ id }} is the best?",
        )

    return add


def repeat(made: Made) -> None:
    """One to four rounds of a draft and a review of it."""
    made.add_column(
        name="draft",
        column_type="llm-text",
        model_alias="m",
        prompt="Draft {{ id }}. {{ previous.review if previous else '' }}",
    )
    made.add_column(
        name="review", column_type="llm-text", model_alias="k", prompt="Review {{ draft }}"
    )
    made.add_repeat(columns=["draft", "review"], at_most=4, until="{{ round > count }}", keep="all")


def talk(made: Made) -> None:
    """Two to five turns, the first of them an opening."""
    made.add_column(
        name="chat",
        column_type="conversation",
        roles=[{"name": "a", "model_alias": "m"}, {"name": "b", "model_alias": "k"}],
        opening="Tell me about {{ id }}.",
        stop_when="{{ turn > count + 1 }}",
        max_turns=6,
    )


def read_other_rows(made: Made) -> None:
    """A text on a chunk of a document, with other chunks and examples."""
    made.add_column(name="others", column_type="neighbours", k=2, columns=["text"])
    source = made.build().seed_config
    assert source is not None
    made.add_column(name="shots", column_type="examples", source=source.source, k=2)
    made.add_column(
        name="answer",
        column_type="llm-text",
        model_alias="m",
        prompt="{{ text }} {{ others }} {{ shots }}",
    )
    made.add_column(
        name="again", column_type="llm-text", model_alias="k", prompt="{{ answer }} {{ others }}"
    )


CASES: dict[str, Callable[[Made], object]] = {
    "listwise": compare("listwise"),
    "pairwise": compare("pairwise"),
    "repeat": repeat,
    "talk": talk,
    "other-rows": read_other_rows,
}


def build(url: str, case: str, documents: Path) -> Made:
    """A dataset with the columns of a case."""
    made = topics(*(model(url, alias, parallel=PARALLEL) for alias in ("m", "k")))
    made.add_column(
        name="count",
        column_type="sampler",
        sampler_type="category",
        params={"values": [0, 1, 2, 3]},
        convert_to="int",
    )
    if case == "other-rows":
        chunk = {"by": "chars", "size": 200, "overlap": 0}
        made.with_seed_dataset(dd.DocumentsSeedSource(path=str(documents), chunk=chunk))
    CASES[case](made)
    return made


def create(url: str, case: str, documents: str, folder: str) -> None:
    """Create or continue the dataset of a case."""
    run_config = dd.RunConfig(seed=3, buffer_size=40)
    DataDesigner(folder, run_config=run_config).create(
        build(url, case, Path(documents)),
        num_records=ROWS,
        dataset_name="d",
        resume="if_possible",
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CASES])
def test_only_the_requests_in_flight_are_repeated(
    tmp_path: Path, bench_server: ServerFactory, case: str
) -> None:
    server = bench_server(latency=0.05, record=True)
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(10):
        words = " ".join(f"word{number}x{each}." for each in range(400))
        (documents / f"{number}.txt").write_text(words)

    def run(folder: str) -> list[str]:
        program = "import sys; from tests.dd_core.kinds.test_killed_runs import create; create"
        arguments = [server.url, case, str(documents), str(tmp_path / folder)]
        return [sys.executable, "-c", f"{program}(*sys.argv[1:])", *arguments]

    def count() -> int:
        return sum(number for _, prompt, number in server.prompts() if "Say hello" not in prompt)

    assert subprocess.run(run("whole"), check=False).returncode == 0
    needed = count()
    process = subprocess.Popen(run("killed"))
    deadline = time.monotonic() + 300
    while count() < needed * 1.5:
        assert process.poll() is None, "the run ended before it was to be killed"
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert subprocess.run(run("killed"), check=False).returncode == 0
    # Requests in flight at two models, and what was answered in the tenth of a second before.
    assert needed <= count() - needed <= needed + 2 * PARALLEL * (1 + 2 * 2)
    made = build(server.url, case, documents)
    frames = [
        DataDesigner(tmp_path / folder, run_config=dd.RunConfig(seed=3, buffer_size=40))
        .create(made, num_records=ROWS, dataset_name="d", resume="if_possible")
        .load_dataset()
        for folder in ("killed", "whole")
    ]
    assert len(frames[0]) == ROWS
    assert frames[0].to_dict("records") == frames[1].to_dict("records")
