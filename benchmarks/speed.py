"""The benchmarks page: this library, its flows and data-designer, in one run on one machine.

    python -m benchmarks.speed > docs/benchmarks.new

Figures are medians of three runs, each in its own process; the server is another process. The whole
run takes 15 minutes. The remarks at the end of the existing page are kept.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.reference import VERSION, measured, python
from benchmarks.server import BenchServer

RUNS = 3
_PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_REMARKS = "## Interpreting the results"
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
    """Medians of this project (first number of rows) and of data-designer (second number)."""
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
        for task, label in (("text", "text"), ("structured", "structured, with schema check")):
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


SHAPES = {
    "chain": ("chain of four columns", 4),
    "branch": ("chain of four columns and a branch", 5),
    "five": ("five independent columns", 5),
    "judged": ("three generators, three judges, two models", 3),
}
"""Label of each shape, and how many cells per row one model generates."""


def shapes() -> list[list[str]]:
    rows: list[list[str]] = []
    with BenchServer(latency=0.2, latency_sigma=0.5) as server:
        for task, (label, cells) in SHAPES.items():
            ideal = cells * 200 * 0.2 / 16
            ours, theirs = medians(task, (200, 200), server.url, "16")
            mine, other = ours["wall"] / ideal, theirs["wall"] / ideal
            rows.append([label, f"{mine:.2f}", f"{other:.2f}", f"{other / mine:.2f}"])
    return rows


def long_shapes() -> list[list[str]]:
    """Measure all runs at the same time, because each of them waits 97% of the time."""

    def ratio(task: str, cells: int) -> float:
        with BenchServer(latency=0.2, latency_sigma=0.5) as server:
            ours, _ = measured(_WORK, task, "2000", server.url, "16", only="ours")
            return ours["wall"] / (cells * 2000 * 0.2 / 16)

    with ThreadPoolExecutor(RUNS * len(SHAPES)) as threads:
        found = {
            label: [threads.submit(ratio, task, cells) for _ in range(RUNS)]
            for task, (label, cells) in SHAPES.items()
        }
    return [
        [label, f"{statistics.median(run.result() for run in runs):.3f}", "", ""]
        for label, runs in found.items()
    ]


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
    def megabytes(task: str, rows: tuple[int, int], *more: str) -> tuple[float, float]:
        ours, theirs = medians(task, rows, *more)
        return ours["memory"], theirs["memory"]

    few, few_theirs = megabytes("samplers", (100_000, 20_000))
    many, many_theirs = megabytes("samplers", (1_000_000, 200_000))
    rows = [
        ["samplers: 100,000 rows (data-designer: 20,000)", f"{few:.0f} MB", f"{few_theirs:.0f} MB"],
        ["samplers: ten times as many rows", f"{many:.0f} MB", f"{many_theirs:.0f} MB"],
        ["growth: ten times as many rows", f"{many / few:.2f}", f"{many_theirs / few_theirs:.2f}"],
    ]
    with BenchServer() as server:
        peaks: dict[int, float] = {}
        for count in (1_000, 5_000, 50_000):
            runs = [
                measured(_WORK, "text", str(count), server.url, "64", only="ours")[0]
                for _ in range(RUNS)
            ]
            peaks[count] = _median(runs)["memory"]
            rows.append([f"text: {count:,} rows", f"{peaks[count]:.0f} MB", ""])
    rows.append(["growth: 50,000 over 5,000 rows", f"{peaks[50_000] / peaks[5_000]:.2f}", ""])
    return [[*row, ""] for row in rows]


def starting() -> list[list[str]]:
    def seconds(command: list[str]) -> float:
        times: list[float] = []
        for _ in range(2 * RUNS):
            began = time.perf_counter()
            _output(command)
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    ddflows = str(Path(sys.executable).with_name("ddflows"))
    theirs = str(python().with_name("data-designer"))
    imports = "import {} as dd; dd.ModelConfig"
    with BenchServer() as server:
        first, other = medians("preview", (10, 10), server.url)
    pairs = {
        "import of the configuration module": (
            seconds([sys.executable, "-c", imports.format("dd_core.config")]),
            seconds([str(python()), "-c", imports.format("data_designer.config")]),
        ),
        "command line, `--help`": (seconds([ddflows, "--help"]), seconds([theirs, "--help"])),
        "first preview of 10 rows, after the import": (first["wall"], other["wall"]),
    }
    return [
        [label, f"{mine:.2f} s", f"{other:.2f} s", f"{other / mine:.1f}"]
        for label, (mine, other) in pairs.items()
    ]


def through_prefect() -> list[list[str]]:
    from benchmarks.shapes import medians_by_shape

    return [
        [shape, f"{flows / library:.3f}", "", ""]
        for shape, (library, flows) in medians_by_shape().items()
    ]


def two_processes() -> list[list[str]]:
    """Throughput of two processes relative to one, without a server on the same machine.

    A process that uses more than one core leaves less than one core for the other.
    """
    ours = _WORK.replace("data_designer.config", "dd_core.config")
    ours = ours.replace("data_designer.interface", "dd_core")

    def runs(number: int, *work: str) -> list[Figures]:
        command = [sys.executable, "-c", ours, *work]
        running = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)
        ]
        return [json.loads(each.communicate()[0].splitlines()[-1]) for each in running]

    rows: list[list[str]] = []
    for task, number, label in (
        ("expression", "400000", "an expression"),
        ("people", "100000", "person_from_faker"),
    ):
        ratios: list[float] = []
        cores: list[float] = []
        for _ in range(RUNS):
            [one], two = runs(1, task, number), runs(2, task, number)
            ratios.append(2 * one["wall"] / max(each["wall"] for each in two))
            cores.append(one["cpu"] / one["wall"])
        ratio, used = statistics.median(ratios), statistics.median(cores)
        rows.append([f"{label}: throughput of two processes over one", f"{ratio:.2f}", "", ""])
        rows.append([f"{label}: cores that one process uses", f"{used:.2f}", "", ""])
    return rows


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


SECTIONS: list[tuple[str, str, Callable[[], list[list[str]]]]] = [
    ("CPU time per cell",
     "CPU time of the client: 10,000 rows, 64 parallel requests, a server without latency, "
     "excluding startup.", cpu_per_cell),
    ("Parallel requests",
     "Wall time over ideal time by number of parallel requests: 1,000 rows, 50 ms latency, "
     "excluding startup.", parallel),
    ("Dataset shapes",
     "Wall time over the lower bound: 200 rows, lognormal latency with a mean of 200 ms, 16 "
     "parallel requests per model, including startup.", shapes),
    ("Long runs", "The same shapes with 2,000 rows. All runs execute concurrently.",
     long_shapes),
    ("Datasets without models", "Rows per second, including writing the files.", computing),
    ("Memory", "Peak memory beyond what the imports use.", memory),
    ("Startup", "Time in seconds.", starting),
    ("Two processes", "Two processes that run concurrently on two cores.", two_processes),
    ("Overhead of Prefect",
     "Wall time of the flows over wall time of the library: 200 rows, 200 ms latency, 16 parallel "
     "requests. The Prefect server runs on the same machine with SQLite.", through_prefect),
]  # fmt: skip


def main() -> None:
    """Print the page as Markdown."""
    remarks = _PAGE.read_text().partition(_REMARKS)
    print("# Benchmarks\n")
    print(
        f"`make bench-speed` compares this project with data-designer {VERSION}, installed from "
        f"PyPI in a separate environment. These figures were measured on {_machine()}. Each figure "
        "is the median of three runs, and each run is a separate process. Absolute figures depend "
        "on the machine; only the ratios within one run carry over to other machines. Ratios above "
        "1 are in favor of this project. data-designer's runs include its analysis of the rows, "
        "which this project computes only on request.\n"
    )
    for title, what, measure in SECTIONS:
        print(f"## {title}\n\n{what}\n")
        print("| | this project | data-designer | ratio |\n|---|---|---|---|")
        for row in measure():
            print("| " + " | ".join(row) + " |", flush=True)
        print(flush=True)
    print("".join(remarks[1:]), end="")


def _machine() -> str:
    """Description of the machine: cores, CPU, architecture and Python version."""
    facts = [platform.machine(), f"Python {platform.python_version()}"]
    cpus = Path("/proc/cpuinfo")
    if cpus.exists() and (named := re.search(r"model name\s*: (.*)", cpus.read_text())):
        facts.insert(0, named[1])
    return f"{os.cpu_count()} cores ({', '.join(facts)})"


if __name__ == "__main__":
    main()
