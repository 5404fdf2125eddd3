"""The page of benchmarks: this library, its flows and data-designer, in one run on one machine.

    python -m benchmarks.speed > docs/benchmarks.md

Figures are medians of three runs, each in a process of its own. The server is a process beside
it. Takes a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reference import VERSION, measured
from benchmarks.server import BenchServer

RUNS = 3
_WORK = (Path(__file__).parent / "work.py").read_text()
_FLOOR = """
import asyncio, json, sys, time
import aiohttp
async def main(url, rows, parallel):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Write of tea"}]})
    headers = {"content-type": "application/json"}
    left = iter(range(rows))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async def worker():
            for _ in left:
                async with session.post(url + "/chat/completions", data=body, headers=headers) as r:
                    json.loads(await r.read())
        await asyncio.gather(*(worker() for _ in range(parallel)))
used = time.process_time()
asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
print(time.process_time() - used)
"""

Figures = dict[str, Any]


def medians(task: str, rows: tuple[int, int], *more: str) -> tuple[Figures, Figures]:
    """Medians of runs here (of the first number of rows) and of data-designer (the second)."""
    found: list[tuple[Figures, Figures]] = []
    for _ in range(RUNS):
        ours, _skip = measured(_WORK, task, str(rows[0]), *more, only="ours")
        _skip, theirs = measured(_WORK, task, str(rows[1]), *more, only="theirs")
        found.append((ours, theirs))
    ours, theirs = ([pair[side] for pair in found] for side in (0, 1))
    return _median(ours), _median(theirs)


def _median(runs: list[Figures]) -> Figures:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def cpu_per_cell() -> list[list[str]]:
    rows: list[list[str]] = []
    with BenchServer() as server:
        floor = statistics.median(
            float(_output([sys.executable, "-c", _FLOOR, server.url, "5000", "64"]))
            for _ in range(RUNS)
        )
        rows.append(["bare aiohttp loop", f"{floor / 5:.2f} ms", "", ""])
        for task, label in (("text", "text"), ("structured", "structured, schema checked")):
            ours, theirs = medians(task, (10_000, 1_500), server.url, "64")
            mine, other = ours["cpu"] / 10, theirs["cpu"] / 1.5
            rows.append([label, f"{mine:.2f} ms", f"{other:.2f} ms", f"{other / mine:.1f}"])
    return rows


def parallel() -> list[list[str]]:
    rows: list[list[str]] = []
    with BenchServer(latency=0.05) as server:
        for width in (32, 128, 256):
            ideal = 1000 * 0.05 / width
            ours, theirs = medians("text", (1000, 1000), server.url, str(width))
            begun = [each["wall"] - each["start_up"] + 0.05 for each in (ours, theirs)]
            mine, other = begun[0] / ideal, begun[1] / ideal
            rows.append([f"{width}", f"{mine:.2f}", f"{other:.2f}", f"{other / mine:.1f}"])
    return rows


def shapes() -> list[list[str]]:
    rows: list[list[str]] = []
    cells = {"chain": 4, "branch": 5, "five": 5, "judged": 3}
    labels = {
        "chain": "chain of four",
        "branch": "chain of four and a branch",
        "five": "five independent columns",
        "judged": "three generators, three judges, two models",
    }
    with BenchServer(latency=0.2, latency_sigma=0.5) as server:
        for task, count in cells.items():
            ideal = count * 200 * 0.2 / 16
            ours, theirs = medians(task, (200, 200), server.url, "16")
            mine, other = ours["wall"] / ideal, theirs["wall"] / ideal
            rows.append([labels[task], f"{mine:.2f}", f"{other:.2f}", f"{other / mine:.2f}"])
    return rows


def computing() -> list[list[str]]:
    rows: list[list[str]] = []
    for task, label, here, there in (
        ("samplers", "six samplers", 100_000, 20_000),
        ("expression", "a sampler and an expression", 100_000, 5_000),
        ("people", "person_from_faker", 10_000, 3_000),
    ):
        ours, theirs = medians(task, (here, there))
        mine, other = here / ours["wall"], there / theirs["wall"]
        rows.append([label, f"{mine:,.0f}", f"{other:,.0f}", f"{mine / other:.0f}"])
    return rows


def memory() -> list[list[str]]:
    rows: list[list[str]] = []
    for small, large in ((100_000, 1_000_000),):
        few, theirs = medians("samplers", (small, 20_000))
        many, more = medians("samplers", (large, 100_000))
        rows.append(["samplers, 100,000 rows", f"{few['memory']:.0f} MB", "", ""])
        rows.append(["samplers, 1,000,000 rows", f"{many['memory']:.0f} MB", "", ""])
        rows.append(["samplers, 20,000 rows", "", f"{theirs['memory']:.0f} MB", ""])
        rows.append(["samplers, 100,000 rows", "", f"{more['memory']:.0f} MB", ""])
    with BenchServer() as server:
        for count in (1_000, 50_000):
            ours, _ = measured(_WORK, "text", str(count), server.url, "64", only="ours")
            rows.append([f"text, {count:,} rows", f"{ours['memory']:.0f} MB", "", ""])
    return rows


def starting() -> list[list[str]]:
    def seconds(command: list[str]) -> str:
        times: list[float] = []
        for _ in range(2 * RUNS):
            began = time.perf_counter()
            _output(command)
            times.append(time.perf_counter() - began)
        return f"{statistics.median(times):.2f} s"

    from benchmarks.reference import python

    ddflows = str(Path(sys.executable).with_name("ddflows"))
    theirs = str(python().with_name("data-designer"))
    return [
        [
            "import of the configuration",
            seconds([sys.executable, "-c", "import dd_core.config as dd; dd.ModelConfig"]),
            seconds([str(python()), "-c", "import data_designer.config as dd; dd.ModelConfig"]),
            "",
        ],
        ["command line, `--help`", seconds([ddflows, "--help"]), seconds([theirs, "--help"]), ""],
    ]


def two_processes() -> list[list[str]]:
    """Rows a second of two processes at once, over those of one; without a server beside them."""
    ours = _WORK.replace("data_designer.config", "dd_core.config")
    ours = ours.replace("data_designer.interface", "dd_core")
    command = [sys.executable, "-c", ours, "people", "20000"]

    def walls(number: int) -> float:
        running = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)
        ]
        return max(json.loads(each.communicate()[0].splitlines()[-1])["wall"] for each in running)

    ratio = statistics.median(2 * walls(1) / walls(2) for _ in range(RUNS))
    return [["people, two processes over one", f"{ratio:.2f}", "", ""]]


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


SECTIONS: list[tuple[str, str, Callable[[], list[list[str]]]]] = [
    ("CPU of the client for a cell",
     "10,000 rows, a server without latency, 64 in parallel; without the start.",
     cpu_per_cell),
    ("Many requests in parallel", "Wall over ideal: 1,000 rows, 50 ms, without the start.",
     parallel),
    ("Shapes of datasets", "Wall over the lower bound, start-up included: 200 rows, lognormal "
     "latency with a mean of 200 ms, 16 in parallel for each model.", shapes),
    ("Without models", "Rows a second, writing included.", computing),
    ("Memory", "Peak above what the imports take.", memory),
    ("Starting", "Seconds.", starting),
    ("Two processes", "On two cores.", two_processes),
]  # fmt: skip


def main() -> None:
    """Print the page as Markdown."""
    print("# Benchmarks\n")
    print(
        f"`make bench-speed` on {os.cpu_count()} cores ({platform.machine()}, Python "
        f"{platform.python_version()}), against data-designer {VERSION} from PyPI in an "
        "environment of its own. Medians of three runs; a run is a process. On another machine "
        "only the ratios of one run mean something. data-designer's runs include its analysis of "
        "the rows, which is made here when it is asked for.\n"
    )
    for title, what, measure in SECTIONS:
        print(f"## {title}\n\n{what}\n\n| | here | data-designer | ratio |\n|---|---|---|---|")
        for row in measure():
            print("| " + " | ".join(row) + " |", flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
